"""The report as Markdown and LaTeX (booktabs)."""

import re
from collections.abc import Sequence

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.tables import HEADINGS, kinds_of, line_cells
from orchestrator.report.words import Column, caveats, cells, columns, notes

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
_LATEX |= {"└": r"\quad", ">": r"$>$", "×": r"$\times$", "|": r"\textbar{}"}


def to_markdown(roadmap: Roadmap) -> str:
    """Pipe tables and their notes."""
    parts = [
        f"# Roadmap of {roadmap.sweep}",
        "",
        *pipe_table(columns(roadmap), [cells(roadmap, row) for row in roadmap.rows]),
    ]
    parts += ["", *(f"{markdown_text(note)}\n" for note in _all_notes(roadmap))]
    for section in roadmap.sections:
        parts += [f"## {section.title}", "", section.explanation, ""]
        for title, lines in kinds_of(section):
            parts += [
                f"### {title}",
                "",
                *pipe_table(HEADINGS, [line_cells(line) for line in lines]),
                "",
            ]
        parts += [f"Left out: {markdown_text(reason)}\n" for reason in section.left_out]
    if roadmap.warnings:
        parts += ["## Warnings", ""]
    for warning in roadmap.warnings:
        where = f" (line {warning.line})" if warning.line else ""
        parts += [f"- **{warning.code}**{where}: {markdown_text(warning.message)}"]
        parts += (
            ["", *(f"      {line}" for line in warning.control.splitlines()), ""]
            if warning.control
            else []
        )
    return "\n".join(parts).rstrip("\n") + "\n"


def to_latex(roadmap: Roadmap) -> str:
    """A `tabular` for the booktabs package for the road and for each other design, notes as comments."""
    parts = [r"% needs \usepackage{booktabs}"]
    parts += [
        f"% {' '.join(note.split())}" for note in _all_notes(roadmap)
    ]  # what an error says may have several lines
    parts += _tabular(columns(roadmap), [cells(roadmap, row) for row in roadmap.rows])
    for section in roadmap.sections:
        for title, lines in kinds_of(section):
            parts += ["", f"% {section.title}: {title.lower()}. {section.explanation}"]
            parts += _tabular(HEADINGS, [line_cells(line) for line in lines])
    return "\n".join([*parts, ""])


def _all_notes(roadmap: Roadmap) -> Sequence[str]:
    return [
        *(f"{trial}: {cause}" for trial, cause in roadmap.causes.items()),
        *caveats(roadmap),
        *notes(roadmap),
    ]


def pipe_table(heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [
        _pipe_row([head.heading for head in heads]),
        _pipe_row(["--:" if head.is_number else "---" for head in heads]),
    ]
    return lines + [_pipe_row(list(map(markdown_text, row))) for row in rows]


def markdown_text(text: str) -> str:
    """On one line, with nothing in it that Markdown takes for formatting or HTML."""
    return re.sub(
        r"([\\*<|`]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split())
    )


def _pipe_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _tabular(heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    alignment = "".join("r" if head.is_number else "l" for head in heads)
    lines = [_latex_row([head.heading for head in heads]), r"\midrule", *map(_latex_row, rows)]
    return [
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(map(_latex_text, texts)) + r" \\"


def _latex_text(text: str) -> str:
    """Special characters escaped; a minus is not a hyphen."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)
