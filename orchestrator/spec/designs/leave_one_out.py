"""Leave one out: all steps but one."""

from typing import ClassVar

from orchestrator.spec.designs.base import Design, Ground, PlannedCell
from orchestrator.trial import Cell


class LeaveOneOut(Design):
    """All steps but one, compared with the variant with every step."""

    title: ClassVar[str] = "The final model without each step"
    explanation: ClassVar[str] = (
        "The step's contribution to the final model: the final model minus the same model without "
        "it."
    )
    names: ClassVar[str | None] = r"without\."
    needs_all_steps: ClassVar[bool] = True
    compares_two_cells: ClassVar[bool] = True

    def cells(self, ground: Ground) -> list[PlannedCell]:
        """A cell for each step that is left out."""
        cells = []
        for step in ground.steps:
            rest = Cell(tuple(other for other in ground.steps if other != step))
            name = f"without.{step}"
            cells.append(PlannedCell(self.name, name, rest, ground.full, step, lacks=True))
        return cells
