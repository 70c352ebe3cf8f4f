"""The store's note of which MLflow run shows which trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import DamagedFile
from orchestrator.store.damage import note
from orchestrator.store.files import load_json, write_json
from orchestrator.store.records import RunsRecord, check
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec

RUNS = "mlflow_runs.json"
"""Name of the note in a sweep's folder."""


def run_key(trial: TrialSpec) -> str:
    """Return the key that ties a trial to its one run; an edited step is another trial."""
    return f"{trial.name} {trial.fingerprint[:16]}"


def mlflow_run_ids(store: Store, sweep: str) -> Mapping[str, str]:
    """The MLflow run of each trial that has one, by `run_key`."""
    content = read_runs(store.sweep_path(sweep) / RUNS) or {}
    runs: Mapping[str, str] = content.get("runs", {})
    return runs


def read_runs(path: Path) -> Mapping[str, Any] | None:
    """Content of the note; none where there is none, or it is damaged."""
    try:
        content, is_sealed = load_json(path)
        check(RunsRecord, path, content, is_sealed)
    except FileNotFoundError:
        return None
    except DamagedFile as damage:
        note(damage)
        return None
    return content


def write_runs(
    sweep_path: Path, tracking_uri: str, experiment_id: str, runs: Mapping[str, str]
) -> None:
    """Note where the sweep is shown: `runs` has the id of each trial's run, by `run_key`."""
    content = {
        "tracking_uri": tracking_uri,
        "experiment_id": experiment_id,
        "runs": dict(sorted(runs.items())),
    }
    write_json(sweep_path / RUNS, content)
