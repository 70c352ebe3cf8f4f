"""Stops a sweep that fails for one cause, before hours of trials have died of it one after the
other.

While all that has ended has failed alike, trials of variants that were not tried yet go first:
whether it is the variant or everything is known after a few trials.
"""

from contextlib import suppress

from orchestrator.errors import StoreError, counted
from orchestrator.outcomes import Outcome
from orchestrator.planning.causes import cause_key
from orchestrator.running.queue import TrialQueue
from orchestrator.text import shortened
from orchestrator.trial import TrialSpec

_VARIANTS = 3
"""Different variants that have to die of one cause, where the sweep has so many."""
_LONGEST_CAUSE = 400


class FailureWatch:
    """An `Observer` that stops its queue: after `most` failures, or by default where all have one
    cause.

    The default: every trial that has ended has failed, in three different variants, of one cause.
    With 0 nothing is stopped.
    """

    def __init__(self, queue: TrialQueue, most: int | None = None) -> None:
        self.reason: str | None = None
        """Reason why the queue was stopped, in a sentence; None where it was not."""
        self._queue = queue
        self._most = most
        self._variants = {trial.variant_label for trial in queue.waiting}
        self._tried: set[str] = set()
        self._failed: list[TrialSpec] = []
        self._causes: dict[str, str] = {}
        self._has_good = False
        queue.order = self._rank

    def started(self, trial: TrialSpec) -> None:
        """Remember that its variant is being tried."""
        self._tried.add(trial.variant_label)

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Count a failure that is the trial's last word, and stop where there were enough."""
        goes_again = outcome is Outcome.OUT_OF_MEMORY and trial.with_half_the_memory
        if outcome is Outcome.LOST or goes_again:
            return
        if not outcome.is_failure:
            self._has_good = True
            return
        self._failed.append(trial)
        cause = self._cause_of(trial)
        self._causes.setdefault(cause_key(cause), cause)
        reason = self._enough()
        if reason and self._queue.waiting and not self.reason:
            self.reason = reason
            self._queue.stop()

    def finished(self) -> None:
        """Nothing more is to be counted."""

    @property
    def _is_one_cause(self) -> bool:
        return bool(self._failed) and not self._has_good and len(self._causes) == 1

    def _enough(self) -> str | None:
        failures = counted(len(self._failed), "failure")
        if self._most is not None:
            if not 0 < self._most <= len(self._failed):
                return None
            return f"stopped after {failures}"
        variants = {trial.variant_label for trial in self._failed}
        needed = min(_VARIANTS, len(self._variants))
        if not self._is_one_cause or needed < 2 or len(variants) < needed:
            return None
        [cause] = self._causes.values()
        shown = shortened(cause, _LONGEST_CAUSE)
        return (
            f"stopped: all trials so far failed, in {len(variants)} variants, for the same "
            f"reason: {shown}"
        )

    def _rank(self, trial: TrialSpec) -> int:
        """Variants that were not tried yet come first while everything fails alike."""
        return int(self._is_one_cause and trial.variant_label in self._tried)

    def _cause_of(self, trial: TrialSpec) -> str:
        with suppress(OSError, StoreError):  # it is counted all the same
            return self._queue.store.record(trial).cause or ""
        return ""
