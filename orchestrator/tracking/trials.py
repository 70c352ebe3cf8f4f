"""The run of one trial: from its files to MLflow."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from illama.config import DataConfig, ForeignData
from illama.data.datasets import dataset_digest
from orchestrator.store.mlflow_runs import run_key
from orchestrator.store.store import TrialDirectory
from orchestrator.tracking import shape
from orchestrator.tracking.api import Point, Run
from orchestrator.tracking.experiment import PARENT, Experiment
from orchestrator.trial import TrialRecord, TrialSpec

_digest = cache(dataset_digest)
_DIGEST_LENGTH = 16
"""Of hexadecimal digits; the whole is in the source."""


def mirror_trial(
    experiment: Experiment,
    trial: TrialSpec,
    record: TrialRecord,
    params: Mapping[str, str],
    parent: Run | None,
) -> bool:
    """Bring the trial's run up to date, below `parent`, and make it where it is missing. Says whether there was news."""
    directory = TrialDirectory(Path(record.path))
    run = _run_of(experiment, trial, record, params, parent)
    if parent:
        experiment.put_below(run, parent)
    state = shape.state_of(
        record, directory.attempts_path.stat().st_size if directory.attempts_path.exists() else 0
    )
    if run.tags.get("sweep.state") == state and run.iteration == record.iteration:
        return False
    attempts = directory.attempts()
    if record.outcome is None:
        experiment.set_status(run, "RUNNING", None)
    else:
        _add_last_words(experiment, run, directory, attempts)
        experiment.set_status(run, shape.status_of(record), milliseconds(last_time(record)))
    points = [
        Point(name, value, line["iteration"], when)
        for line in directory.metrics()
        if run.iteration
        < line["iteration"]
        <= record.iteration  # one that is pruned here may have gone on for another search
        for when in [milliseconds(line["time"])]
        for name, value in line["metrics"].items()
    ]
    experiment.write(
        run, params=params, points=points, tags=shape.state_tags(record, attempts, state)
    )
    return True


def add_dataset(
    experiment: Experiment, run: Run, data: DataConfig | ForeignData | None, data_dir: Path | None
) -> None:
    """Log the images with their digest as MLflow's dataset; nothing where they are not on this machine, or unknown."""
    if data is None:
        return
    try:
        digest = _digest(data, data_dir)
    except (OSError, ValueError):
        return  # `sync` also runs where nobody trains; the fingerprint still says which images they were
    kind, _, value = digest.partition(":")
    short = value if kind == "sha256" else sha256(digest.encode()).hexdigest()
    source = {"digest": digest, "settings": data.model_dump(mode="json")}
    experiment.add_dataset(run, data.name, short[:_DIGEST_LENGTH], json.dumps(source))


def began(record: TrialRecord) -> float:
    """When the first attempt started, in seconds since 1970; where nothing says so any more, when the trial was done."""
    attempts = TrialDirectory(Path(record.path)).attempts()
    return float(attempts[0]["time"]) if attempts else last_time(record)


def last_time(record: TrialRecord) -> float:
    """When the trial was done, or else when its last attempt ended or started, in seconds since 1970."""
    if record.result is not None:
        return float(record.result.get("time", 0.0))
    attempts = TrialDirectory(Path(record.path)).attempts()
    return float(attempts[-1]["time"]) if attempts else 0.0


def milliseconds(seconds: float) -> int:
    """As MLflow counts."""
    return int(seconds * 1000)


def _run_of(
    experiment: Experiment,
    trial: TrialSpec,
    record: TrialRecord,
    params: Mapping[str, str],
    parent: Run | None,
) -> Run:
    directory, key = TrialDirectory(Path(record.path)), run_key(trial)
    run = experiment.runs.get(key)
    if run and any(params.get(name, value) != value for name, value in run.params.items()):
        experiment.remove(run, key)  # a param cannot be changed
        run = None
    if run is None:
        tags = shape.trial_tags(trial, directory.provenance())
        below = {PARENT: parent.run_id} if parent else {}
        run = experiment.create(key, trial.name, milliseconds(began(record)), tags | below)
    if "sweep.state" not in run.tags:  # new, or we died before it was complete
        _add_what_there_is(experiment, run, [directory.path / "trial.json"])
        add_dataset(experiment, run, trial.config.data, trial.runtime.data_dir)
    elif not params.keys() <= run.params.keys():  # a step that was added changes another setting
        experiment.write(run, params=params, tags={})
    return run


def _add_last_words(
    experiment: Experiment,
    run: Run,
    directory: TrialDirectory,
    attempts: Sequence[Mapping[str, Any]],
) -> None:
    """Who tried when and how it ended; what an attempt said when it died."""
    _add_what_there_is(
        experiment, run, [directory.attempts_path, directory.result_path, directory.stack_path]
    )
    for event in attempts:
        if event.get("traceback"):
            experiment.add_text(run, event["traceback"], f"traceback-attempt{event['attempt']}.txt")


def _add_what_there_is(experiment: Experiment, run: Run, files: Sequence[Path]) -> None:
    experiment.add_files(run, [path for path in files if path.exists() and path.stat().st_size])
