"""Cells that the designs beside the road ask for in one regime, and which of them make sense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from illama.config import Workload
from orchestrator.spec.changes import GroupSettings, same_science, tried
from orchestrator.spec.designs import (
    ALL_STEPS,
    BASELINE,
    Design,
    DesignError,
    Ground,
    PlannedCell,
    SkippedCell,
    has_road,
)
from orchestrator.spec.document import Document, Location
from orchestrator.spec.relations import reason_against
from orchestrator.spec.step_schema import StepSchema
from orchestrator.trial import Cell


@dataclass(frozen=True)
class RegimeCells:
    """Outcome of making the cells of one regime."""

    made: Sequence["MadeCell"]
    skipped: Sequence[SkippedCell]
    """The cells that make no sense."""
    homeless: Mapping[str, str]
    """Steps that are in none of the cells that were made, and what is wrong with their settings."""


@dataclass(frozen=True)
class MadeCell:
    """A cell that makes sense, with its settings."""

    planned: PlannedCell
    config: Workload
    changes: Mapping[str, Any]
    """The settings that differ from the variant that it follows."""


class StepsOfRegime:
    """The steps that change something in a regime, which can be taken together and in any order."""

    def __init__(
        self,
        regime: str,
        settings: GroupSettings,
        steps: Mapping[str, StepSchema],
        changes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.regime = regime
        self.settings = settings
        self.steps = steps
        self.changes = changes
        self._known: dict[tuple[str, ...], Workload | str] = {}

    def taken(self, steps: Sequence[str]) -> Workload | str:
        """The settings of the baseline with these steps in order, or why they make no sense."""
        order = tuple(steps)
        if order not in self._known:
            reason = reason_against(order, self.steps)
            changes = [self.changes[name] for name in order]
            self._known[order] = reason or tried(self.settings, changes)
        return self._known[order]

    def is_step(self, order: Sequence[str]) -> bool:
        """Tell whether the last step makes sense behind the others and changes something there."""
        before, after = self.taken(order[:-1]), self.taken(order)
        if isinstance(before, str) or isinstance(after, str):
            return False
        return not same_science(after, before)

    def cells(self, planned: Sequence[PlannedCell]) -> RegimeCells:
        """The cells that make sense, and what is wrong with the others."""
        made: list[MadeCell] = []
        skipped: list[SkippedCell] = []
        reasons: dict[str, str] = {}
        for cell in planned:
            config = self._config_of(cell)
            if not isinstance(config, str):
                made.append(MadeCell(cell, config, self._shown(cell, config)))
                continue
            skipped.append(SkippedCell(cell.design, self.regime, cell.name, config))
            if not reason_against(cell.cell.steps, self.steps):
                reasons |= dict.fromkeys(cell.cell.steps, config)
        at_home = {step for cell in made for step in cell.planned.cell.steps}
        homeless = {step: reason for step, reason in reasons.items() if step not in at_home}
        return RegimeCells(made, skipped, homeless)

    def _config_of(self, cell: PlannedCell) -> Workload | str:
        config = self.taken(cell.cell.steps)
        if isinstance(config, str) or not cell.lacks:
            return config
        final = self.taken(tuple(self.changes))
        if not isinstance(final, str) and same_science(config, final):
            return f"later steps overwrite all that {cell.about} changes"
        return config

    def _shown(self, cell: PlannedCell, config: Workload) -> Mapping[str, Any]:
        """The settings that the cell changes; where it lacks a step, what they were before."""
        if cell.lacks:
            return {key: config.setting(key) for key in self.changes[cell.about]}
        return {key: value for name in cell.added for key, value in self.changes[name].items()}


def planned_cells(
    designs: Sequence[Design], steps: StepsOfRegime, document: Document
) -> tuple[list[PlannedCell], list[SkippedCell]]:
    """The cells that the designs ask for, and what they ask for that does not exist.

    What is wrong with the options of a design becomes a problem of the document.
    """
    ground = Ground(
        steps=tuple(steps.changes),
        all_steps=tuple(steps.steps),
        has_road=has_road(designs),
        is_step=steps.is_step,
    )
    planned: list[PlannedCell] = []
    lacking: list[SkippedCell] = []
    if not ground.has_road and any(design.needs_all_steps for design in designs):
        last = [BASELINE, *ground.steps][-1]
        planned.append(PlannedCell(ALL_STEPS, ALL_STEPS, Cell(ground.steps), BASELINE, last))
    for index, design in enumerate(designs):
        try:
            cells = design.cells(ground)
        except DesignError as error:
            document.add_problem(_place(document, index, design, error.path), str(error))
            continue
        planned += cells
        if shortfall := design.shortfall(cells):
            lacking.append(SkippedCell(design.name, steps.regime, *shortfall))
    return planned, lacking


def _place(document: Document, index: int, design: Design, path: Location) -> Location:
    """Place of an option in the file, whether designs are a list or one, in short form or long."""
    heads: list[Location] = [("design", index), ("design",)]
    for end in range(len(path), -1, -1):
        for head in heads:
            for place in ((*head, design.name, *path[:end]), (*head, *path[:end])):
                if document.has(place):
                    return place
    return ("design",)
