"""MLflow as a tracker."""

from orchestrator.analysis.snapshot import Snapshot
from orchestrator.planning.representative import Representative
from orchestrator.store.store import Store
from orchestrator.tracking.base import TrackerKind
from orchestrator.tracking.mirror import MlflowMirror
from orchestrator.tracking.models import import_in_advance, log_model


def create(
    address: str, snapshot: Snapshot, store: Store, restore_deleted: bool = False
) -> MlflowMirror:
    """The sweep in MLflow; `restore_deleted` brings back what was deleted there."""
    return MlflowMirror(
        address, snapshot.spec, snapshot.specs, store, restore_deleted=restore_deleted
    )


def keep_network(mirror: MlflowMirror, chosen: Representative) -> None:
    """Log the network as a model of its trial's run, where nobody deleted that."""
    if run_id := mirror.run_id_of(chosen.trial):
        log_model(mirror.tracking_uri, run_id, chosen)


MLFLOW = TrackerKind("MLflow", create, import_in_advance, keep_network)
