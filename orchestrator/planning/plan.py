"""Plan of a sweep: what becomes of each trial, from a snapshot. Pure; runs nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from illama.cost import size_of, trained_to_json
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.estimates import Estimate, estimate_of
from orchestrator.planning.measurements import MeasureCount, measure_counts
from orchestrator.planning.trials import later_trials as later_trials
from orchestrator.planning.trials import trials_of as trials_of
from orchestrator.planning.trials import trials_with as trials_with
from orchestrator.spec.designs import SkippedCell
from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import SpecWarning, warnings_of
from orchestrator.text import tally
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec


class Action(StrEnum):
    """Fate of a trial in the next run."""

    NEW = "new"
    """Trained from the beginning."""
    CONTINUE = "continue"
    """Goes on where it was interrupted."""
    RETRY = "retry"
    """Failed; tried again by `resume`, left alone by `run`."""
    REUSE = "reuse"
    """Result of the same training elsewhere in the store, or of another trial once it is there."""
    DONE = "done"
    """The state of a trial that has a result."""


_ACTION_OF = {
    State.PENDING: Action.NEW,
    State.RUNNING: Action.CONTINUE,
    State.INTERRUPTED: Action.CONTINUE,
    State.FAILED: Action.RETRY,
    State.DONE: Action.DONE,
}


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and what becomes of it."""

    trial: TrialSpec
    action: Action
    record: TrialRecord
    reason: str = ""
    """Reason why the trial is new, where it is: what differs from the nearest result in the store,
    and which that is; or which trial it waits for, where that failed.
    """
    differs: str = ""
    """The differences alone; empty where the store has nothing to hold it against."""

    @property
    def known(self) -> KnownTrial:
        """The trial with its record."""
        return KnownTrial(self.trial, self.record)

    @property
    def waits_for_failed(self) -> bool:
        """True if it shares the training of another trial, which failed."""
        return self.action is Action.REUSE and bool(self.reason)


_WORDS = {
    Action.NEW: "new",
    Action.CONTINUE: "to continue",
    Action.RETRY: "failed",
    Action.REUSE: "reused",
    Action.DONE: "done",
}


def actions_text(counts: Mapping[str, int]) -> str:
    """`3 to continue, 2 failed`: the counts by action as people read them."""
    return tally({_WORDS[Action(action)]: count for action, count in counts.items()})


def counts_by_action(trials: Iterable[PlannedTrial]) -> Mapping[str, int]:
    """Number of trials for each action, in the order of the actions; an action of none has 0."""
    counts = Counter(planned.action for planned in trials)
    return {action: counts[action] for action in Action}


@dataclass(frozen=True)
class Plan:
    """Every trial of a sweep, in the order of the road."""

    spec: SweepSpec
    """Spec with what its searches have found."""
    trials: tuple[PlannedTrial, ...]
    warnings: tuple[SpecWarning, ...]
    adoptable: int = 0
    """New trials whose results other code gave, and which `adopt` would take over."""
    later: tuple[TrialSpec, ...] = ()
    """Trials that will follow once searches have found what they look for; the estimate counts
    them.
    """
    measures: tuple[MeasureCount, ...] = ()
    """Measures that the spec asks for, and how many networks are measured."""

    def __repr__(self) -> str:
        return f"<plan of {self.sweep}: {actions_text(self.actions)}>"

    @property
    def sweep(self) -> str:
        """Name of the sweep."""
        return self.spec.name

    @property
    def actions(self) -> Mapping[str, int]:
        """Number of trials for each action."""
        return counts_by_action(self.trials)

    @property
    def skipped(self) -> tuple[SkippedCell, ...]:
        """Cells of the designs that make no sense, and why."""
        return self.spec.skipped

    @property
    def searches(self) -> tuple[Search, ...]:
        """Searches of the spec, with what they have found so far."""
        return self.spec.searches

    @cached_property
    def estimate(self) -> Estimate:
        """Cost of what is left and power of the whole; made on first use, for it takes longest."""
        to_train = (Action.NEW, Action.CONTINUE)
        left = [planned.known for planned in self.trials if planned.action in to_train]
        left += [KnownTrial(trial, TrialRecord(State.PENDING)) for trial in self.later]
        return estimate_of(self.spec, left, [planned.known for planned in self.trials])

    @property
    def saved(self) -> int:
        """Trials that need not be trained because the same training is done, or will be, for
        another.
        """
        shared = [planned for planned in self.trials if planned.action is Action.REUSE]
        return sum(not planned.waits_for_failed for planned in shared)

    def to_train(self, *, retry_failed: bool) -> list[TrialSpec]:
        """Trials that `run`, or with `retry_failed` `resume`, hands to an executor."""
        actions = {Action.NEW, Action.CONTINUE} | ({Action.RETRY} if retry_failed else set())
        return [planned.trial for planned in self.trials if planned.action in actions]

    def to_json(self) -> dict[str, Any]:
        """The form of `plan --json`."""
        return {
            "sweep": self.sweep,
            "trials": [_planned_to_json(planned) for planned in self.trials],
            "warnings": [warning.to_json() for warning in self.warnings],
            "estimate": {**self.estimate.to_json(), "saved": self.saved},
            "skipped": [vars(cell) for cell in self.skipped],
            "searches": [search.to_json() for search in self.searches],
            "later": len(self.later),
            "measures": {
                one.label: {
                    "networks": one.wanted,
                    "measured": one.measured,
                    "failed": one.failed,
                }
                for one in self.measures
            },
        }


def make_plan(snapshot: Snapshot) -> Plan:
    """Plan of each trial; of those that are the same training the first is trained."""
    planned: list[PlannedTrial] = []
    trained: dict[str, PlannedTrial] = {}
    for known in snapshot.trials:
        trial, record = known.spec, known.record
        action = _ACTION_OF[record.state]
        first, reason = trained.get(trial.fingerprint), ""
        if first or (action is Action.DONE and known.is_reused):
            action = Action.REUSE
        if first and first.action is Action.RETRY:
            reason = f"the same training as {first.trial.name}, which failed"
        planned.append(PlannedTrial(trial, action, record, reason))
        # whoever asks in full for what was stopped early trains it
        if record.state is not State.DONE or record.outcome is not Outcome.PRUNED:
            trained.setdefault(trial.fingerprint, planned[-1])
    warnings = tuple(warnings_of(snapshot.spec))
    counts = tuple(measure_counts(snapshot))
    return Plan(snapshot.spec, tuple(planned), warnings, later=snapshot.later, measures=counts)


def _planned_to_json(planned: PlannedTrial) -> dict[str, Any]:
    trial = planned.trial
    params, flops = size_of(trial.config)
    return {
        "name": trial.name,
        "variant": trial.variant,
        "regime": trial.regime,
        "seed": trial.seed,
        "fingerprint": trial.fingerprint,
        "changes": dict(trial.changes),
        "params": params,
        "flops": flops,
        **trained_to_json(trial.config),
        "action": planned.action,
        "reason": planned.reason or None,
    }
