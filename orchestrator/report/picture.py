"""The roadmap figure as SVG, PNG or PDF, for papers and READMEs: what `figure` describes, drawn.

Columns are placed by the measured width of their texts, in inches. With `lettering` and `panel` the
only files that import matplotlib.
"""

import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.figure import MEANINGS, SYMBOLS, RoadmapFigure, figures_of
from orchestrator.report.formats import Layout
from orchestrator.report.lettering import fonts_for, wrapped
from orchestrator.report.panel import SOFT, Panel
from orchestrator.report.sizes import GAP, Sizes, measured

_log = logging.getLogger("orchestrator.report")
_DOTS_PER_INCH = 200
_MOST_PIXELS = 6000
"""Height of a PNG; a longer one has fewer dots per inch."""
_WIDTH = 9.0
"""Inches, where nobody says otherwise."""
_MOST_ROWS = 200
"""A metre of figure; who wants more steps reads the page or the table."""


def to_svg(roadmap: Roadmap, layout: Layout) -> bytes:
    """Text stays text; the same roadmap gives the same bytes."""
    return _saved(roadmap, "svg", layout)


def to_png(roadmap: Roadmap, layout: Layout) -> bytes:
    """200 dots per inch on white."""
    return _saved(roadmap, "png", layout)


def to_pdf(roadmap: Roadmap, layout: Layout) -> bytes:
    """The figure as a page of PDF of its own size; its text can be searched."""
    return _saved(roadmap, "pdf", layout)


def _saved(roadmap: Roadmap, form: str, layout: Layout) -> bytes:
    import matplotlib  # takes a second

    figures, note = _shown(roadmap)
    others, lacking = fonts_for(_letters(figures))
    if lacking and form != "svg":  # which has them as text
        _log.warning(
            "no font that matplotlib knows has %s: drawn as boxes. Install a font that has them, "
            "or write an SVG.",
            " ".join(sorted(lacking)),
        )
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": roadmap.sweep,
        "pdf.fonttype": 42,
        "font.family": ["sans-serif", *others],
        "text.parse_math": False,
        "hatch.linewidth": 0.8,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # said in our words
        figure = _drawn(figures, note, measured(figures, layout.width or _WIDTH))
        dots = min(_DOTS_PER_INCH, _MOST_PIXELS / figure.get_figheight())
        buffer = io.BytesIO()
        quick = {"pil_kwargs": {"compress_level": 3}} if form == "png" else {}
        figure.savefig(buffer, format=form, dpi=dots, metadata=_metadata(roadmap, form), **quick)
    described = " ".join(one.description for one in figures)
    return _with_description(buffer.getvalue(), described) if form == "svg" else buffer.getvalue()


def _letters(figures: Sequence[RoadmapFigure]) -> frozenset[str]:
    """Letters of all that a spec has brought into the figures."""
    texts = [text for figure in figures for text in (figure.regime, figure.metric)]
    rows = [row for figure in figures for row in figure.rows]
    texts += [text for row in rows for text in (row.name, row.change, row.remark, row.word)]
    return frozenset("".join(texts))


def _metadata(roadmap: Roadmap, form: str) -> dict[str, Any]:
    """A title, and no time of day."""
    title = f"Roadmap of {roadmap.sweep}"
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    return {"Title": title, **undated.get(form, {})}


def _with_description(svg: bytes, text: str) -> bytes:
    """The figure in words for those who do not see it."""
    description = f"</title>\n <desc>{escape(text)}</desc>".encode("ascii", "xmlcharrefreplace")
    return svg.replace(b"</title>", description, 1).replace(b"<svg ", b'<svg role="img" ', 1)


def _shown(roadmap: Roadmap) -> tuple[list[RoadmapFigure], str]:
    """The figures, and what they leave out."""
    if len(roadmap.rows) <= _MOST_ROWS:
        return figures_of(roadmap), ""
    first = figures_of(replace(roadmap, rows=roadmap.rows[:_MOST_ROWS]))
    total = f"{len(roadmap.rows):,}"
    note = f"The first {_MOST_ROWS} of {total} variants; the table and the HTML page have all."
    return first, note


def _drawn(figures: Sequence[RoadmapFigure], note: str, sizes: Sizes) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    legend = wrapped(_legend(figures, note), sizes.width - 2 * GAP, sizes.small)
    line = 1.45 * sizes.small / 72
    foot = line * len(legend) + 0.1
    head = 1.7 * sizes.size / 72 if any(figure.regime for figure in figures) else 0.06
    below = 3.6 * sizes.size / 72 + 0.08  # ticks and the axis' name
    grid = [figures[start : start + sizes.panels] for start in range(0, len(figures), sizes.panels)]
    heights = [sizes.row * max(len(one.rows) for one in line) + head + below for line in grid]
    height = sum(heights) + foot
    canvas = Figure(figsize=(sizes.width, height))
    FigureCanvasAgg(canvas)
    top = height
    for beside, used in zip(grid, heights, strict=True):
        for column, figure in enumerate(beside):
            left = sizes.left_of(column)
            rows = sizes.row * len(figure.rows)
            box = (left, top - head - rows, sizes.axis, rows)
            ax = canvas.add_axes(
                (box[0] / sizes.width, box[1] / height, box[2] / sizes.width, box[3] / height)
            )
            panel = Panel(ax, figure, sizes, left)
            panel.draw(with_labels=column == 0)
        top -= used
    for place, text in enumerate(legend, 1):
        at = (0.05 + (len(legend) - place) * line) / height
        canvas.text(GAP / sizes.width, at, text, color=SOFT, fontsize=sizes.small)
    return canvas


def _legend(figures: Sequence[RoadmapFigure], note: str) -> list[str]:
    """Explain how to read the figure, in words that may go on the next line."""
    rows = [row for figure in figures for row in figure.rows]
    tones = dict.fromkeys(tone for figure in figures for tone in figure.tones)
    seeds = list(dict.fromkeys(figure.seeds for figure in figures))
    lows = dict.fromkeys(figure.axis.beginning for figure in figures if figure.is_broken)
    always = f"Bars: means; lines: {', '.join(seeds)}; dots: seeds; dashed: baseline."
    if not any(figure.has_results for figure in figures):
        always = "No results yet."
    where_it_occurs = {
        f"Bars are cut at {', '.join(lows)}.": bool(lows),
        "└\N{NO-BREAK SPACE}Outlined: side steps.": any(row.kind == "side" for row in rows),
        "Hatched: collapsed.": any(row.is_hatched for row in rows),
        "◆\N{NO-BREAK SPACE}published.": any(row.reference is not None for row in rows),
        f"{_differences(figures)}:": bool(tones),
    }
    told = [always, *(text for text, occurs in where_it_occurs.items() if occurs)]
    words = " ".join(told).split(" ")
    # a symbol and its meaning stay together
    words += [f"{SYMBOLS[tone]} {MEANINGS[tone]}" for tone in tones]
    return [*words, *note.split()]


def _differences(figures: Sequence[RoadmapFigure]) -> str:
    """Say what the effects of all panels are compared with; the longest says most."""
    return max((figure.differences for figure in figures), key=len)
