"""Sections of the report for the designs beside the road."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.design_effects import EFFECTS
from orchestrator.analysis.design_effects.lines import (
    INTERACTION,
    MAIN,
    PLACE,
    EffectLine,
    Effects,
    RegimeRows,
)
from orchestrator.analysis.rows import StepRow, row_to_json
from orchestrator.spec.designs import Design, has_road
from orchestrator.spec.sweep_spec import SweepSpec

__all__ = [
    "INTERACTION",
    "MAIN",
    "PLACE",
    "EffectLine",
    "Section",
    "section_to_json",
    "sections_of",
]


@dataclass(frozen=True)
class Section:
    """Section of one design."""

    design: str
    rows: Sequence[StepRow]
    lines: Sequence[EffectLine]
    left_out: Sequence[str] = ()
    """Variants, seeds and effects that are not in it, and why."""
    title: str = ""
    """Heading of the section."""
    explanation: str = ""
    """Explanation of how to read it, and what holds for these cells."""


def sections_of(spec: SweepSpec, rows: Sequence[StepRow]) -> list[Section]:
    """A section for every design but the road; `rows` are those of all variants, in order.

    Where seeds are added as needed, they are added to the road, so what is shown here is of the
    first ones. Without a road they are added to these cells: an effect then pays for its looks, and
    averages over many cells still keep to the first seeds.
    """
    designs = [design for design in spec.schema.design if not design.is_road]
    looks = spec.schema.looks
    if not looks:
        return [_section(design, rows, rows) for design in designs]
    first = [_of_seeds(row, spec.schema.seeds) for row in rows]
    if has_road(spec.schema.design):
        return [_section(design, rows, first) for design in designs]
    return [
        _section(design, rows, rows if design.compares_two_cells else first, looks)
        for design in designs
    ]


def _of_seeds(row: StepRow, seeds: Sequence[int]) -> StepRow:
    """The row as if it had no other seeds, as far as effects are concerned."""
    values = {seed: value for seed, value in row.values.items() if seed in seeds}
    return replace(
        row,
        values=values,
        outcome_of={seed: end for seed, end in row.outcome_of.items() if seed in seeds},
    )


def _section(
    design: Design, rows: Sequence[StepRow], counted: Sequence[StepRow], looks: Sequence[int] = ()
) -> Section:
    """The design's section; `counted` are the same rows with the seeds that effects are made of."""
    of_regime: dict[str, Effects] = {}
    for regime in dict.fromkeys(row.variant.regime for row in counted):
        found = [row for row in counted if row.variant.regime == regime]
        of_regime[regime] = EFFECTS[design.name](design, RegimeRows(regime, found, looks))
    effects = of_regime.values()
    return Section(
        design=design.name,
        rows=[row for row in rows if row.variant.design == design.name],
        lines=[line for one in effects for line in one.lines],
        left_out=[reason for one in effects for reason in one.left_out],
        title=design.title,
        explanation=" ".join([design.explanation, *_remarks(of_regime)]),
    )


def _remarks(of_regime: dict[str, Effects]) -> list[str]:
    """Remarks that hold in all regimes once, and others with the names of theirs."""
    regimes: dict[str, list[str]] = {}
    for regime, effects in of_regime.items():
        for remark in effects.remarks:
            regimes.setdefault(remark, []).append(regime)
    return [
        remark if len(where) == len(of_regime) else f"{', '.join(where)}: {remark}"
        for remark, where in regimes.items()
    ]


def section_to_json(section: Section) -> dict[str, Any]:
    """The form of a design in `report --format json`."""
    return {
        "design": section.design,
        "explanation": section.explanation,
        "rows": [row_to_json(row) for row in section.rows],
        "effects": [line.to_json() for line in section.lines],
        "left_out": list(section.left_out),
    }
