"""Rows and columns of the report's table that a reader asks for; by default all of them."""

import re
from collections.abc import Sequence
from typing import TypeVar

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.report.answer import all_rows
from orchestrator.report.formats import Layout
from orchestrator.report.words import Column, cells, columns

Cell = TypeVar("Cell")
_REMARK = re.compile(r" [(\[].*")
"""Pattern of the remark behind the name in a heading: `val/acc1 (n=6)`, `p (Holm)`."""


def rows_of(roadmap: Roadmap, names: Sequence[str]) -> list[StepRow]:
    """Rows of the report's table; cells of other designs (`only.rope`, `without.rope`) where they
    are named. What the report says of the others stays said.

    Raises `UsageError` for a step or cell that it does not have.
    """
    if not names:
        return list(roadmap.rows)
    rows = all_rows(roadmap)
    known = {name for row in rows for name in (row.variant.name, row.variant.label)}
    for name in names:
        if name not in known:
            hint = did_you_mean_one_of(name, sorted(known))
            raise UsageError(f"the report has no step '{name}'{hint}")
    return [row for row in rows if {row.variant.name, row.variant.label} & {*names}]


def table_of(roadmap: Roadmap, layout: Layout) -> tuple[list[Column], list[list[str]]]:
    """Headings and cells of the report's table, of the rows and columns that are named.

    A column goes by its heading without what stands in brackets; `delta` stands for `Δ`. Raises
    `UsageError` for a row or column that the report does not have.
    """
    headings = columns(roadmap)
    places = chosen([_key(column.heading) for column in headings], layout.columns)
    lines = [cells(roadmap, row) for row in rows_of(roadmap, layout.rows)]
    return _picked(headings, places), [_picked(line, places) for line in lines]


def chosen(known: Sequence[str], names: Sequence[str], what: str = "column") -> list[int]:
    """Places of the named columns, or what else there is, among the known ones; by default all."""
    if not names:
        return list(range(len(known)))
    keys = [_key(name) for name in names]
    for name, key in zip(names, keys, strict=True):
        if key not in known:
            raise UsageError(f"the report has no {what} '{name}'{did_you_mean_one_of(key, known)}")
    return [known.index(key) for key in keys]


def _key(heading: str) -> str:
    return _REMARK.sub("", heading.strip()).replace("Δ", "delta")


def _picked(items: Sequence[Cell], places: Sequence[int]) -> list[Cell]:
    return [items[place] for place in places]
