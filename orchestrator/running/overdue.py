"""Names trials that run far longer than those that finished, once each; stops nothing."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from orchestrator.errors import StoreError
from orchestrator.outcomes import Outcome
from orchestrator.planning.pace import Pace
from orchestrator.running.background import Background
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec

_LOOK_SECONDS = 30.0


class OverdueWatch(Background):
    """An `Observer` with a thread of its own: what hangs ends nothing that others would hear of."""

    def __init__(self, store: Store, session: str, pace: Pace, tell: Callable[[str], None]) -> None:
        """`tell` is called from another thread."""
        super().__init__("overdue")
        self._store, self._session = store, session
        self._pace = pace
        self._tell = tell
        self._running: dict[str, TrialSpec] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def started(self, trial: TrialSpec) -> None:
        """Watch the trial."""
        with self._lock:
            self._running[trial.fingerprint] = trial

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Learn from a trial that finished how long it took."""
        with self._lock:
            self._running.pop(trial.fingerprint, None)
            seconds = self._seconds(trial)
            if outcome is Outcome.FINISHED and seconds is not None:
                self._pace.add(trial, seconds)

    def finished(self) -> None:
        """Nothing runs any more."""
        self._closing.set()

    def look(self) -> None:
        """Tell of every trial that is overdue by now and was not told of."""
        with self._lock:
            for trial in self._running.values():
                remark = self._pace.remark(trial, self._seconds(trial))
                if remark and trial.fingerprint not in self._told:
                    self._told.add(trial.fingerprint)
                    self._tell(f"{trial.name} is taking long: {remark}; it is not stopped")

    def _seconds(self, trial: TrialSpec) -> float:
        """Seconds since the attempt of this driver began; 0 before it did."""
        with suppress(OSError, StoreError):  # a word too few ends no sweep
            lines = self._store.directory(trial).newest_attempt(self._session)
            if lines:
                return float(time.time() - lines[0]["time"])
        return 0.0

    def _work(self) -> None:
        while not self._closing.wait(_LOOK_SECONDS):
            self.look()
