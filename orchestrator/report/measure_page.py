"""Measures on the page: a table for each, the change of every number, and pictures side by side."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.analysis.measures import MeasureTable
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.measures import (
    change_cells,
    change_columns,
    legend,
    measure_cells,
    measure_columns,
    remarks,
)
from orchestrator.report.tables import TableData, TableRow


@dataclass(frozen=True)
class StepPicture:
    """Picture that a measure drew of one step."""

    step: str
    alt: str
    address: str
    """The picture itself as an address, shown as an image, in which no script runs."""


@dataclass(frozen=True)
class MeasureData:
    """Content of the page on one measure."""

    label: str
    table: TableData | None
    legend: str
    changes: TableData | None
    remarks: Sequence[str]
    pictures: Sequence[tuple[str, Sequence[StepPicture]]]
    along: Sequence[StepPicture]
    """Each number over the epochs, a line for each step."""


def measures_of(roadmap: Roadmap) -> list[MeasureData]:
    """The measures that the spec asks for."""
    return [
        MeasureData(
            label=table.label,
            table=_table(roadmap, table) if table.quantities else None,
            legend=legend(table),
            changes=_changes(roadmap, table) if table.quantities else None,
            remarks=remarks(table),
            pictures=list(_pictures(roadmap, table)),
            along=list(_along(roadmap, table)),
        )
        for table in roadmap.measured
    ]


def _table(roadmap: Roadmap, table: MeasureTable) -> TableData:
    rows = [TableRow(cells) for cells in measure_cells(roadmap, table)]
    return TableData(table.label, measure_columns(table), rows)


def _changes(roadmap: Roadmap, table: MeasureTable) -> TableData | None:
    rows = [TableRow(cells) for cells in change_cells(roadmap, table)]
    return TableData(f"{table.label}: changes", change_columns(table), rows) if rows else None


def _pictures(roadmap: Roadmap, table: MeasureTable) -> Iterator[tuple[str, Sequence[StepPicture]]]:
    """The pictures by name, one of each step: the first seed's."""
    names = dict.fromkeys(name for of_step in table.pictures.values() for name in of_step)
    for name in names:
        yield (
            name,
            [
                _picture(row.variant.label, f"{table.label}: {name}", picture)
                for row in roadmap.rows
                if (picture := table.pictures.get(row.variant.label, {}).get(name))
            ],
        )


def _along(roadmap: Roadmap, table: MeasureTable) -> Iterator[StepPicture]:
    """Means over seeds along the training, that of the finished networks at the end."""
    from illama.measures.pictures import lines  # it draws with matplotlib

    for quantity in table.quantities:
        series = {}
        for row in roadmap.rows:
            label = row.variant.label
            read = dict(quantity.along.get(label, {}))
            if label in quantity.steps and row.variant.config.length:
                read[row.variant.config.length] = quantity.steps[label].row
            means = {epoch: one.summary.mean for epoch, one in read.items() if one.summary}
            if label in quantity.along:
                series[label] = (list(means), list(means.values()))
        if series:
            drawing = lines(series, quantity.name, "epoch", quantity.unit or quantity.name)
            yield _picture(quantity.name, f"{table.label} along the training", drawing)


def _picture(step: str, what: str, picture: str) -> StepPicture:
    data = base64.b64encode(picture.encode()).decode()
    return StepPicture(step, f"{what} of {step}", f"data:image/svg+xml;base64,{data}")
