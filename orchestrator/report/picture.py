"""The roadmap figure as SVG or PNG, for papers and READMEs. The only file that imports matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

from orchestrator.analysis.roadmap import Roadmap, StepRow
from orchestrator.report.bars import axis_of, collapse_text, references_of, tone
from orchestrator.report.formats import Layout
from orchestrator.report.scale import Scale
from orchestrator.report.words import change_text, number_text, seeds_text

_BAR, _SIDE, _INK, _SOFT, _WARN, _REFERENCE = (
    "#4c78c9",
    "#b9cbea",
    "#1b1f24",
    "#66707c",
    "#9a5b00",
    "#8b3fb0",
)
_TONES = {"better": "#12784a", "worse": "#b3322c", "open": _SOFT}
_DOTS_PER_INCH = 200
_WIDTH, _ROW, _AXIS, _NUMBERS = 9.0, 0.42, 0.65, 1.7
"""Inches: the figure, one step, the axis below the steps, the numbers right of them."""
_MOST_ROWS = 200
"""Two metres of figure; who wants more steps reads the page or the table."""


def to_svg(roadmap: Roadmap, _layout: Layout) -> bytes:
    """Text stays text; the same roadmap gives the same bytes."""
    return _saved(roadmap, "svg")


def to_png(roadmap: Roadmap, _layout: Layout) -> bytes:
    """200 dots per inch on white."""
    return _saved(roadmap, "png")


def to_pdf(roadmap: Roadmap, _layout: Layout) -> bytes:
    """One page of the figure's size, its letters as outlines of TrueType."""
    return _saved(roadmap, "pdf")


def _saved(roadmap: Roadmap, form: str) -> bytes:
    import matplotlib  # takes a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = roadmap.rows[:_MOST_ROWS]
    regimes = list(dict.fromkeys(row.variant.regime for row in shown))
    of_regime = [[row for row in shown if row.variant.regime == regime] for regime in regimes]
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": roadmap.sweep,
            "font.size": 9,
            "font.family": "sans-serif",
            "pdf.fonttype": 42,
        }
    ):
        height = sum(_ROW * len(rows) + _AXIS for rows in of_regime)
        figure = Figure(figsize=(_WIDTH, height))
        FigureCanvasAgg(figure)
        left = max(_label_width(row) for row in shown) + 0.25
        bottom = height
        for regime, rows in zip(regimes, of_regime, strict=True):
            bottom -= _ROW * len(rows) + _AXIS
            box = (left, bottom + _AXIS - 0.05, _WIDTH - left - _NUMBERS, _ROW * len(rows))
            ax = figure.add_axes(
                (box[0] / _WIDTH, box[1] / height, box[2] / _WIDTH, box[3] / height)
            )
            _draw(ax, roadmap, regime, rows)
        if len(shown) < len(roadmap.rows):
            text = f"The first {len(shown)} of {len(roadmap.rows):,} variants; the table and the HTML page have all."
            figure.text(0.01, 0.05 / height, text, color=_WARN)
        buffer = io.BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
        figure.savefig(buffer, format=form, dpi=_DOTS_PER_INCH, metadata=metadata)
    return buffer.getvalue()


def _draw(ax: Any, roadmap: Roadmap, regime: str, rows: Sequence[StepRow]) -> None:
    axis = axis_of(rows, roadmap.metric)
    span = axis.high - axis.low
    for place, row in enumerate(rows):
        _draw_row(ax, row, place, axis)
        _draw_label(ax, row, place)
        delta = row.delta_previous
        end = axis.high + 0.015 * span
        value = number_text(row.summary.mean, row.decimals) if row.summary else "–"
        ax.text(end, place, value, va="center", color=_INK, fontweight="bold", clip_on=False)
        if delta and delta.effect:
            ax.text(
                end + 0.11 * span,
                place,
                number_text(delta.effect.mean, delta.decimals, "+"),
                va="center",
                color=_TONES[tone(roadmap, row)],
                clip_on=False,
            )
        if row.variant.reference:
            ax.text(
                end + 0.23 * span,
                place,
                f"◆ {row.variant.reference['value']:g}",
                va="center",
                color=_REFERENCE,
                clip_on=False,
            )
    if rows[0].summary:
        ax.axvline(rows[0].summary.mean, color=_SOFT, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
    ax.set_yticks([])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(axis.low, axis.high)
    ax.set_xlabel(
        f"{regime + ': ' if regime else ''}{roadmap.metric}, 95 % intervals over {seeds_text(roadmap)}",
        color=_SOFT,
    )
    ax.grid(axis="x", color="#e3e7ec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)


def _draw_row(ax: Any, row: StepRow, place: int, axis: Scale) -> None:
    summary = row.summary
    span = axis.high - axis.low
    if summary is None:
        ax.text(axis.low + 0.01 * span, place, "nothing yet", va="center", color=_SOFT)
        return
    if row.is_collapsed:
        ax.barh(
            place,
            0.06 * span,
            left=axis.low,
            height=0.58,
            facecolor="none",
            edgecolor=_WARN,
            hatch="/////",
            linewidth=0.8,
        )
        ax.text(axis.low + 0.075 * span, place, collapse_text(row), va="center", color=_WARN)
        return
    _draw_bar(ax, row, place, max(0.0, summary.mean - axis.low), axis.low)
    if summary.ci95:
        low, high = (min(max(end, axis.low), axis.high) for end in summary.ci95)
        ax.plot([low, high], [place, place], color=_INK, linewidth=1.3, solid_capstyle="butt")
        caps = [end for end in summary.ci95 if axis.has(end)]
        ax.plot(caps, [place] * len(caps), "|", color=_INK, markersize=7, markeredgewidth=1.3)
    _draw_seeds(ax, row, place)
    if row.is_mixed:
        ax.text(axis.high - 0.01 * span, place, row.mixture, va="center", ha="right", color=_WARN)
    if row.variant.reference and all(axis.has(value) for value in references_of([row])):
        ax.plot(
            [row.variant.reference["value"]],
            [place],
            "D",
            markersize=5,
            color=_REFERENCE,
            markeredgecolor="white",
        )


def _draw_bar(ax: Any, row: StepRow, place: int, length: float, left: float) -> None:
    """The mean as a bar; of a control only its outline."""
    if not row.variant.on:
        color = _SIDE if row.variant.side else _BAR
        ax.barh(place, length, left=left, height=0.58, color=color)
        return
    ax.barh(
        place,
        length,
        left=left,
        height=0.58,
        facecolor="none",
        edgecolor=_BAR,
        linestyle=(0, (3, 2)),
    )


def _draw_seeds(ax: Any, row: StepRow, place: int) -> None:
    """A dot for each seed; those that did not finish in another colour."""
    finished = row.finished_values
    for is_well in (True, False):
        dots = [
            (value, place + 0.12 * (index % 3 - 1))
            for index, (seed, value) in enumerate(sorted(row.values.items()))
            if (seed in finished) == is_well
        ]
        if dots:
            ax.plot(
                *zip(*dots, strict=True),
                "o",
                markersize=4,
                color="#16294d" if is_well else _WARN,
                markeredgecolor="white",
                clip_on=is_well,
            )


def _label_width(row: StepRow) -> float:
    """Inches, roughly."""
    name, change = _label(row)
    return max(0.085 * len(name), 0.06 * len(change))


def _label(row: StepRow) -> tuple[str, str]:
    """The step's name and its change, cut to what fits."""
    change = change_text(row.variant.changes)
    where = f" on {row.variant.on}" if row.variant.on else ""
    shown = change + where if len(change + where) <= 46 else change[:45] + "…"
    shown = shown.replace("$", r"\$")  # between two of them matplotlib would set mathematics
    return f"{'└ ' if row.variant.side else ''}{row.variant.name}", shown


def _draw_label(ax: Any, row: StepRow, place: int) -> None:
    """The name above its change, in two sizes, left of the axis."""
    name, change = _label(row)
    weight = "normal" if row.variant.side else "bold"
    transform = ax.get_yaxis_transform()
    style = {"transform": transform, "ha": "right", "clip_on": False}
    ax.text(
        -0.012,
        place - (0.17 if change else 0),
        name,
        va="center",
        color=_INK,
        fontweight=weight,
        **style,
    )
    if change:
        ax.text(-0.012, place + 0.2, change, va="center", color=_SOFT, fontsize=7.5, **style)
