"""The report as Markdown."""

import re
from collections.abc import Sequence

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.planning.causes import grouped_causes
from orchestrator.report.answer import answer_of
from orchestrator.report.formats import Layout
from orchestrator.report.measures import (
    HEADING,
    NOTE,
    legend,
    measure_cells,
    measure_columns,
    remarks,
)
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
from orchestrator.report.words import Column

ALL = Layout()
"""Every row and column."""


def to_markdown(roadmap: Roadmap, layout: Layout) -> str:
    """The answer, pipe tables and their notes."""
    head = f"# Roadmap of {roadmap.sweep}\n\n{answer_markdown(roadmap)}\n\n"
    return head + tables_markdown(roadmap, layout)


def tables_markdown(roadmap: Roadmap, layout: Layout = ALL) -> str:
    """Pipe tables and their notes."""
    parts = [
        *pipe_table(*table_of(roadmap, layout)),
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
    if roadmap.regimes:
        between = [regime_cells(difference) for difference in roadmap.regimes]
        parts += [
            f"## {REGIMES}",
            "",
            REGIMES_NOTE,
            "",
            *pipe_table(regime_columns(roadmap), between),
            "",
        ]
    parts += _measures_markdown(roadmap)
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


def _measures_markdown(roadmap: Roadmap) -> list[str]:
    parts = [f"## {HEADING}", "", NOTE, ""] if roadmap.measured else []
    for table in roadmap.measured:
        parts += [f"### {markdown_text(table.label)}", ""]
        if table.quantities:
            parts += pipe_table(measure_columns(table), measure_cells(roadmap, table))
        parts += [
            "",
            *(
                f"{markdown_text(text)}\n"
                for text in filter(None, [legend(table), *remarks(table)])
            ),
        ]
    return parts


def answer_markdown(roadmap: Roadmap) -> str:
    """Write what the sweep found, as Markdown for the top of the report."""
    answer = answer_of(roadmap)
    lines = [f"**{markdown_text(road)}**\n" for road in answer.roads]
    lines += [f"- {head}: {markdown_text(what)}" for head, what in answer.findings]
    return "\n".join(lines)


def _all_notes(roadmap: Roadmap) -> Sequence[str]:
    return [
        *map(str, grouped_causes(roadmap.causes)),
        *caveats(roadmap),
        *notes(roadmap),
    ]


def pipe_table(heads: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [
        _pipe_row([head.heading for head in heads]),
        _pipe_row(["--:" if head.is_number else "---" for head in heads]),
    ]
    return lines + [_pipe_row([_held(markdown_text(cell)) for cell in row]) for row in rows]


def _held(cell: str) -> str:
    """The cell with no line break inside a spread or an interval."""
    space = "\N{NO-BREAK SPACE}"
    cell = re.sub(r"(?<=\d) ± (?=\d)", f"{space}±{space}", cell)
    return re.sub(r"(?<=\d)( \[|, )(?=[+-]\d)", lambda found: found[0].replace(" ", space), cell)


def markdown_text(text: str) -> str:
    """The text on one line, with nothing in it that Markdown takes for formatting or HTML."""
    return re.sub(
        r"([\\*<|`]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split())
    )


def _pipe_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
