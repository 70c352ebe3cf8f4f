"""Drops the checkpoints of trainings that have ended, where the spec's `keep` says so: weights are
most of what a store weighs.

Results, curves and output stay. What a search stopped early keeps its checkpoint: it may be asked
for in full.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress

from illama.config import EPOCHS
from orchestrator.outcomes import TRAINED, Outcome
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec

_FILES = ("checkpoint.pt", "checkpoint.previous.pt", "checkpoint.sha256")
_ENDED = (*TRAINED, Outcome.DIVERGED)


class DroppedCheckpoints:
    """An `Observer` that drops the checkpoint of a trial once it is done, unless it is one that the
    spec `keeps`.
    """

    def __init__(self, store: Store, keeps: Callable[[TrialSpec], bool]) -> None:
        self._store = store
        self._keeps = keeps

    def started(self, trial: TrialSpec) -> None:
        """Nothing is dropped yet."""

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Drop what the trial would have gone on from."""
        if outcome not in _ENDED or self._keeps(trial):
            return
        folder = self._store.directory(trial).path
        for name in _FILES:
            with suppress(OSError):  # it is no more than space
                (folder / name).unlink(missing_ok=True)
        for name in ("checkpoint", EPOCHS):
            shutil.rmtree(folder / name, ignore_errors=True)

    def finished(self) -> None:
        """Everything was dropped in time."""
