"""The roadmap: each step on top of the one before."""

from typing import ClassVar

from orchestrator.spec.designs.base import Design, Ground, PlannedCell


class Roadmap(Design):
    """Each step on top of the one before, with side steps and searches."""

    title: ClassVar[str] = "Roadmap"
    explanation: ClassVar[str] = "The effect of each step on top of the steps before it."
    is_road: ClassVar[bool] = True

    def cells(self, ground: Ground) -> list[PlannedCell]:
        """No cells: `orchestrator.spec.variants` walks the road."""
        return []
