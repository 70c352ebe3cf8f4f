"""The design of one factor at a time: each step alone on the baseline."""

from typing import ClassVar

from orchestrator.spec.designs.base import BASELINE, Design, Ground, PlannedCell
from orchestrator.trial import Cell


class OneFactor(Design):
    """Each step alone on the baseline."""

    title: ClassVar[str] = "Each step alone"
    explanation: ClassVar[str] = "The step's effect on the baseline when nothing else is changed."
    names: ClassVar[str | None] = r"only\."
    compares_two_cells: ClassVar[bool] = True

    def cells(self, ground: Ground) -> list[PlannedCell]:
        """A cell for each step."""
        return [
            PlannedCell(self.name, f"only.{step}", Cell((step,)), BASELINE, step, adds_one=True)
            for step in ground.steps
        ]
