"""Base of all designs: a name, options, words for the report, and cells made from steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from illama.config import Settings
from orchestrator.trial import Cell, variant_label

BASELINE = "baseline"
"""Name of the variant before any step."""
ALL_STEPS = "all_steps"
"""Name of the variant with every step, where no roadmap ends in it."""


class DesignError(ValueError):
    """A design that asks for what does not exist; `path` leads to the option that is wrong."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class SkippedCell:
    """A cell of a design that is not trained."""

    design: str
    regime: str
    name: str
    reason: str

    @property
    def label(self) -> str:
        """The name, the regime in front where there are regimes."""
        return variant_label(self.regime, self.name)


@dataclass(frozen=True)
class PlannedCell:
    """A cell that a design asks for, whether its settings make sense or not."""

    design: str
    name: str
    """Name of the variant that it becomes."""
    cell: Cell
    follows: str
    """The variant that it is held against."""
    about: str
    """The step that it adds, or that it lacks; the baseline where it has no step."""
    lacks: bool = False
    """True if it differs from `follows` by lacking the step that it is about."""
    adds_one: bool = False
    """True if it differs from `follows` by its last step alone."""

    @property
    def added(self) -> tuple[str, ...]:
        """The steps whose changes it makes to the variant that it follows."""
        if self.adds_one:
            return self.cell.steps[-1:]
        return self.cell.steps


@dataclass(frozen=True)
class Ground:
    """Ground that a design makes its cells from, in one regime."""

    steps: tuple[str, ...]
    """The steps that change something here, in the order of the road."""
    all_steps: tuple[str, ...]
    """Every step of the spec."""
    has_road: bool
    """True if the sweep trains the road, too."""
    is_step: Callable[[Sequence[str]], bool]
    """True if the last of these steps makes sense behind the others and changes something there."""

    @property
    def full(self) -> str:
        """The variant with every step."""
        if not self.has_road or not self.steps:
            return ALL_STEPS
        return self.steps[-1]


class Design(Settings):
    """One way from the steps of a spec to cells. Fields beside `name` are options of the spec."""

    name: str
    """The design's key in `DESIGNS`."""

    title: ClassVar[str]
    """Heading of its section in the report."""
    explanation: ClassVar[str]
    """Explanation of how to read its effects."""
    names: ClassVar[str | None] = None
    """Pattern that the names of its cells begin with, so that no step takes one."""
    short_option: ClassVar[str | None] = None
    """The option that `{name: value}` stands for."""
    is_road: ClassVar[bool] = False
    """True if its variants are the road's, which have side steps and searches."""
    needs_all_steps: ClassVar[bool] = False
    """True if its cells are held against the variant with every step."""
    compares_two_cells: ClassVar[bool] = False
    """True if each of its effects is the difference between two cells."""

    def cells(self, ground: Ground) -> list[PlannedCell]:
        """The cells that it asks for. Raises `DesignError`, for the user, where there are none."""
        raise NotImplementedError

    def averages(self, steps: int) -> int:
        """Count the effects and interactions it tests that are averages over cells."""
        return 0

    def shortfall(self, cells: Sequence[PlannedCell]) -> tuple[str, str] | None:
        """Name and reason of what is asked for and not among the cells; None where nothing is."""
        return None
