"""The roadmap figure in HTML: a bar for each step, its interval, its seeds as dots, published values beside ours.

Rows of a grid instead of one drawing: on a phone a bar moves below its label and keeps its height, text keeps its size.
"""

import math
from collections.abc import Sequence
from html import escape

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.metrics import METRICS
from orchestrator.report.scale import Scale, scale_around
from orchestrator.report.words import change_text, delta_text, number_text, outcome_text, p_text
from orchestrator.trial import Outcome


def roadmap_figure(roadmap: Roadmap) -> str:
    """One figure for each regime."""
    regimes = dict.fromkeys(row.variant.regime for row in roadmap.rows)
    return "\n".join(
        _figure(roadmap, regime, [row for row in roadmap.rows if row.variant.regime == regime])
        for regime in regimes
    )


def axis_of(rows: Sequence[StepRow], metric: str) -> Scale:
    """Room for every seed and interval of the steps that did not collapse, and for the published values if they are near."""
    values = [
        value for row in rows if not row.is_collapsed for value in row.compared_values.values()
    ]
    intervals = [
        end
        for row in rows
        if not row.is_collapsed and row.summary and row.summary.ci95
        for end in row.summary.ci95
    ]
    least = 0.0 if min(values, default=0.0) >= 0 else -math.inf
    if values:
        span = max(values) - min(values) or 1.0
        values += [
            end for end in intervals if min(values) - span / 4 <= end <= max(values) + span / 4
        ]
        span = max(values) - min(values) or 1.0
        published = references_of(rows)
        if published and max([*values, *published]) - min([*values, *published]) <= 2 * span:
            values += published
    is_share = metric in METRICS and "/acc" in metric  # in percent
    return scale_around(values, limits=(least, 100.0 if is_share else math.inf))


def collapse_text(row: StepRow) -> str:
    """Beside the hatched bar that stands for no length."""
    return (
        f"collapsed at {number_text(row.summary.mean, max(1, row.decimals - 1))}"
        if row.summary
        else ""
    )


def references_of(rows: Sequence[StepRow]) -> list[float]:
    """The published values of these steps."""
    return [float(row.variant.reference["value"]) for row in rows if row.variant.reference]


def tone(roadmap: Roadmap, row: StepRow) -> str:
    """`better`, `worse` or `open`: what the report may say of the step's effect."""
    delta = row.delta_previous
    claim = delta.verdict if delta else None
    return claim if claim in ("better", "worse") else "open"


def _figure(roadmap: Roadmap, regime: str, rows: Sequence[StepRow]) -> str:
    axis = axis_of(rows, roadmap.metric)
    shows_references = all(axis.has(value) for value in references_of(rows))
    baseline = rows[0].summary.mean if rows[0].summary else None
    grid = "".join(
        f'<i class="grid" style="left:{axis.percent(tick):.2f}%"></i>' for tick in axis.ticks()
    )
    if baseline is not None and axis.has(baseline):
        grid += f'<i class="base" style="left:{axis.percent(baseline):.2f}%"></i>'
    labels = "".join(
        f'<b style="left:{axis.percent(tick):.2f}%">{axis.label(tick)}</b>' for tick in axis.ticks()
    )
    axis_row = (
        f'<div class="row axis"><div></div><div class="track">{labels}</div><div></div></div>'
    )
    body = "\n".join(_row(roadmap, row, axis, grid, shows_references) for row in rows)
    title = f"<h3>{escape(regime)}</h3>" if regime else ""
    name = f"{roadmap.metric}, axis from {axis.label(axis.low)}"
    return (
        f'{title}<figure class="road" role="group" aria-label="Roadmap: {escape(name)}">\n{axis_row}\n{body}\n'
        f"<figcaption>{_caption(roadmap, rows, axis, shows_references)}</figcaption></figure>"
    )


def _row(roadmap: Roadmap, row: StepRow, axis: Scale, grid: str, shows_references: bool) -> str:
    kinds = (
        ["row"]
        + ["side"] * row.variant.side
        + ["sick"] * row.is_sick
        + ["control"] * bool(row.variant.on)
    )
    marks = _marks(row, axis) + (_reference_mark(row, axis) if shows_references else "")
    on = f" on {row.variant.on}" if row.variant.on else ""
    return (
        f'<div class="{" ".join(kinds)}"><div class="name">{"└ " * row.variant.side}{escape(row.variant.name)}'
        f"<small>{escape(change_text(row.variant.changes) + on)}</small></div>"
        f'<div class="track">{grid}{marks}</div>{_numbers(roadmap, row)}</div>'
    )


def _marks(row: StepRow, axis: Scale) -> str:
    """Bar, interval and seeds."""
    summary = row.summary
    if summary is None:
        return f'<em class="word">{escape(outcome_text(row) or "nothing yet")}</em>'
    if row.is_collapsed:
        return f'<span class="bar hatched" style="width:6%"></span><em class="word">{collapse_text(row)}</em>'
    marks = f'<span class="bar" style="width:{axis.percent(summary.mean):.2f}%"></span>'
    if summary.ci95:
        left, right = (axis.percent(end) for end in summary.ci95)
        title = (
            f"95 % interval {' to '.join(number_text(end, row.decimals) for end in summary.ci95)}"
        )
        open_ends = " open-left" * (summary.ci95[0] < axis.low) + " open-right" * (
            summary.ci95[1] > axis.high
        )
        marks += f'<span class="interval{open_ends}" title="{title}" style="left:{left:.2f}%;width:{right - left:.2f}%"></span>'
    for place, (seed, value) in enumerate(sorted(row.values.items())):
        outcome = row.outcome_of.get(seed, "")
        kind = "dot" if outcome == Outcome.FINISHED else "dot ill"
        top = 50 + 11 * (place % 3 - 1)
        title = f"seed {seed}: {number_text(value, row.decimals)} {outcome}"
        marks += f'<span class="{kind}" title="{title}" style="left:{axis.percent(value):.2f}%;top:{top}%"></span>'
    if row.is_mixed:
        marks += f'<em class="word" style="left:auto;right:0">{escape(row.mixture)}</em>'
    return marks


def _reference_mark(row: StepRow, axis: Scale) -> str:
    if not row.variant.reference:
        return ""
    value = float(row.variant.reference["value"])
    return f'<span class="reference" title="published: {value:g}" style="left:{axis.percent(value):.2f}%"></span>'


def _numbers(roadmap: Roadmap, row: StepRow) -> str:
    """Mean, effect and published value, at the end of a row."""
    summary = row.summary
    value = number_text(summary.mean, row.decimals) if summary else "–"
    spread = (
        f" <small>± {number_text(summary.std, row.decimals)}</small>"
        if summary and summary.std is not None
        else ""
    )
    delta = row.delta_previous
    chip = ""
    if delta:
        text = number_text(delta.effect.mean, delta.decimals, "+") if delta.effect else "rates"
        text += f" vs {escape(delta.versus)}" if delta.versus != row.before else ""
        p = f", p {p_text(delta)}" if p_text(delta) else ""
        title = escape(
            f"{delta_text(delta)} against {delta.versus}{p}. {delta.caveat}".strip(), quote=True
        )
        chip = f'<span class="chip {tone(roadmap, row)}" title="{title}">{text}</span>'
    reference = row.variant.reference
    published = f'<small class="published">◆ {reference["value"]:g}</small>' if reference else ""
    return f'<div class="numbers"><span class="value">{value}{spread}</span>{chip}{published}</div>'


def _caption(roadmap: Roadmap, rows: Sequence[StepRow], axis: Scale, shows_references: bool) -> str:
    start = "The" if axis.low == 0 else "The axis does not start at 0; the"
    parts = [
        f"{escape(roadmap.metric)}: bars are means, lines 95 % intervals of the mean, dots single seeds. {start} dashed line "
        "is the baseline.",
        'Differences are to the step before, or to what stands behind vs: <span class="chip better">better</span> '
        '<span class="chip worse">worse</span> <span class="chip open">not decided</span>.',
    ]
    if any(row.variant.side for row in rows):
        parts.append("Pale bars (└) are side steps: the road does not go on from them.")
    if references_of(rows):
        where = "" if shows_references else " (another scale than ours, so not drawn)"
        parts.append(f"◆ published value{where}.")
    return " ".join(parts)
