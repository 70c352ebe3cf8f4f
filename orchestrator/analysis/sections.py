"""What the designs beside the road show: each step alone, each step left out, all combinations, other orders."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.rows import (
    StepEffect,
    StepRow,
    corrected,
    effect_against,
    effect_to_json,
    row_to_json,
)
from orchestrator.analysis.search_luck import by_repeat, contrast_luck, repeats_of
from orchestrator.spec.schema import DesignSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.contrasts import (
    Contrast,
    PlacedEffect,
    Values,
    factorial_contrasts,
    order_contrasts,
)

TITLES = {
    "one_factor": "Each step alone",
    "leave_one_out": "The final model without each step",
    "factorial": "All combinations",
    "orders": "The road in other orders",
}
_EXPLANATIONS = {
    "one_factor": "What the step does to the baseline when nothing else is changed.",
    "leave_one_out": "What the final model owes to the step: the final model minus the same model without it.",
    "factorial": "Main effect: what the step does on average over the others being there or not. Interaction: how much the first "
    "step's effect grows when the second is there.",
    "orders": "Main effect: the step's effect averaged over its places in the orders. Interaction: how much each step's effect "
    "grows when the other is there, as far as these orders can tell and three steps at once do nothing more.",
}
_SINGLE = ("one_factor", "leave_one_out")
"""Designs whose effects are each between two cells."""
MAIN, INTERACTION, PLACE = "effect", "interaction", "place"


@dataclass(frozen=True)
class EffectLine:
    """One effect of a design."""

    regime: str
    kind: str
    """`effect`, `interaction`, or `place` for a step's effect at one place of one order."""
    label: str
    delta: StepEffect | None
    note: str = ""
    """What it assumes, or why there is none."""
    place: str = ""
    """Of a place: which of which order; its label begins with the step."""

    @property
    def step(self) -> str:
        """Of a place: the step that is taken there."""
        return self.label.removesuffix(f", {self.place}")


@dataclass(frozen=True)
class Section:
    """What one design shows."""

    design: str
    rows: Sequence[StepRow]
    lines: Sequence[EffectLine]
    left_out: Sequence[str] = ()
    """Variants that no effect could be computed from, and why."""

    @property
    def title(self) -> str:
        """In words."""
        return TITLES[self.design]

    @property
    def explanation(self) -> str:
        """How to read it."""
        return _EXPLANATIONS[self.design]


def sections_of(spec: SweepSpec, rows: Sequence[StepRow]) -> list[Section]:
    """One for every design but the road; `rows` are all variants', in the order of the spec's.

    Where seeds are added as needed, they are added to the road, so what is shown here is of the first ones. Without a road they
    are added to these cells: an effect then pays for its looks, and averages over many cells still keep to the first seeds.
    """
    designs = [design for design in spec.schema.design if design.name != "roadmap"]
    adaptive = spec.schema.adaptive
    if adaptive is None:
        return [_section(design, rows, rows) for design in designs]
    looks = adaptive.looks if len(designs) == len(spec.schema.design) else ()
    first = [_of_seeds(row, spec.schema.seeds) for row in rows]
    return [
        _section(design, rows, rows if looks and design.name in _SINGLE else first, looks)
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
    design: DesignSchema,
    rows: Sequence[StepRow],
    counted: Sequence[StepRow],
    looks: Sequence[int] = (),
) -> Section:
    """`counted` are the same rows with the seeds that effects are computed from."""
    lines: list[EffectLine] = []
    left_out: list[str] = []
    for regime in dict.fromkeys(row.variant.regime for row in counted):
        found = [row for row in counted if row.variant.regime == regime]
        if design.name in _SINGLE:
            lines += _against_one(design.name, regime, found, looks)
        elif design.name == "factorial":
            lines += _factorial(design, regime, found)
        else:
            of_orders = _orders(regime, found)
            lines += [line for line in of_orders if line.delta or line.kind != INTERACTION]
            left_out += _untold(
                [line.label for line in of_orders if line.kind == INTERACTION and not line.delta]
            )
        left_out += _left_out(design.name, found)
    of_design = [row for row in rows if row.variant.design == design.name]
    return Section(design.name, of_design, _corrected_by_kind(lines), left_out)


def _against_one(
    design: str, regime: str, rows: Sequence[StepRow], looks: Sequence[int]
) -> list[EffectLine]:
    by_name = {row.variant.name: row for row in rows}
    lines = []
    for row in rows:
        if row.variant.design == design:
            other = by_name.get(row.variant.follows or "")
            if other is None:
                lines.append(
                    EffectLine(
                        regime, MAIN, row.variant.step, None, "all steps together make no sense"
                    )
                )
                continue
            pair = (row, other) if design == "one_factor" else (other, row)
            delta = effect_against(*pair, looks)
            lines.append(EffectLine(regime, MAIN, row.variant.step, delta, _end_of(row)))
    return lines


def _factorial(design: DesignSchema, regime: str, rows: Sequence[StepRow]) -> list[EffectLine]:
    road = list(dict.fromkeys(name for row in rows for name in row.variant.cell))
    factors = [name for name in road if name in design.steps] if design.steps else road
    repeats = repeats_of(*(row.variant for row in rows))
    cells = {
        tuple(digit == "1" for digit in row.variant.name.removeprefix("factorial.")): by_repeat(
            row.values, repeats
        )
        for row in rows
        if row.variant.design == "factorial" and _counts(row)
    }
    return [
        _contrast_line(regime, contrast, "factorial", rows)
        for contrast in factorial_contrasts(cells, factors)
    ]


def _orders(regime: str, rows: Sequence[StepRow]) -> list[EffectLine]:
    by_name = {row.variant.name: row for row in rows}
    repeats = repeats_of(*(row.variant for row in rows))
    lines: list[EffectLine] = []
    placed: list[PlacedEffect] = []
    cells: dict[frozenset[str], Values] = {}
    for row in rows:
        before = by_name.get(row.variant.follows or "")
        is_on_road = _is_on_road(row)
        if not (row.variant.design == "orders" or is_on_road):
            continue
        if _counts(row):
            cells[frozenset(row.variant.cell)] = by_repeat(row.values, repeats)
        if before is None:
            continue
        delta = effect_against(row, before)
        if _counts(row) and _counts(before):
            shared = row.values.keys() & before.values.keys()
            differences = {seed: row.values[seed] - before.values[seed] for seed in shared}
            placed.append(PlacedEffect(row.variant.step, by_repeat(differences, repeats)))
        order = (
            "the road"
            if is_on_road
            else row.variant.name.partition(".")[0].replace("order", "order ")
        )
        place = f"step {len(row.variant.cell)} of {order}"
        note = _end_of(row) or _end_of(before)
        lines.append(EffectLine(regime, PLACE, f"{row.variant.step}, {place}", delta, note, place))
    steps = list(dict.fromkeys(line.step for line in placed))
    contrasts = order_contrasts(placed, cells, steps)
    return [
        *(_contrast_line(regime, contrast, "orders", rows) for contrast in contrasts),
        *lines,
    ]


def _untold(pairs: Sequence[str]) -> list[str]:
    return (
        [f"interactions that these orders cannot tell from others: {', '.join(pairs)}"]
        if pairs
        else []
    )


def _contrast_line(
    regime: str, contrast: Contrast, versus: str, rows: Sequence[StepRow]
) -> EffectLine:
    kind = MAIN if len(contrast.factors) == 1 else INTERACTION
    delta, notes = None, [contrast.caveat]
    if contrast.effect:
        variants = [row.variant for row in rows]
        effect, luck = contrast_luck(contrast.effect, contrast.factors, variants)
        delta = StepEffect(effect, versus, decimals=rows[0].decimals)
        notes.append(luck)
    note = "; ".join(filter(None, notes))
    return EffectLine(regime, kind, " × ".join(contrast.factors), delta, note)


def _corrected_by_kind(lines: Sequence[EffectLine]) -> list[EffectLine]:
    """Holm's correction, for main effects and for interactions apart: they answer different questions. Places get none: they
    show where the averages come from.
    """
    result = list(lines)
    for kind in (MAIN, INTERACTION):
        chosen = [index for index, line in enumerate(lines) if line.kind == kind]
        for index, delta in zip(
            chosen, corrected([lines[index].delta for index in chosen]), strict=True
        ):
            result[index] = replace(lines[index], delta=delta)
    return result


def _left_out(design: str, rows: Sequence[StepRow]) -> list[str]:
    """Averages over cells would hide these."""
    if design not in ("factorial", "orders"):
        return []
    counted = [
        row
        for row in rows
        if row.variant.design == design or (design == "orders" and _is_on_road(row))
    ]
    return [
        f"{row.variant.label}: {_end_of(row) or ('no trial recorded it' if row.unrecorded else 'no trial is done')}"
        for row in counted
        if not _counts(row)
    ]


def _counts(row: StepRow) -> bool:
    """Whether averages may have it among them."""
    return row.is_healthy and bool(row.values)


def _is_on_road(row: StepRow) -> bool:
    return row.variant.design == "roadmap" and not row.variant.side


def _end_of(row: StepRow) -> str:
    if row.is_mixed:
        return f"{row.mixture}, {len(row.finished_values)} finished"
    return f"all {row.mixture}" if row.mixture else ""


def section_to_json(section: Section) -> dict[str, Any]:
    """The form of a design in `report --format json`."""
    return {
        "design": section.design,
        "rows": [row_to_json(row) for row in section.rows],
        "effects": [
            {
                "regime": line.regime,
                "kind": line.kind,
                "label": line.label,
                "note": line.note,
                **(effect_to_json(line.delta) or {}),
            }
            for line in section.lines
        ],
        "left_out": list(section.left_out),
    }
