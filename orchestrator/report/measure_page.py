"""Measures on the page: a table for each, the change of every number, and the pictures side by side."""

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape

from orchestrator.analysis.measures import MeasureTable
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.measures import (
    HEADING,
    NOTE,
    change_cells,
    change_columns,
    legend,
    measure_cells,
    measure_columns,
    remarks,
)
from orchestrator.report.words import Column

HtmlTable = Callable[[Sequence[Column], Sequence[Sequence[str]]], str]
_PICTURE_STYLE = "width:15rem;max-width:100%;background:#fff;border-radius:4px"


def measures_html(roadmap: Roadmap, table_of: HtmlTable) -> Iterator[str]:
    """The whole section; nothing where the spec asks for no measure. `table_of` writes a table."""
    if not roadmap.measured:
        return
    yield f'<h2>{HEADING}</h2><p class="lead">{escape(NOTE)}</p>'
    for table in roadmap.measured:
        yield f"<h3>{escape(table.label)}</h3>"
        if table.quantities:
            yield table_of(measure_columns(table), measure_cells(roadmap, table))
            yield f'<div class="notes"><p>{escape(legend(table))}</p></div>'
            if changes := change_cells(roadmap, table):
                drawn = table_of(change_columns(table), changes)
                yield f"<details><summary>Change of every number</summary>{drawn}</details>"
        for remark in remarks(table):
            yield f"<p>{escape(remark)}</p>"
        yield from _pictures(roadmap, table)


def _pictures(roadmap: Roadmap, table: MeasureTable) -> Iterator[str]:
    """A picture of each step, the first seed's: shown as an image, in which no script runs."""
    names = dict.fromkeys(name for of_step in table.pictures.values() for name in of_step)
    for name in names:
        figures = "".join(
            _figure(row.variant.label, f"{table.label}: {name}", picture)
            for row in roadmap.rows
            if (picture := table.pictures.get(row.variant.label, {}).get(name))
        )
        yield (
            f"<details open><summary>{escape(name)}, first seed of each step</summary>"
            f'<div style="display:flex;flex-wrap:wrap;gap:1rem">{figures}</div></details>'
        )


def _figure(step: str, what: str, picture: str) -> str:
    data = base64.b64encode(picture.encode()).decode()
    alt = escape(f"{what} of {step}", quote=True)
    return (
        f'<figure style="margin:0"><img alt="{alt}" style="{_PICTURE_STYLE}" loading="lazy" '
        f'src="data:image/svg+xml;base64,{data}"><figcaption>{escape(step)}</figcaption></figure>'
    )
