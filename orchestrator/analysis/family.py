"""The family of a report: every comparison that any of its tables tests, corrected together by Holm's method.

Why all tables together, and not one table after the other: a road whose first step is undecided would bar the other designs if
they had to wait for it, and a reader looks at any table and takes the one finding that is there, whichever question it answers.
So the promise is about the report: of sweeps without any effect, at most one in 20 shows one in any table.

The same trials held against the same in two tables are one comparison, with one p-value; a thing held against itself is none.
Comparisons whose trials are still to come are counted already, so that what is decided does not depend on which come first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.decimals import decimals_of_effect
from orchestrator.analysis.effects import Sides, StepEffect, Verdict
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.sections import PLACE, EffectLine, Section
from orchestrator.errors import counted
from orchestrator.spec.schema import MetricSchema
from orchestrator.stats.equivalence import equivalence_p_value
from orchestrator.stats.inference import LEVEL, effect_of, holm
from orchestrator.stats.power import detectable, prospect, spread_of

Key = tuple[Sides, float] | int
"""What makes two comparisons one: the same trials and the same p-value; a number stands alone."""


@dataclass(frozen=True)
class Family:
    """Comparisons that share one error of 5 %."""

    size: int
    scope: str = "all tables"
    looks_before: int = 0
    """How often figures were looked at with other seeds before."""

    @property
    def text(self) -> str:
        """`23 comparisons: all tables of this report`."""
        return f"{counted(self.size, 'comparison')}: {self.scope} of this report"

    def to_json(self) -> dict[str, Any]:
        """The form in `report --format json`."""
        return {"size": self.size, "scope": self.scope, "looks_before": self.looks_before}
