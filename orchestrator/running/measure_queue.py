"""Queue of measurements: executors take them as they take trials."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import DamagedFile, NewerFile
from orchestrator.outcomes import Outcome
from orchestrator.planning.measurements import Asked
from orchestrator.running.queue import LOST_LIMIT, Observer, TrialQueue
from orchestrator.store.measurements import read_measurement, write_measurement
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec


class MeasureQueue(TrialQueue):
    """Hands out measurements, each as a trial of its network with the measurement's fingerprint.

    One whose process dies goes again, and has failed after `LOST_LIMIT` times.
    """

    def __init__(
        self,
        asked: Sequence[Asked],
        store: Store,
        session: str,
        observers: Sequence[Observer] = (),
        max_concurrent: int | None = None,
    ) -> None:
        self._asked: Mapping[str, Asked] = {one.measurement.fingerprint: one for one in asked}
        tasks = [
            replace(one.trial, sweep=one.measurement.sweep, fingerprint=fingerprint)
            for fingerprint, one in self._asked.items()
        ]
        super().__init__(tasks, store, session, {}, observers, max_concurrent)
        self._deaths: dict[str, int] = {}

    def asked(self, task: TrialSpec) -> Asked:
        """The measurement that a task is."""
        return self._asked[task.fingerprint]

    def work_path(self, trial: TrialSpec) -> Path:
        """File of the measurement: a worker sees by it what is to be done."""
        return self.asked(trial).path

    def memory_path(self, trial: TrialSpec) -> Path:
        """The path of a note that is left when the measurement takes too much memory."""
        return self.work_path(trial).with_suffix(".memory_at_limit.txt")

    def _outcome_known_by_now(self, trial: TrialSpec) -> Outcome | None:
        if self._is_measured(trial):
            return Outcome.FINISHED
        return None

    def _handed_out(self, trial: TrialSpec) -> TrialSpec:
        write_measurement(self.work_path(trial), self.asked(trial).measurement)
        self._waiting.remove(trial)
        self.running[trial.fingerprint] = trial
        for observer in self._observers:
            observer.started(trial)
        return trial

    def ended(self, trial: TrialSpec, outcome: Outcome | None) -> None:
        """A measurement is over; `outcome` is none where its process died without a word."""
        if outcome is None:
            outcome = self._outcome_of_dead_process(trial)
        if outcome is Outcome.LOST and not self._stopping.is_set():
            self._waiting.appendleft(trial)
        self._end(trial, outcome)

    def _outcome_of_dead_process(self, trial: TrialSpec) -> Outcome:
        if self._is_measured(trial):
            return Outcome.FINISHED
        deaths = self._deaths[trial.fingerprint] = 1 + self._deaths.get(trial.fingerprint, 0)
        if deaths < LOST_LIMIT:
            return Outcome.LOST
        cause = f"its process died {deaths} times in a row, perhaps because it used too much memory"
        write_measurement(self.work_path(trial), self.asked(trial).measurement.failed(cause))
        return Outcome.FAILED

    def _is_measured(self, trial: TrialSpec) -> bool:
        try:
            return read_measurement(self.work_path(trial)).state == "measured"
        except (FileNotFoundError, DamagedFile, NewerFile):
            return False
