"""How a sweep stands at this moment, from its files alone: it may be asked while a driver works, and after one died."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.planning.causes import CauseGroup, grouped_causes
from orchestrator.store.lease import LeaseHolder, live_holder
from orchestrator.store.mlflow_runs import mlflow_run_ids, run_key
from orchestrator.store.silence import is_unusual, silent_seconds
from orchestrator.store.store import Store
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec


@dataclass(frozen=True)
class SweepStatus:
    """Every trial with its record, and who is at work."""

    sweep: str
    trials: Sequence[tuple[TrialSpec, TrialRecord]]
    holder: LeaseHolder | None
    """The driver at work; none where there is none that is alive."""
    run_ids: Mapping[str, str]
    silent: Mapping[str, float] = field(default_factory=dict)
    """Seconds without a sign of life, of running trials by name, where that is long for them."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """Trials by outcome where they are done or failed, by state where not."""
        return Counter(
            str(r.outcome if r.state in (State.DONE, State.FAILED) else r.state)
            for _, r in self.trials
        )

    @property
    def causes(self) -> list[CauseGroup]:
        """Why trials have failed, each cause once."""
        failed = [(trial, r) for trial, r in self.trials if r.state is State.FAILED]
        return grouped_causes({trial.name: record.cause or "" for trial, record in failed})

    @property
    def seconds_left(self) -> float | None:
        """Training seconds of what is still to do, summed over trials; unknown before any trial is done."""
        whole = [record for _, record in self.trials if record.outcome is not Outcome.PRUNED]
        done = [record.seconds for record in whole if record.seconds is not None]
        if not done:
            return None
        per_trial = sum(done) / len(done)
        left = 0.0
        for trial, record in self.trials:
            if record.state in (State.PENDING, State.RUNNING, State.INTERRUPTED):
                left += per_trial * (1 - trial.reached(record.epoch) / trial.config.total)
        return left

    def to_json(self) -> dict[str, Any]:
        """The form of `status --json`."""
        return {
            "sweep": self.sweep,
            "outcomes": dict(self.outcomes),
            "trials": [self._trial_to_json(trial, record) for trial, record in self.trials],
            "causes": [
                {"cause": group.cause, "trials": list(group.trials)} for group in self.causes
            ],
            "driver": {"host": self.holder.host, "pid": self.holder.pid} if self.holder else None,
            "train_seconds_left": self.seconds_left,
        }

    def _trial_to_json(self, trial: TrialSpec, record: TrialRecord) -> dict[str, Any]:
        return {
            "name": trial.name,
            "state": record.state,
            "outcome": record.outcome,
            "attempts": record.attempts,
            "cause": record.cause,
            "iteration": record.iteration,
            "silent_seconds": self.silent.get(trial.name),
            "hosts": list(record.hosts),
            "mlflow_run_id": self.run_ids.get(run_key(trial)),
        }


def status_of(sweep: str, trials: Sequence[TrialSpec], store: Store) -> SweepStatus:
    """Look at the files of every trial."""
    holder = live_holder(store.sweep_path(sweep))
    session = holder.session if holder else None
    records = [(trial, store.record(trial, session)) for trial in trials]
    running = [(trial, record) for trial, record in records if record.state is State.RUNNING]
    silent = {}
    for trial, record in running:
        directory = TrialDirectory(Path(record.path))
        seconds = silent_seconds(directory)
        if is_unusual(directory, seconds):
            silent[trial.name] = seconds
    return SweepStatus(sweep, records, holder, mlflow_run_ids(store, sweep), silent)
