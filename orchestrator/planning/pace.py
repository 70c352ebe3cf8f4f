"""Pace of a sweep's own trials, and which of those that run are far beyond it. Pure.

Nothing is stopped by it: `resources.time_limit` is for that.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from orchestrator.outcomes import Outcome
from orchestrator.text import duration_text
from orchestrator.trial import KnownTrial, TrialSpec

TIMES = 3.0
"""Times the slowest finished trial from which a running one is worth a word."""
LEAST_SECONDS = 300.0
"""Seconds before which nothing is said, however quick the others were."""


@dataclass
class Pace:
    """The slowest finished training of each variant."""

    slowest: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Seconds and the trial's name, by the variant's label."""

    @classmethod
    def of(cls, trials: Iterable[KnownTrial]) -> Self:
        """The pace of the trials that have finished."""
        pace = cls()
        for known in trials:
            if known.record.outcome is Outcome.FINISHED and known.record.seconds is not None:
                pace.add(known.spec, known.record.seconds)
        return pace

    def add(self, trial: TrialSpec, seconds: float) -> None:
        """Learn from one more finished training."""
        label = trial.variant_label
        self.slowest[label] = max(self.slowest.get(label, (0.0, "")), (seconds, trial.name))

    def remark(self, trial: TrialSpec, seconds: float) -> str:
        """A sentence on an attempt that has taken so long; empty where that is nothing unusual.

        Compared with the slowest of its own variant, or of the whole sweep where none of its
        variant has finished.
        """
        whose = "of its variant"
        usual = self.slowest.get(trial.variant_label)
        if usual is None:
            whose = "of the sweep"
            usual = max(self.slowest.values(), default=(math.inf, ""))
        slowest, name = usual
        if seconds <= max(LEAST_SECONDS, TIMES * slowest):
            return ""
        return (
            f"it has run for {duration_text(seconds)}; the slowest finished trial {whose}, "
            f"{name}, took {duration_text(slowest)}"
        )
