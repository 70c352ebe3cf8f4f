"""Status of a sweep at this moment, from its files alone: a driver may be at work, or have died."""

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.outcomes import Outcome, State
from orchestrator.planning.budget import Budget, budget_of
from orchestrator.planning.causes import CauseGroup, grouped_causes
from orchestrator.planning.pace import Pace
from orchestrator.planning.survey import survey
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.lease import LeaseHolder, live_holder
from orchestrator.store.mlflow_runs import mlflow_run_ids, run_key
from orchestrator.store.silence import is_unusual, silent_seconds
from orchestrator.store.store import Store
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.text import tally
from orchestrator.trial import KnownTrial


@dataclass(frozen=True)
class SweepStatus:
    """Every trial with its record, and who is at work."""

    sweep: str
    trials: Sequence[KnownTrial]
    holder: LeaseHolder | None
    """The driver at work; None where none is alive."""
    run_ids: Mapping[str, str]
    silent: Mapping[str, float] = field(default_factory=dict)
    """Seconds without output or progress, of running trials by name, where that is long for
    them.
    """
    overdue: Mapping[str, str] = field(default_factory=dict)
    """Remarks on running trials that take far longer than those that finished, by name."""
    spec_path: str = ""
    """The spec's file, as it was named, or as the store has it."""
    metric: MetricSchema = field(default_factory=MetricSchema)
    """The metric that the sweep reports."""
    store_option: str = ""
    """How a command names the store: ` --store PATH`, or nothing where it is the default."""
    absent: Sequence[str] = ()
    """What is wrong with images that are not here, of a sweep that has not begun."""
    budget: Budget | None = None
    """Budget of the spec and what was spent of it, where it has one."""

    def __repr__(self) -> str:
        return f"<status of {self.sweep}: {tally(self.outcomes)}>"

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Number of trials by outcome where they are over, and by state where not."""
        return Counter(sorted(known.record.standing for known in self.trials))

    @property
    def causes(self) -> list[CauseGroup]:
        """Reasons why trials have failed, each once."""
        failed = [known for known in self.trials if known.record.state is State.FAILED]
        return grouped_causes({known.spec.name: known.record.cause or "" for known in failed})

    @property
    def seconds_left(self) -> float | None:
        """Training seconds of what is still to do, summed over trials; unknown before any trial is
        done.
        """
        records = [known.record for known in self.trials]
        whole = [record for record in records if record.outcome is not Outcome.PRUNED]
        done = [record.seconds for record in whole if record.seconds is not None]
        if not done:
            return None
        per_trial = sum(done) / len(done)
        left = 0.0
        for known in self.trials:
            if not known.record.has_ended:
                trained = known.spec.reached(known.record.epoch)
                left += per_trial * (1 - trained / known.spec.config.total)
        return left

    def to_json(self) -> dict[str, Any]:
        """The form of `status --json`."""
        value: dict[str, Any] = {
            "sweep": self.sweep,
            "outcomes": dict(self.outcomes),
            "trials": [self._trial_to_json(known) for known in self.trials],
            "causes": [
                {"cause": group.cause, "trials": list(group.trials)} for group in self.causes
            ],
            "driver": self.holder and {"host": self.holder.host, "pid": self.holder.pid},
            "train_seconds_left": self.seconds_left,
            **({"absent": list(self.absent)} if self.absent else {}),
        }
        if self.budget:
            value["budget"] = self.budget.to_json()
        return value

    def _trial_to_json(self, known: KnownTrial) -> dict[str, Any]:
        trial, record = known.spec, known.record
        return {
            "name": trial.name,
            "changes": dict(trial.changes),
            "metrics": dict(record.metrics),
            "state": record.state,
            "outcome": record.outcome,
            "attempts": record.attempts,
            "cause": record.cause,
            "iteration": record.iteration,
            "silent_seconds": self.silent.get(trial.name),
            "overdue": self.overdue.get(trial.name),
            "hosts": list(record.hosts),
            "mlflow_run_id": self.run_ids.get(run_key(trial)),
        }


def status_of(spec: SweepSpec, store: Store) -> SweepStatus:
    """Status of every trial, and the driver that is at work.

    Raises `UsageError` where images are not here by which trials that have begun are known.
    """
    holder = live_holder(store.sweep_path(spec.name))
    session = None
    if holder:
        session = holder.session
    may_lack = not store.has_trials(spec.name)
    snapshot = survey(spec, store, may_lack_images=may_lack, live_session=session)
    run_ids = mlflow_run_ids(store, spec.name)
    trials = snapshot.trials
    late = _overdue(trials)
    path = shlex.quote(str(spec.path))
    metric = spec.reported_metric
    found = SweepStatus(spec.name, trials, holder, run_ids, _silent(trials), late, path, metric)
    return replace(
        found,
        budget=budget_of(spec, trials),
        store_option=_store_option(store),
        absent=snapshot.absent,
    )


def _store_option(store: Store) -> str:
    if store.root == Path("runs").resolve():
        return ""
    here = Path.cwd()
    path = store.root.relative_to(here) if store.root.is_relative_to(here) else store.root
    return f" --store {shlex.quote(str(path))}"


def _overdue(trials: Sequence[KnownTrial]) -> dict[str, str]:
    """Remarks on running trials that take far longer than those that finished, by name."""
    pace, remarks = Pace.of(trials), dict[str, str]()
    for known in trials:
        if known.record.state is State.RUNNING:
            events = TrialDirectory(Path(known.record.path)).attempts()
            starts = [event["time"] for event in events if event["event"] == "start"]
            remarks[known.spec.name] = pace.remark(known.spec, time.time() - starts[-1])
    return {name: remark for name, remark in remarks.items() if remark}


def _silent(trials: Sequence[KnownTrial]) -> dict[str, float]:
    """Seconds without output or progress, of running trials by name, where that is long for
    them.
    """
    silent = {}
    for known in trials:
        if known.record.state is State.RUNNING:
            directory = TrialDirectory(Path(known.record.path))
            seconds = silent_seconds(directory)
            if is_unusual(directory, seconds):
                silent[known.spec.name] = seconds
    return silent
