"""Main effects and interactions of a factorial, whole or in part."""

from orchestrator.analysis.design_effects.contrast_lines import contrast_line
from orchestrator.analysis.design_effects.lines import (
    Effects,
    RegimeRows,
    counts,
    rows_left_out,
    seeds_left_out,
)
from orchestrator.analysis.search_luck import by_repeat, repeats_of
from orchestrator.spec.designs import Design
from orchestrator.spec.designs.factorial import Factorial
from orchestrator.spec.fractions import cells_of
from orchestrator.stats.contrasts import factorial_contrasts

_ROMAN = {3: "III", 4: "IV", 5: "V", 6: "VI", 7: "VII", 8: "VIII", 9: "IX"}
_RESOLUTIONS = {
    3: "main effects are aliased with two-step interactions",
    4: (
        "main effects are not aliased with two-step interactions, but these are aliased with each "
        "other"
    ),
    5: "neither main effects nor two-step interactions are aliased with each other",
}
_TOGETHER = (
    "An effect aliased with others is the sum of its own effect and parts of theirs. It can be "
    "read as its own only if the others are zero."
)


def factorial_effects(design: Design, view: RegimeRows) -> Effects:
    """Main effects and two-way interactions over the cells whose trials all finished."""
    rows = view.of_design(design.name)
    if not rows:
        return Effects()
    factors = tuple(rows[0].variant.cell.levels)
    repeats = repeats_of(*(row.variant for row in rows))
    cells = {
        tuple(row.variant.cell.levels[factor] for factor in factors): by_repeat(row.values, repeats)
        for row in rows
        if counts(row)
    }
    contrasts = factorial_contrasts(cells, factors)
    lines = [contrast_line(view.regime, design.name, contrast, rows) for contrast in contrasts]
    remarks = _resolution(design, len(factors))
    if any(contrast.effect and contrast.aliases for contrast in contrasts):
        remarks.append(_TOGETHER)
    return Effects(lines, rows_left_out(rows) + seeds_left_out(rows), remarks)


def _resolution(design: Design, factors: int) -> list[str]:
    """Remark on the effects that the fraction can separate."""
    if not isinstance(design, Factorial) or design.fraction == "1":
        return []
    _, resolution = cells_of(factors, design.halvings)
    meaning = _RESOLUTIONS[min(resolution, max(_RESOLUTIONS))]
    fraction = f"This is {design.fraction} of all combinations of {factors} steps"
    return [f"{fraction}, of resolution {_ROMAN[resolution]}: {meaning}."]
