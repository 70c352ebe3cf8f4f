"""Hours that a sweep has taken of its budget, from the times of its attempts."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from orchestrator.outcomes import Outcome
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import SpecWarning
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.trial import KnownTrial, Resources, TrialSpec

SPENT = "budget-spent"
"""Code of the warning that trials are left out."""
_NOTHING_YET = {"event": "start", "time": math.inf}
"""Stands behind the last line of a trial's attempts."""


@dataclass(frozen=True)
class Budget:
    """Budget of a sweep, and what it has taken by now."""

    limits: dict[str, float]
    """Hours by unit: `hours` of all trials together, `gpu_hours` of all their GPUs."""
    spent: dict[str, float]
    """The same of attempts so far, failed and interrupted ones too."""

    @property
    def is_spent(self) -> bool:
        """True if no trial is to be started any more."""
        return any(self.spent[unit] >= limit for unit, limit in self.limits.items())

    def with_attempt(self, seconds: float, resources: Resources) -> "Budget":
        """The budget after one more attempt."""
        more = _hours(seconds, resources)
        return Budget(self.limits, {unit: self.spent[unit] + more[unit] for unit in more})

    def to_json(self) -> dict[str, dict[str, float]]:
        """`{unit: {"limit": hours, "spent": hours}}`."""
        return {
            unit: {"limit": limit, "spent": self.spent[unit]} for unit, limit in self.limits.items()
        }

    def __str__(self) -> str:
        parts = [
            f"{self.spent[unit]:,.2f} of {limit:g} {_WORDS[unit]}"
            for unit, limit in self.limits.items()
        ]
        return f"budget: {' and '.join(parts)} spent"


_WORDS = {"hours": "hours of training", "gpu_hours": "GPU-hours"}


def _hours(seconds: float, resources: Resources) -> dict[str, float]:
    hours = seconds / 3600
    return {"hours": hours, "gpu_hours": hours * resources.gpus_in_all}


def budget_of(spec: SweepSpec, trials: Iterable[KnownTrial]) -> Budget | None:
    """The spec's budget, and what its own trials have taken; results of other sweeps cost
    nothing.
    """
    if spec.schema.budget is None:
        return None
    budget = Budget(spec.schema.budget.model_dump(exclude_none=True), dict.fromkeys(_WORDS, 0.0))
    trained: dict[Path, TrialSpec] = {}
    for known in trials:
        if known.record.path:
            trained.setdefault(Path(known.record.path), known.spec)
    for path, trial in trained.items():
        if path.parent.parent.name != spec.name:
            continue
        for seconds in _attempts(TrialDirectory(path)):
            budget = budget.with_attempt(seconds, trial.resources)
    return budget


def _attempts(directory: TrialDirectory) -> Iterator[float]:
    """Seconds of each attempt; of one that vanished as far as it gave a sign."""
    events = directory.attempts()
    for event, following in pairwise([*events, _NOTHING_YET]):
        if event["event"] != "start":
            continue
        begun, until = event["time"], float(following["time"])
        if following["event"] == "start" or following["outcome"] == Outcome.LOST:
            until = _last_sign(directory, begun, until)
        yield max(0.0, until - begun)


def _last_sign(directory: TrialDirectory, start: float, until: float) -> float:
    times = (line["time"] for line in directory.metrics())
    return max((time for time in times if start <= time <= until), default=start)


def budget_warnings(spec: SweepSpec, trials: Sequence[KnownTrial]) -> list[SpecWarning]:
    """A warning where the budget is spent and trials are left."""
    budget = budget_of(spec, trials)
    left = sum(not known.record.has_ended for known in trials)
    if budget is None or not budget.is_spent or not left:
        return []
    what = "1 trial is"
    if left > 1:
        what = f"{left} trials are"
    message = f"{budget}; {what} left out; raise `budget` in the spec to continue"
    return [SpecWarning(SPENT, message, 0)]
