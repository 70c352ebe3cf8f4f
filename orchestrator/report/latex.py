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
_COSTS = ("outcome", "params", "FLOPs", "train s")
"""Columns of the second table; the first has what decides."""
_LINE = 100.0
"""Characters of a table's letters on a line of an article."""
_MOST_CHARACTERS = 26
"""Characters from which a cell has several lines."""
_SEPARATION = 0.0175
"""Share of a line that the space between two columns takes, in a narrow column of a paper."""
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
_LATEX |= {"└": r"\quad", ">": r"$>$", "×": r"$\times$", "|": r"\textbar{}", "−": "$-$"}
_LATEX |= {"→": r"$\to$", "…": r"\ldots{}", "≈": r"$\approx$"}
_LATEX |= {"†": r"$^\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$"}


def to_latex(roadmap: Roadmap, layout: Layout) -> str:
    """A `table` for the road, for its costs, and for each other design; the notes below.

    Where the reader names columns there is one table of them, and none of costs.

    Why trials failed stands in comments: what an error says is no text for a paper.
    """
    parts = [_PREAMBLE]
    parts += [f"% {' '.join(str(group).split())}" for group in grouped_causes(roadmap.causes)]
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
    parts += [f"{_text(' '.join(note.split()))}\\par" for note in notes(roadmap)]
    return "\n".join([*parts, r"\end{flushleft}", ""])


def _road(roadmap: Roadmap, layout: Layout) -> list[str]:
    """Write the tables of what was found, and of what it cost."""
    heads, texts = table_of(roadmap, layout)
    rows = [_with_daggers(row) for row in texts]
    shown = f"{roadmap.metric}, mean and standard deviation over {seeds_text(roadmap)}"
    caption = f"Roadmap of {roadmap.sweep}: {shown}. {' '.join(answer_of(roadmap).roads)}"
    stars = _with_daggers(caveats(roadmap), at_start=True)
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
    """A float as wide as the text; `below` stands under the table.

    Its label is `tab:` and the letters and digits of `label`, with hyphens between words.
    """
    lines = [_row([head.heading for head in heads]), r"\midrule", *map(_row, rows)]
    named = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return [
        r"\begin{table*}[tbp]\centering\scriptsize\setlength{\tabcolsep}{2pt}",
        _BREAKABLE,
        rf"\caption{{{_text(caption)}}}\label{{tab:{named}}}",
        rf"\begin{{tabular}}{{{_alignment(heads, rows)}}}",
        r"\toprule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\raggedright {_text(' '.join(note.split()))}" for note in below),
        r"\end{table*}",
    ]


def _alignment(heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Columns whose text breaks at spaces and underscores, wide in proportion to what they hold."""
    texts = [[head.heading, *(row[place] for row in rows)] for place, head in enumerate(heads)]
    words = [max(_longest_word(text) for text in column) + 1.5 for column in texts]
    wanted = [
        min(max(len(text) for text in column), _MOST_CHARACTERS) - word
        for column, word in zip(texts, words, strict=True)
    ]
    demand = sum(max(0.0, more) for more in wanted)
    spare = max(0.0, _LINE - sum(words))
    part = min(1.0, spare / demand) if demand else 0.0
    widths = [word + part * max(0.0, more) for word, more in zip(words, wanted, strict=True)]
    scale = (1 - _SEPARATION * len(heads)) / max(_LINE, sum(widths))
    columns = []
    for head, characters in zip(heads, widths, strict=True):
        side = r"\raggedleft" if head.is_number else r"\raggedright"
        width = scale * characters
        columns.append(rf">{{{side}\arraybackslash\hspace{{0pt}}}}p{{{width:.3f}\linewidth}}")
    return "".join(columns)


def _longest_word(text: str) -> int:
    """Characters of the longest part that no line may break in."""
    return max(map(len, re.split(r"[\s_]", text)))


def _row(texts: Sequence[str]) -> str:
    return " & ".join(map(_text, texts)) + r" \\"


def _text(text: str) -> str:
    """Special characters escaped; a minus is not a hyphen."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
