"""The report as tables in the terminal."""

import io

from rich.console import Console, Group, RenderableType
from rich.text import Text

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.sections import PLACE, Section
from orchestrator.report import WIDTH
from orchestrator.report.fitting import FittedTable
from orchestrator.report.formats import Layout
from orchestrator.report.notes import caveats, notes
from orchestrator.report.tables import (
    HEADINGS,
    REGIMES,
    REGIMES_NOTE,
    line_cells,
    regime_cells,
    regime_columns,
)
from orchestrator.report.words import cells, columns
from orchestrator.trial import Outcome


def to_text(roadmap: Roadmap, _layout: Layout) -> str:
    """The terminal's tables without colours."""
    plain = Console(width=WIDTH, record=True, file=io.StringIO(), highlight=False, emoji=False)
    plain.print(roadmap_table(roadmap))
    return plain.export_text()


def roadmap_table(roadmap: Roadmap) -> RenderableType:
    """The road, the other designs, the causes of what went wrong, and how to read it."""
    lines, styles = [cells(roadmap, row) for row in roadmap.rows], list(map(_style, roadmap.rows))
    table = FittedTable(f"Roadmap of {roadmap.sweep}", columns(roadmap), lines, styles)
    causes = [Text(f"{trial}: {cause}", style="red") for trial, cause in roadmap.causes.items()]
    stars = [Text(caveat, style="yellow") for caveat in caveats(roadmap)]
    sections = [part for section in roadmap.sections for part in _section(section)]
    if roadmap.regimes:
        lines = [regime_cells(difference) for difference in roadmap.regimes]
        sections += [FittedTable(REGIMES, regime_columns(roadmap), lines)]
        sections += [Text(REGIMES_NOTE, style="dim"), Text("")]
    return Group(
        table, *causes, *stars, *sections, *(Text(note, style="dim") for note in notes(roadmap))
    )


def _section(section: Section) -> list[RenderableType]:
    """Main effects and interactions; the places that they are averages of are in the other formats."""
    table = FittedTable(
        section.title, HEADINGS, [line_cells(line) for line in section.lines if line.kind != PLACE]
    )
    left_out = [Text(f"left out: {reason}", style="yellow") for reason in section.left_out]
    return [table, Text(section.explanation, style="dim"), *left_out, Text("")]


def _style(row: StepRow) -> str:
    if row.outcomes.get(Outcome.FAILED) or row.outcomes.get(Outcome.OUT_OF_MEMORY):
        return "red"
    if row.is_sick:
        return "yellow"
    return "dim" if row.variant.side or not row.values else ""
