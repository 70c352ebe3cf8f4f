"""The run of one trial: from its files to MLflow."""

import json
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from illama.config import DataConfig, UserData
from illama.data.datasets import dataset_digest
from orchestrator.store.artifacts import FOLDER as ARTIFACTS
from orchestrator.store.artifacts import artifacts_in
from orchestrator.store.measurements import iteration_of, measured_in
from orchestrator.store.mlflow_runs import run_key
from orchestrator.store.own_mlflow import params_in, points_in
from orchestrator.store.store import TrialDirectory
from orchestrator.text import shortened
from orchestrator.tracking import shape
from orchestrator.tracking.api import Point, Run, Totals, totals_of
from orchestrator.tracking.experiment import PARENT, Experiment
from orchestrator.tracking.names import mlflow_name
from orchestrator.trial import TrialRecord, TrialSpec

_digest = cache(dataset_digest)
_NO_LETTERS = re.compile(r" *[(),=]+ *")
"""Pattern of what separates a measure's options, as MLflow does not take it in a metric's name."""
_LONGEST = 500
"""Letters of a param that a training logged itself."""
_DIGEST_LENGTH = 16
"""Hexadecimal digits of a digest that are shown; the whole is in the source."""


def mirror_trial(
    experiment: Experiment,
    trial: TrialSpec,
    record: TrialRecord,
    asked: shape.Asked,
    parent: Run | None,
    *,
    verify: bool = False,
) -> bool:
    """Bring the trial's run up to date, below `parent`, and make it where it is missing. Says
    whether there was news.

    `verify` also looks whether MLflow still has what it was given, and gives it again where it has
    not.
    """
    directory = _ReadOnce(Path(record.path))
    run = _run_of(experiment, trial, record, asked, parent, directory)
    if parent:
        experiment.put_below(run, parent)
    state = shape.state_of(record, _size_of(directory.attempts_path))
    measured = _measured_points(directory, record)
    if measured:
        state += f" {len(measured)} {max(point.time for point in measured)}"
    if verify and "sweep.points" in run.tags and not _holds_points(experiment, run):
        experiment.remove(run, run_key(trial))  # a point cannot be taken back
        return mirror_trial(experiment, trial, record, asked, parent)
    is_known = run.tags.get("sweep.state") == state and run.iteration == record.iteration
    if is_known and not (verify and _is_damaged(experiment, run, record, directory)):
        return False
    attempts = directory.all_attempts
    if record.outcome is None:
        experiment.set_status(run, "RUNNING", None)
    else:
        _add_last_words(experiment, run, directory, attempts)
        experiment.set_status(run, shape.status_of(record), milliseconds(last_time(record)))
    curve = _points(directory, record)
    late = [*_final_points(directory, record), *measured]  # of an iteration that was written before
    if record.outcome:
        late += _logged_points(directory, {point.key for point in (*curve, *late)})
    tags = shape.state_tags(record, attempts, state) | _logged_params(directory, record)
    tags |= {"sweep.points": _points_tag([*curve, *late])}
    news = [point for point in curve if point.iteration > run.iteration]
    news += [point for point in late if run.metrics.get(point.key) != point.value]
    experiment.write(run, params=asked.params, points=news, tags=tags)
    return True


class _ReadOnce(TrialDirectory):
    """The files of a trial, as they are while it is mirrored."""

    @cached_property
    def all_attempts(self) -> list[dict[str, Any]]:
        return self.attempts()

    @cached_property
    def all_metrics(self) -> list[dict[str, Any]]:
        return list(self.metrics())


def _logged_params(directory: TrialDirectory, record: TrialRecord) -> dict[str, str]:
    """Return as tags what an ended training logged as params of its own."""
    if not record.outcome:
        return {}
    logged = params_in(directory.path).items()
    return {f"own.{mlflow_name(name)}": shortened(value, _LONGEST) for name, value in logged}


def _points(directory: _ReadOnce, record: TrialRecord) -> list[Point]:
    """The whole curve; of a trial that is pruned here it may have gone on for another search."""
    return [
        Point(mlflow_name(name), value, line["iteration"], when)
        for line in directory.all_metrics
        if line["iteration"] <= record.iteration
        for when in [milliseconds(line["time"])]
        for name, value in line["metrics"].items()
        if name not in line.get("added", ())
    ]


def _final_points(directory: _ReadOnce, record: TrialRecord) -> list[Point]:
    """Return what a training returned beside what it had logged of its last iteration."""
    return [
        Point(mlflow_name(name), value, line["iteration"], milliseconds(line["added_at"]))
        for line in directory.all_metrics
        if line["iteration"] <= record.iteration and record.result
        for name, value in line.get("added", {}).items()
    ]


def _measured_points(directory: TrialDirectory, record: TrialRecord) -> list[Point]:
    """Return what measures found in the finished network, as metrics of the last iteration."""
    found = measured_in(directory.path) if record.result else []
    along = any(one.epoch is not None for one in found)
    config = directory.read_trial().config if along else None
    points = []
    for one in found:
        iteration = record.iteration
        if config is not None and one.epoch is not None:
            iteration = iteration_of(one.epoch, config, record.iterations) or 0
        label = _NO_LETTERS.sub(" ", one.label).strip()
        points += [
            Point(
                mlflow_name(f"measure/{label}/{name}"),
                value,
                iteration,
                milliseconds(one.time or 0.0),
            )
            for name, value in (one.values or {}).items()
        ]
    return sorted(points, key=lambda point: point.iteration)


def _logged_points(directory: TrialDirectory, known: Collection[str]) -> list[Point]:
    """Return what MLflow's own functions logged under names that are none of its trial's."""
    found = [
        Point(mlflow_name(point.name), point.value, point.step, point.time)
        for point in points_in(directory.path)
        if math.isfinite(point.value)
    ]
    return [point for point in found if point.key not in known]


def _points_tag(points: Sequence[Point]) -> str:
    """Sum up the points that MLflow must have, short enough to hold against it without reading the
    curves again.
    """
    newest = {point.key: point.value for point in points}
    totals = totals_of(point.value for point in set(points)), totals_of(newest.values())
    return json.dumps([[known.count, known.size, known.total] for known in totals])


def _holds_points(experiment: Experiment, run: Run) -> bool:
    points, newest = (Totals(*known) for known in json.loads(run.tags["sweep.points"]))
    return experiment.holds(run, points, newest)


def _is_damaged(
    experiment: Experiment, run: Run, record: TrialRecord, directory: TrialDirectory
) -> bool:
    """Tell whether anything but its points is not as it was written; what has no note of its points
    gets one.
    """
    files = [directory.path / "trial.json"] + (_last_files(directory) if record.outcome else [])
    sizes = {path.name: path.stat().st_size for path in _that_are_there(files)}
    if record.outcome:
        shown = artifacts_in(directory.path).shown
        sizes |= {f"{ARTIFACTS}/{artifact.name}": artifact.size for artifact in shown}
    is_as_written = experiment.has_files(run, sizes) and run.status == shape.status_of(record)
    if not is_as_written:
        _add_what_there_is(experiment, run, files[:1])
    return not is_as_written or "sweep.points" not in run.tags


def add_dataset(
    experiment: Experiment, run: Run, data: DataConfig | UserData | None, data_dir: Path | None
) -> None:
    """Log the images with their digest as MLflow's dataset; nothing where they are not on this
    machine, or unknown.
    """
    if data is None:
        return
    try:
        digest = _digest(data, data_dir)
    except (OSError, ValueError):
        # `sync` also runs where nobody trains; the fingerprint still says which images they were
        return
    kind, _, value = digest.partition(":")
    short = value if kind == "sha256" else sha256(digest.encode()).hexdigest()
    source = {"digest": digest, "settings": data.model_dump(mode="json")}
    experiment.add_dataset(run, data.name, short[:_DIGEST_LENGTH], json.dumps(source))


def began(record: TrialRecord) -> float:
    """The time at which the first attempt started, in seconds since 1970; where nothing says so any
    more, when the trial was done.
    """
    attempts = TrialDirectory(Path(record.path)).attempts()
    return float(attempts[0]["time"]) if attempts else last_time(record)


def first_start(records: Iterable[TrialRecord]) -> int:
    """The time at which the first trial began, in milliseconds since 1970."""
    return min(milliseconds(began(record)) for record in records if record.attempts)


def last_time(record: TrialRecord) -> float:
    """The time at which the trial was done, or else at which its last attempt ended or started, in
    seconds since 1970.
    """
    if record.result is not None:
        return float(record.result.get("time", 0.0))
    attempts = TrialDirectory(Path(record.path)).attempts()
    return float(attempts[-1]["time"]) if attempts else 0.0


def milliseconds(seconds: float) -> int:
    """The time in milliseconds, as MLflow counts."""
    return int(seconds * 1000)


def _run_of(
    experiment: Experiment,
    trial: TrialSpec,
    record: TrialRecord,
    asked: shape.Asked,
    parent: Run | None,
    directory: _ReadOnce,
) -> Run:
    key, params = run_key(trial), asked.params
    run = experiment.runs.get(key)
    if run and any(params.get(name, value) != value for name, value in run.params.items()):
        experiment.remove(run, key)  # a param cannot be changed
        run = None
    if run is None:
        tags = shape.trial_tags(trial, directory.provenance(), asked.source)
        below = {PARENT: parent.run_id} if parent else {}
        attempts = directory.all_attempts
        start = float(attempts[0]["time"]) if attempts else last_time(record)
        run = experiment.create(key, trial.name, milliseconds(start), tags | below)
    if "sweep.state" not in run.tags:  # new, or we died before it was complete
        _add_what_there_is(experiment, run, [directory.path / "trial.json"])
        add_dataset(experiment, run, trial.config.images, trial.runtime.data_dir)
    elif not params.keys() <= run.params.keys():  # a step that was added changes another setting
        experiment.write(run, params=params, tags={})
    return run


def _add_last_words(
    experiment: Experiment,
    run: Run,
    directory: TrialDirectory,
    attempts: Sequence[Mapping[str, Any]],
) -> None:
    """Add who tried when and how it ended, what an attempt said when it died, and a user training's
    own files.
    """
    _add_what_there_is(experiment, run, _last_files(directory))
    artifacts = artifacts_in(directory.path)
    for artifact in artifacts.shown:
        folder = PurePosixPath(ARTIFACTS, artifact.name).parent
        experiment.add_artifacts(run, [(artifact.path, str(folder))])
    if artifacts.left_out:
        experiment.add_text(run, artifacts.remark + "\n", f"{ARTIFACTS}-left-out.txt")
    for event in attempts:
        if event.get("traceback"):
            experiment.add_text(run, event["traceback"], f"traceback-attempt{event['attempt']}.txt")


def _last_files(directory: TrialDirectory) -> list[Path]:
    attempts, result = directory.attempts_path, directory.result_path
    return [attempts, result, directory.stack_path, directory.output_path]


def _add_what_there_is(experiment: Experiment, run: Run, files: Sequence[Path]) -> None:
    experiment.add_files(run, _that_are_there(files))


def _that_are_there(files: Sequence[Path]) -> list[Path]:
    return [path for path in files if _size_of(path)]


def _size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
