"""The store's note of which MLflow run shows which trial."""

from collections.abc import Mapping

from orchestrator.store.files import read_json
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec


def run_key(trial: TrialSpec) -> str:
    """Ties a trial to its one run; an edited step is another trial."""
    return f"{trial.name} {trial.fingerprint[:16]}"


def mlflow_run_ids(store: Store, sweep: str) -> Mapping[str, str]:
    """The MLflow run of each trial that has one, by `run_key`."""
    try:
        content = read_json(store.sweep_path(sweep) / "mlflow_runs.json")
    except FileNotFoundError:
        return {}
    runs: Mapping[str, str] = content["runs"]
    return runs
