"""Stops a sweep from starting trials once its budget is spent."""

import time

from orchestrator.outcomes import Outcome
from orchestrator.planning.budget import Budget
from orchestrator.running.queue import TrialQueue
from orchestrator.trial import TrialSpec


class SpendingWatch:
    """An `Observer` that stops its queue when the budget is spent; what runs by then goes on to its
    end.
    """

    def __init__(self, queue: TrialQueue, budget: Budget) -> None:
        self.reason: str | None = None
        """Reason why the queue was stopped, in a sentence; None where it was not."""
        self._queue = queue
        self._budget = budget
        self._began: dict[str, float] = {}
        self._look()

    def started(self, trial: TrialSpec) -> None:
        """Remember when it began."""
        self._began[trial.fingerprint] = time.monotonic()

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Count what it took."""
        seconds = time.monotonic() - self._began.pop(trial.fingerprint, time.monotonic())
        self._budget = self._budget.with_attempt(seconds, trial.resources)
        self._look()

    def finished(self) -> None:
        """Nothing more is to be counted."""

    def _look(self) -> None:
        if self._budget.is_spent and self._queue.waiting and not self.reason:
            self.reason = (
                f"stopped: {self._budget}; raise `budget` in the spec to continue from here"
            )
            self._queue.stop()
