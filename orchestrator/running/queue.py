"""The choice of the next trial, and what follows from how one ended: the policy that every executor
shares.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import NewerFile, SweepInUse
from orchestrator.outcomes import SAVED, Outcome, State
from orchestrator.store.claims import Claims
from orchestrator.store.files import cannot_write
from orchestrator.store.lease import refuse_a_sweep_taken_over
from orchestrator.store.store import Store
from orchestrator.trial import Resources, TrialRecord, TrialSpec

_LOOK_SECONDS = 0.2
"""Seconds between looks for results of another driver, while there is nothing else to do."""
LOST_LIMIT = 3
"""A trial whose process dies this often in a row without getting any further has failed: something
in it kills the process.
"""


class Observer(Protocol):
    """Hears of trials as they come and go; called from the driver's main thread."""

    def started(self, trial: TrialSpec) -> None:
        """A slot was found for the trial."""

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """An attempt is over."""

    def finished(self) -> None:
        """Nothing runs, and nothing more will: the executor only has to clear up. Not told where
        nobody knew in time.
        """


class TrialQueue:
    """Hands out trials in the order of the road, lost ones again; stops handing out when asked to.

    Where it runs dry it asks for `more`, once after each trial that ended, and says whether nothing
    runs any more: warm workers then train what results ask for.

    `stop` may be called from another thread or a signal handler.
    """

    def __init__(  # noqa: PLR0913  each is named once, where the sweep begins
        self,
        trials: Sequence[TrialSpec],
        store: Store,
        session: str,
        provenance: Mapping[str, Any],
        observers: Sequence[Observer] = (),
        max_concurrent: int | None = None,
        more: Callable[[bool], Sequence[TrialSpec]] | None = None,
    ) -> None:
        self.store = store
        self.session = session
        self._provenance = provenance
        self._observers = observers
        self._max_concurrent = max_concurrent
        self._sweep = next((trial.sweep for trial in trials), "")
        self._waiting = deque(trials)
        self._more = more
        self._has_news = False
        self._asked_for = {_request(trial) for trial in trials}
        # by fingerprint: times lost in a row, and the iteration reached
        self._losses: dict[str, tuple[int, int]] = {}
        # by fingerprint: the attempt that is over, of trials that go again
        self._settled: dict[str, int] = {}
        self._stopping = threading.Event()
        self._claims = Claims(store.root, session)
        self._is_new = True
        self.order: Callable[[TrialSpec], int] | None = None
        """Rank of a trial that comes before the order of the road: lower first."""
        self.running: dict[str, TrialSpec] = {}
        """Trials that were handed out and have not ended, by fingerprint."""

    @property
    def is_finished(self) -> bool:
        """Nothing runs and nothing more will be handed out."""
        is_dry = not self._waiting and not (self._more and self._has_news)
        return not self.running and (is_dry or self._stopping.is_set())

    @property
    def is_stopping(self) -> bool:
        """True if nothing more is handed out."""
        return self._stopping.is_set()

    def has_begun(self, trial: TrialSpec) -> bool:
        """True if an attempt of it has begun for this driver."""
        return bool(self.store.directory(trial).newest_attempt(self.session))

    @property
    def waiting(self) -> Sequence[TrialSpec]:
        """Trials that are not handed out yet, next first."""
        return tuple(self._waiting)

    def _ranked(self) -> Sequence[TrialSpec]:
        """Trials that wait, in the order in which they are offered."""
        if self.order is None:
            return self.waiting
        return sorted(self._waiting, key=self.order)

    def work_path(self, trial: TrialSpec) -> Path:
        """Return the path that a worker is given: the folder of the trial's files."""
        return self.store.directory(trial).path

    def memory_path(self, trial: TrialSpec) -> Path:
        """The path of a note that is left when the trial takes too much memory."""
        return self.store.directory(trial).memory_path

    def stop(self) -> None:
        """Hand out no more."""
        self._stopping.set()

    def next(self, fits: Callable[[Resources], bool] = lambda resources: True) -> TrialSpec | None:
        """Take the next trial that `fits`, its directory made ready; none where nothing is to be
        handed out now.

        What another has finished meanwhile is not trained again, and what another sweep of the
        store is training now waits. Raises `StoreError`, and `SweepInUse` where another driver took
        the sweep over: each would stop the other's workers.
        """
        try:
            refuse_a_sweep_taken_over(self.store.sweep_path(self._sweep), self.session)
        except SweepInUse:
            self.stop()
            raise
        if self._stopping.is_set() or len(self.running) == self._max_concurrent:
            return None
        self._refill()
        for trial in self._ranked():
            if not fits(trial.resources):
                continue
            try:
                if self._is_ready(trial):
                    return self._handed_out(trial)
            except OSError as error:
                raise cannot_write(error, self.store.directory(trial).path) from error
        if self._waiting and not self.running:
            time.sleep(_LOOK_SECONDS)
        return None

    def _is_ready(self, trial: TrialSpec) -> bool:
        """True if it is to be trained now, and here."""
        if self._is_new:
            self._claims.clear()
            self._is_new = False
        if self._claims.take(trial):
            return False
        outcome = self._outcome_known_by_now(trial)
        if outcome is None:
            return True
        self._waiting.remove(trial)
        self.running[trial.fingerprint] = trial
        for observer in self._observers:
            observer.started(trial)
        self._end(trial, outcome)
        return False

    def _outcome_known_by_now(self, trial: TrialSpec) -> Outcome | None:
        """Outcome under another driver since it was planned; None where it is to be trained."""
        self.store.look_again()
        try:
            done = self.store.record_of_done(trial)
            self.store.directory(trial).refuse_newer()
        except NewerFile:
            return Outcome.FAILED
        if done is None:
            return None
        return done.outcome

    def _handed_out(self, trial: TrialSpec) -> TrialSpec:
        self.store.directory(trial).write_trial(trial, self._provenance)
        self._waiting.remove(trial)
        self.running[trial.fingerprint] = trial
        for observer in self._observers:
            observer.started(trial)
        return trial

    def _refill(self) -> None:
        """Take in what the trials that ended make others ask for."""
        if self._waiting or self._more is None or not self._has_news:
            return
        self._has_news = False
        for trial in self._more(not self.running):
            if _request(trial) not in self._asked_for and trial.fingerprint not in self.running:
                self._waiting.append(trial)
                self._asked_for.add(_request(trial))

    def give_back(self, trial: TrialSpec) -> None:
        """Take a trial back that found no place: it is next again, and nothing has happened."""
        del self.running[trial.fingerprint]
        self._waiting.appendleft(trial)
        self._release(trial)
        for observer in self._observers:
            observer.ended(trial, Outcome.LOST)

    def ended(self, trial: TrialSpec, outcome: Outcome | None) -> None:
        """An attempt is over; `outcome` is none where its process died without a word."""
        if outcome is None:
            outcome = self._outcome_of_dead_process(trial)
        again: TrialSpec | None = None
        if outcome is Outcome.LOST:
            again = trial
        elif outcome is Outcome.OUT_OF_MEMORY:
            again = trial.with_half_the_memory
        if again and not self._stopping.is_set():
            self._settled[trial.fingerprint] = self.store.directory(trial).record().attempts
            self._waiting.appendleft(again)  # it was there first, and its checkpoint is warm
        self._end(trial, outcome)

    def _end(self, trial: TrialSpec, outcome: Outcome) -> None:
        del self.running[trial.fingerprint]
        self._has_news = True
        self._release(trial)
        for observer in self._observers:
            observer.ended(trial, outcome)
            if self.is_finished:
                observer.finished()

    def _release(self, trial: TrialSpec) -> None:
        with suppress(OSError):  # it ends with this driver in any case
            self._claims.release(trial)

    def _outcome_of_dead_process(self, trial: TrialSpec) -> Outcome:
        """Close the attempt where the process did not, and return its outcome."""
        directory = self.store.directory(trial)
        record = directory.record(pruning=trial.pruning)
        try:
            refuse_a_sweep_taken_over(self.store.sweep_path(self._sweep), self.session)
        except SweepInUse:
            return Outcome.LOST  # what there is to say of it is the other driver's to say
        if record.state is State.DONE and record.outcome is not None:
            return record.outcome
        lines = directory.newest_attempt(self.session)
        if record.attempts == self._settled.get(trial.fingerprint):
            lines = []  # it died before it began
        if len(lines) > 1 and _is_last_word(lines[-1]):
            return Outcome(lines[-1]["outcome"])
        is_open = len(lines) == 1
        outcome, cause = Outcome.LOST, ""
        if is_open:
            outcome, cause = directory.vanished()
        if outcome is Outcome.LOST:
            outcome, cause = self._outcome_of_loss(trial, record, cause)
        if is_open or outcome is Outcome.FAILED:  # it began, or never will
            number = lines[0]["attempt"] if lines else record.attempts
            directory.end_attempt(number, outcome, cause)
        return outcome

    def _outcome_of_loss(
        self, trial: TrialSpec, record: TrialRecord, cause: str
    ) -> tuple[Outcome, str]:
        """One more loss, or a failure where it is one too many; with its cause."""
        if not self._is_lost_too_often(trial, record):
            return Outcome.LOST, cause
        return Outcome.FAILED, (
            f"its process died {LOST_LIMIT} times in a row near iteration {record.iteration}, "
            "perhaps because it used too much memory"
        )

    def _is_lost_too_often(self, trial: TrialSpec, record: TrialRecord) -> bool:
        """Count one more loss, and tell whether it is one too many without getting further."""
        times, iteration = self._losses.get(trial.fingerprint, (0, -1))
        if record.iteration != iteration:
            times = 0
        self._losses[trial.fingerprint] = (times + 1, record.iteration)
        return times + 1 == LOST_LIMIT


def _is_last_word(end: Mapping[str, Any]) -> bool:
    """Tell whether an attempt ended by itself before its process died."""
    return end["outcome"] != Outcome.LOST or str(end["cause"]).endswith(SAVED)


def _request(trial: TrialSpec) -> tuple[str, bool]:
    """Key that is not asked for twice; a pruned trial may be asked for in full."""
    return trial.directory_name, trial.pruning is None
