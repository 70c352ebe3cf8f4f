"""Which trial is next, and what follows from how one ended: the policy that every executor shares."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from orchestrator.errors import StoreError, SweepInUse
from orchestrator.lease import in_use, read_lease
from orchestrator.store import Store
from orchestrator.trial import Outcome, State, TrialSpec

LOST_LIMIT = 3
"""A trial whose process dies this often in a row without getting any further has failed: something in it kills the process."""


class Observer(Protocol):
    """Hears of trials as they come and go; called from the driver's main thread."""

    def started(self, trial: TrialSpec) -> None:
        """A slot was found for the trial."""

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """An attempt is over."""


def with_half_the_memory(trial: TrialSpec) -> TrialSpec | None:
    """The same trial with half as many images on the device at once and twice the accumulation; none where it is one already."""
    size = trial.runtime.micro_batch_size or trial.config.train.batch_size
    if size == 1:
        return None
    return replace(trial, runtime=trial.runtime.model_copy(update={"micro_batch_size": size // 2}))


class TrialQueue:
    """Hands out trials in the order of the road, lost ones again; stops handing out when asked to.

    `stop` may be called from another thread or a signal handler.
    """

    def __init__(
        self,
        trials: Sequence[TrialSpec],
        store: Store,
        session: str,
        provenance: Mapping[str, Any],
        observers: Sequence[Observer] = (),
    ) -> None:
        self.store = store
        self.session = session
        self._provenance = provenance
        self._observers = observers
        self._sweep = trials[0].sweep if trials else ""
        self._waiting = deque(trials)
        self._losses: dict[str, tuple[int, int]] = {}  # fingerprint -> times lost in a row, iteration reached
        self._stopping = threading.Event()
        self.running: dict[str, TrialSpec] = {}
        """By fingerprint."""

    @property
    def is_finished(self) -> bool:
        """Nothing runs and nothing more will be handed out."""
        return not self.running and (not self._waiting or self._stopping.is_set())

    @property
    def waiting(self) -> Sequence[TrialSpec]:
        """Not handed out yet, next first."""
        return tuple(self._waiting)

    def stop(self) -> None:
        """Hand out no more."""
        self._stopping.set()

    def next(self) -> TrialSpec | None:
        """Take the next trial, its directory made ready; none where nothing is to be handed out now.

        Raises `StoreError`, and `SweepInUse` where another driver took the sweep over: each would stop the other's workers.
        """
        holder = read_lease(self.store.sweep_path(self._sweep))
        if holder and holder.session != self.session:
            self.stop()
            raise SweepInUse(in_use(self._sweep, holder))
        if self._stopping.is_set() or not self._waiting:
            return None
        trial = self._waiting.popleft()
        path = self.store.directory(trial).path
        try:
            self.store.directory(trial).write_trial(trial, self._provenance)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        self.running[trial.fingerprint] = trial
        for observer in self._observers:
            observer.started(trial)
        return trial

    def ended(self, trial: TrialSpec, outcome: Outcome | None) -> None:
        """An attempt is over; `outcome` is none where its process died without a word."""
        del self.running[trial.fingerprint]
        if outcome is None:
            outcome = self._close_attempt_of_dead_process(trial)
        if outcome is Outcome.LOST and not self._stopping.is_set():
            self._waiting.appendleft(trial)  # it was there first, and its checkpoint is warm
        elif outcome is Outcome.OUT_OF_MEMORY and not self._stopping.is_set() and (smaller := with_half_the_memory(trial)):
            self._waiting.appendleft(smaller)
            outcome = Outcome.LOST  # for whoever watches: it goes on
        for observer in self._observers:
            observer.ended(trial, outcome)

    def _close_attempt_of_dead_process(self, trial: TrialSpec) -> Outcome:
        directory = self.store.directory(trial)
        record = directory.record()
        if record.state is State.DONE and record.outcome is not None:
            return record.outcome
        lines = directory.newest_attempt(self.session)
        if len(lines) > 1 and lines[-1]["outcome"] != Outcome.LOST:
            return Outcome(lines[-1]["outcome"])  # it died after its last word
        if len(lines) == 1 and directory.vanished()[0] is Outcome.TIMED_OUT:
            directory.end_attempt(record.attempts, *directory.vanished())
            return Outcome.TIMED_OUT
        times, iteration = self._losses.get(trial.fingerprint, (0, -1))
        times = times + 1 if record.iteration == iteration else 1
        self._losses[trial.fingerprint] = (times, record.iteration)
        if times < LOST_LIMIT:
            if len(lines) == 1:  # it began
                directory.end_attempt(record.attempts, *directory.vanished())
            return Outcome.LOST
        cause = f"its process died {times} times in a row near iteration {record.iteration}; killed for its memory?"
        directory.end_attempt(record.attempts, Outcome.FAILED, cause)
        return Outcome.FAILED
