"""The report as LaTeX: floats that fit the page of an article, and their notes in small print.

Columns are shares of the line, and whatever is longer breaks inside its cell, so no box is overfull
whatever the names are. What things cost has a table of its own.
"""

import re
from collections.abc import Sequence

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.planning.causes import grouped_causes
from orchestrator.report.answer import answer_of
from orchestrator.report.formats import Layout
from orchestrator.report.latex_widths import LINE, pages, parted, pieces, points_of, shares
from orchestrator.report.measures import HEADING, NOTE, measure_cells, measure_columns, remarks
from orchestrator.report.notes import caveats, notes
from orchestrator.report.selection import table_of
from orchestrator.report.tables import (
    HEADINGS,
    REGIMES,
    REGIMES_NOTE,
    kinds_of,
    line_cells,
    regime_cells,
    regime_columns,
)
from orchestrator.report.words import Column, seeds_text

_PREAMBLE = r"% needs \usepackage{booktabs,array}"
_BREAKABLE = r"\def\_{\textunderscore\allowbreak}"
"""Lets a name end a line after any of its underscores."""
_LAST_LATIN = "\u017f"
"""Last letter that pdflatex has without more packages."""
_COSTS = ("outcome", "params", "FLOPs", "train s")
"""Columns of the second table; the first has what decides."""
_MOST_BELOW = 12
"""Remarks that stand in a float; more would make it longer than a page."""
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
}
_LATEX |= {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "–": "--",
    "<": r"$<$",
}
_LATEX |= {"└": r"\quad{}", ">": r"$>$", "×": r"$\times$", "|": r"\textbar{}", "−": "$-$"}
_LATEX |= {"→": r"$\to$", "…": r"\ldots{}", "≈": r"$\approx$"}
_LATEX |= {"†": r"$^\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}


def to_latex(roadmap: Roadmap, layout: Layout) -> str:
    """A `table` for the road, for its costs, and for each other design; the notes below.

    Where the reader names columns there is one table of them, and none of costs.

    Why trials failed stands in comments: what an error says is no text for a paper.
    """
    parts = [f"% {' '.join(str(group).split())}" for group in grouped_causes(roadmap.causes)]
    parts += _road(roadmap, layout)
    for section in roadmap.sections:
        for title, lines in kinds_of(section):
            parts += ["", f"% {section.title}: {title.lower()}. {section.explanation}"]
            rows = [line_cells(line) for line in lines]
            about = f"{section.title}: {title.lower()}"
            parts += _table(HEADINGS, rows, f"{about}.", label=f"{roadmap.sweep} {about}")
    if roadmap.regimes:
        parts += ["", f"% {REGIMES}. {REGIMES_NOTE}"]
        between = [regime_cells(difference) for difference in roadmap.regimes]
        heads, label = regime_columns(roadmap), f"{roadmap.sweep} regimes"
        parts += _table(heads, between, f"{REGIMES}. {REGIMES_NOTE}", label=label)
    parts += _measures(roadmap)
    parts += ["", r"\begin{flushleft}\footnotesize", _BREAKABLE]
    parts += [f"{_text(_indented(note))}\\par" for note in notes(roadmap)]
    text = "\n".join([*parts, r"\end{flushleft}", ""])
    return _needs(text) + text


def _needs(text: str) -> str:
    """Comments on what a document needs for this text."""
    body = "".join(line for line in text.splitlines() if not line.startswith("%"))
    others = sorted({letter for letter in body if letter > _LAST_LATIN})
    if not others:
        return f"{_PREAMBLE}\n"
    return (
        f"{_PREAMBLE}\n% has {' '.join(others)}: needs xelatex or lualatex, and a font with them\n"
    )


def _indented(note: str) -> str:
    """The note on one line, for a table where side steps are indented and have no corner."""
    return " ".join(note.split()).replace("(└)", "(indented)").replace("└ ", "")


def _road(roadmap: Roadmap, layout: Layout) -> list[str]:
    """Write the tables of what was found, and of what it cost."""
    heads, texts = table_of(roadmap, layout)
    rows = [_with_daggers(row) for row in texts]
    shown = f"{roadmap.metric}, mean and standard deviation over {seeds_text(roadmap)}"
    caption = f"Roadmap of {roadmap.sweep}: {shown}. {' '.join(answer_of(roadmap).roads)}"
    stars = _with_daggers(list(map(_indented, caveats(roadmap))), at_start=True)
    if layout.columns:
        return _table(heads, rows, caption, stars, roadmap.sweep)
    decides = [place for place, head in enumerate(heads) if head.heading not in _COSTS]
    costs = [0, *(place for place, head in enumerate(heads) if head.heading in _COSTS)]
    found = _table(*_chosen(heads, rows, decides), caption, stars, roadmap.sweep)
    of_costs = f"Outcomes and costs of the steps of {roadmap.sweep}; train s is summed over seeds."
    label = f"{roadmap.sweep} costs"
    return [*found, "", *_table(*_chosen(heads, rows, costs), of_costs, label=label)]


def _chosen(
    heads: Sequence[Column], rows: Sequence[Sequence[str]], places: Sequence[int]
) -> tuple[list[Column], list[list[str]]]:
    return [heads[place] for place in places], [[row[place] for place in places] for row in rows]


def _measures(roadmap: Roadmap) -> list[str]:
    parts = ["", f"% {HEADING}. {NOTE}"] if roadmap.measured else []
    for table in roadmap.measured:
        label = " ".join(table.label.split())
        parts += ["", f"% {label}"]
        parts += [f"% {' '.join(remark.split())}" for remark in remarks(table)]
        if table.quantities:
            rows = measure_cells(roadmap, table)
            about = f"{roadmap.sweep} {label}"
            parts += _table(measure_columns(table), rows, f"{HEADING}: {label}.", label=about)
    return parts


def _with_daggers(texts: Sequence[str], *, at_start: bool = False) -> list[str]:
    """A star beside an interval is read as significance in a paper."""
    if at_start:
        return [text.replace("*", "†", 1) for text in texts]
    return [f"{text[:-1]}†" if text.endswith("*") else text for text in texts]


def _table(
    heads: Sequence[Column],
    rows: Sequence[Sequence[str]],
    caption: str,
    below: Sequence[str] = (),
    label: str = "",
) -> list[str]:
    """Floats as wide as the text, of as many rows and columns as a page has room for; `below`
    stands under the last, or behind it where it is long.

    The label is `tab:` and the letters and digits of `label`, with hyphens between words; from the
    second float on with its number.
    """
    named = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    floats: list[list[str]] = []
    for places in parted(heads, rows):
        some, cells = _chosen(heads, rows, places)
        for page in pages(some, cells):
            about = rf"\caption{{{_text(caption)}}}\label{{tab:{named}}}"
            if floats:
                first = rf"Continued from Table~\ref{{tab:{named}}}."
                about = rf"\caption{{{first}}}\label{{tab:{named}-{len(floats) + 1}}}"
            floats.append([*_tabular(about, some, page), r"\end{table*}"])
    lines = [line for one in floats for line in one]
    small = [_text(" ".join(note.split())) for note in below]
    if len(small) <= _MOST_BELOW:
        lines[-1:-1] = [rf"\par\raggedright {note}" for note in small]
        return lines
    small = [rf"{note}\par" for note in small]
    return [*lines, r"\begin{flushleft}\footnotesize", _BREAKABLE, *small, r"\end{flushleft}"]


def _tabular(about: str, heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns whose text breaks, wide enough for what does not."""
    widths = shares(heads, rows)
    columns = []
    for head, share in zip(heads, widths, strict=True):
        side = r"\raggedleft" if head.is_number else r"\raggedright"
        columns.append(rf">{{{side}\arraybackslash\hspace{{0pt}}}}p{{{share:.4f}\linewidth}}")
    return [
        r"\begin{table*}[tbp]\centering\scriptsize\setlength{\tabcolsep}{2pt}",
        _BREAKABLE,
        about,
        rf"\begin{{tabular}}{{{''.join(columns)}}}",
        r"\toprule",
        _row([head.heading for head in heads], widths),
        r"\midrule",
        *(_row(row, widths) for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _row(texts: Sequence[str], widths: Sequence[float]) -> str:
    return " & ".join(map(_cell, texts, widths)) + r" \\"


def _cell(text: str, share: float) -> str:
    """The text, with places to break a line at where it needs them beside its spaces."""
    if points_of(text) <= LINE * share:
        return _text(text)
    words = (
        r"\allowbreak{}".join(_text(piece) for piece in pieces(word))
        for word in text.replace("└ ", "└").split(" ")
    )
    return " ".join(words).replace(r"\_\allowbreak{}", r"\_")


def _text(text: str) -> str:
    """Special characters escaped; a minus is not a hyphen."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
