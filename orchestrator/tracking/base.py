"""Trackers: what a view of the store has to do, and those that an address can name.

To add one, write a file with a `TrackerKind` and one line in `TRACKERS`; another package names its
own in the entry points group `orchestrator.trackers` (see `orchestrator.plugins`). An address that
begins with a tracker's name, such as `notebook:/some/folder`, is that tracker's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.analysis.snapshot import Snapshot
from orchestrator.planning.representative import Representative
from orchestrator.plugins import Registry
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec


class Tracker(Protocol):
    """Shows a sweep somewhere else, as the store has it; MLflow's is `MlflowMirror`.

    - It reads the store and nothing else: whatever it shows can be made again from there, and
      writing twice adds nothing.
    - It is called from one thread, which is not the one that trains. What is down, slow or refuses
      raises, and is tried again.
    - Another process may have written before: what is there is looked at first, and left where it
      is right.
    """

    @property
    def trials(self) -> Sequence[TrialSpec]:
        """All trials of the sweep, in the order of the road."""

    def sync(self, trials: Iterable[TrialSpec] | None = None) -> None:
        """Bring these trials up to date, or with None everything, the report too.

        Raises `TrackingError` where the view cannot be written, `RecordRefused` where all but
        single records are there.
        """

    def sync_effects(self) -> None:
        """Bring up to date what steps did, while the sweep runs. Raises `TrackingError`."""

    def stop(self) -> None:
        """Write no more, whatever is on its way: another may write from now on. Called from another
        thread.
        """


def _nothing_to_prepare() -> None:
    """Default of `TrackerKind.prepare`."""


def _keeps_no_network(tracker: Any, chosen: Representative) -> None:
    """Default of `TrackerKind.keep_network`."""


@dataclass(frozen=True)
class TrackerKind:
    """A tracker that can be asked for by its address."""

    title: str
    """Name in messages, such as `MLflow`."""
    create: Callable[[str, Snapshot, Store, bool], Tracker]
    """Makes one for an address, the sweep as it is known now, and its store. The last argument is
    True to bring back what was deleted in the view. Raises `UsageError`."""
    prepare: Callable[[], None] = _nothing_to_prepare
    """Called before a run whose trials train in other processes: slow imports, for instance."""
    keep_network: Callable[[Any, Representative], None] = _keeps_no_network
    """Keeps the trained network that stands for the end of the road, once everything else is
    there. Takes the tracker and the trial of that network. Raises `TrackingError`."""


TRACKERS = Registry(
    "tracker",
    TrackerKind,
    {"mlflow": "orchestrator.tracking.mlflow_kind:MLFLOW"},
    group="orchestrator.trackers",
)
"""Names that an address may begin with."""


def tracker_kind(address: str) -> TrackerKind:
    """The tracker that an address names; MLflow's for every other one, which MLflow may refuse."""
    name, colon, _ = address.partition(":")
    is_named = bool(colon) and name in TRACKERS.places()
    return TRACKERS.get(name if is_named else "mlflow")
