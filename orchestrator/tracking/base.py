"""Trackers: what a view of the store has to do, so that a sweep keeps it up to date while it runs."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from orchestrator.trial import TrialSpec


class Tracker(Protocol):
    """Shows a sweep somewhere else, as the store has it; MLflow's is `MlflowMirror`.

    - It reads the store and nothing else: whatever it shows can be made again from there, and writing twice adds nothing.
    - It is called from one thread, which is not the one that trains. What is down, slow or refuses raises, and is tried again.
    - Another process may have written before: what is there is looked at first, and left where it is right.
    """

    @property
    def trials(self) -> Sequence[TrialSpec]:
        """All trials of the sweep, in the order of the road."""

    def sync(self, trials: Iterable[TrialSpec] | None = None) -> None:
        """Bring these trials up to date, or with None everything, the report too.

        Raises `TrackingError` where the view cannot be written, `RecordRefused` where all but single records are there.
        """

    def sync_effects(self) -> None:
        """Bring up to date what steps did, while the sweep runs. Raises `TrackingError`."""

    def stop(self) -> None:
        """Write no more, whatever is on its way: another may write from now on. Called from another thread."""
