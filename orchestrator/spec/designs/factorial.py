"""The factorial: all combinations of steps, or a balanced fraction of them."""

from typing import ClassVar, Literal

from orchestrator.errors import did_you_mean_one_of
from orchestrator.spec.designs.base import BASELINE, Design, DesignError, Ground, PlannedCell
from orchestrator.spec.fractions import FRACTIONS, cells_of, fractions_for
from orchestrator.trial import Cell

CELLS_LIMIT = 256
"""More cells than this are asked for by mistake."""


class Factorial(Design):
    """All combinations of the steps, named by a digit for each step in the order of the road."""

    steps: list[str] = []
    """The steps that are crossed; all steps by default."""
    fraction: Literal["1", "1/2", "1/4", "1/8"] = "1"
    """A balanced part of all combinations."""

    title: ClassVar[str] = "All combinations"
    explanation: ClassVar[str] = (
        "Main effect: the step's effect averaged over the other steps being present or absent. "
        "Interaction: how much the first step's effect grows when the second is present."
    )
    names: ClassVar[str | None] = r"factorial\."

    @property
    def halvings(self) -> int:
        """Number of times that the combinations are halved."""
        return FRACTIONS[self.fraction]

    def averages(self, steps: int) -> int:
        """An effect for each step and an interaction for each two of them."""
        count = len(self.steps) or steps
        return count * (count + 1) // 2

    def cells(self, ground: Ground) -> list[PlannedCell]:
        """A cell for each combination.

        Raises `DesignError` where steps are unknown, too many or too few.
        """
        factors = self._factors(ground)
        self._check_counts(len(factors))
        combinations, _ = cells_of(len(factors), self.halvings)
        cells = []
        for combination in combinations:
            levels = dict(zip(factors, combination, strict=True))
            taken = tuple(step for step, is_there in levels.items() if is_there)
            name = "factorial." + "".join("01"[is_there] for is_there in combination)
            about = [BASELINE, *taken][-1]
            cells.append(PlannedCell(self.name, name, Cell(taken, levels), BASELINE, about))
        return cells

    def _factors(self, ground: Ground) -> list[str]:
        """The steps that are combined, in the order of the road.

        A step that changes nothing in a regime is no factor there.
        """
        for index, step in enumerate(self.steps):
            if step not in ground.all_steps:
                hint = did_you_mean_one_of(step, list(ground.all_steps))
                message = f"factorial: the road has no step '{step}'{hint}"
                raise DesignError(message, "steps", index)
            if step in self.steps[:index]:
                raise DesignError(f"factorial: step '{step}' is named twice", "steps", index)
        return [step for step in ground.steps if step in self.steps or not self.steps]

    def _check_counts(self, factors: int) -> None:
        count = 2 ** max(0, factors - self.halvings)
        if count > CELLS_LIMIT:
            raise DesignError(
                f"factorial of {factors} steps has {count} cells, more than {CELLS_LIMIT}; "
                "name fewer with 'steps', or a 'fraction'"
            )
        possible = fractions_for(factors)
        if self.fraction not in possible:
            raise DesignError(
                f"factorial: a fraction of {self.fraction} of {factors} steps would alias main "
                f"effects with each other; possible: {', '.join(possible)}",
                "fraction",
            )
