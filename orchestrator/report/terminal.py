"""The report as tables in the terminal."""

import io

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.sections import PLACE, Section
from orchestrator.outcomes import Outcome
from orchestrator.planning.causes import grouped_causes
from orchestrator.report import WIDTH
from orchestrator.report.answer import answer_of
from orchestrator.report.fitting import FittedTable
from orchestrator.report.formats import Layout
from orchestrator.report.measures import NOTE, measure_cells, measure_columns, remarks
from orchestrator.report.notes import caveats, notes
from orchestrator.report.selection import rows_of, table_of
from orchestrator.report.tables import (
    HEADINGS,
    REGIMES,
    REGIMES_NOTE,
    line_cells,
    regime_cells,
    regime_columns,
)

ALL = Layout()
"""Every row and column."""


def to_text(roadmap: Roadmap, layout: Layout) -> str:
    """The terminal's tables without colours."""
    plain = Console(width=WIDTH, record=True, file=io.StringIO(), highlight=False, emoji=False)
    plain.print(roadmap_table(roadmap, layout))
    return plain.export_text()


def roadmap_table(roadmap: Roadmap, layout: Layout = ALL) -> RenderableType:
    """The road, the other designs, the causes of what went wrong, and how to read it."""
    headings, lines = table_of(roadmap, layout)
    styles = list(map(_style, rows_of(roadmap, layout.rows)))
    table = FittedTable(f"Roadmap of {roadmap.sweep}", headings, lines, styles)
    causes = [Text(str(group), style="red") for group in grouped_causes(roadmap.causes)]
    stars = [Text(caveat, style="yellow") for caveat in caveats(roadmap)]
    sections = [part for section in roadmap.sections for part in _section(section)]
    if roadmap.regimes:
        lines = [regime_cells(difference) for difference in roadmap.regimes]
        sections += [FittedTable(REGIMES, regime_columns(roadmap), lines)]
        sections += [Text(REGIMES_NOTE, style="dim"), Text("")]
    sections += _measures(roadmap)
    small_print = [Text(note, style="dim") for note in notes(roadmap)]
    return Group(table, *causes, *stars, *sections, *small_print, Text(""), *answer_lines(roadmap))


def answer_lines(roadmap: Roadmap) -> list[Text]:
    """Return what the sweep found, to be last: there eyes are when a command has ended."""
    answer = answer_of(roadmap)
    lines = [Text(road, style="bold") for road in answer.roads]
    lines += [Text(f"{head}: {what}", style=_TONES.get(head, "")) for head, what in answer.findings]
    return lines


_TONES = {"Better": "green", "Worse": "red", "Unexpected outcome": "yellow"}


def _section(section: Section) -> list[RenderableType]:
    """Main effects and interactions; the places that they are averages of are in the other
    formats.
    """
    table = FittedTable(
        section.title, HEADINGS, [line_cells(line) for line in section.lines if line.kind != PLACE]
    )
    left_out = [Text(f"left out: {reason}", style="yellow") for reason in section.left_out]
    return [table, Text(section.explanation, style="dim"), *left_out, Text("")]


def _measures(roadmap: Roadmap) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for measured in roadmap.measured:
        title = f"Measure {measured.label}"
        if measured.quantities:
            lines = measure_cells(roadmap, measured)
            parts.append(FittedTable(title, measure_columns(measured), lines))
        parts += [Text(f"{title}: {remark}", style="yellow") for remark in remarks(measured)]
    return [*parts, Text(NOTE, style="dim"), Text("")] if parts else []


def _style(row: StepRow) -> str:
    if row.outcomes.get(Outcome.FAILED) or row.outcomes.get(Outcome.OUT_OF_MEMORY):
        return "red"
    if row.is_sick:
        return "yellow"
    return "dim" if row.variant.side or not row.values else ""
