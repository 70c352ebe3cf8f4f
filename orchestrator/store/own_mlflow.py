"""Log that a user's own training writes by `mlflow.log_*`: kept in the trial's folder, from where
it comes into the trial's run.

MLflow itself writes it, as plain files: a worker may be on a node that reaches no tracking server,
and whoever mirrors the store into MLflow is the only one that writes there.

    mlflow/EXPERIMENT/RUN/metrics/NAME     lines: milliseconds, value, step
    mlflow/EXPERIMENT/RUN/params/NAME      its value
    mlflow/EXPERIMENT/RUN/artifacts/...    files
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from illama.sealed import read_regular

FOLDER = "mlflow"
"""Folder below the trial's."""
_OTHERS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
"""Would send what is logged to a run that is not in the trial's folder."""
_MOST_PARAMS = 100


@dataclass(frozen=True)
class LoggedPoint:
    """One value of a metric."""

    name: str
    value: float
    step: int
    time: int
    """Milliseconds since 1970."""


@contextmanager
def kept_in(trial: Path) -> Iterator[None]:
    """Send what is logged inside, and by processes that are started inside, to the trial's folder.

    An address that the training sets itself, by `mlflow.set_tracking_uri`, is left as it is.
    """
    before = {name: os.environ.pop(name, None) for name in (*_OTHERS, *_settings(trial))}
    os.environ.update(_settings(trial))
    try:
        with closing_run():
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _settings(trial: Path) -> dict[str, str]:
    address = (trial.resolve() / FOLDER).as_uri()
    return {"MLFLOW_TRACKING_URI": address, "MLFLOW_ALLOW_FILE_STORE": "true"}


@contextmanager
def closing_run() -> Iterator[None]:
    """End a run that is left open: it would go on in the next trial of this process."""
    try:
        yield
    finally:
        mlflow = sys.modules.get("mlflow")  # nobody needs MLflow who has not imported it
        if mlflow is not None and hasattr(mlflow, "end_run"):
            mlflow.end_run()


def _runs(trial: Path) -> list[Path]:
    """Folders of the runs, the one that began last in the end."""
    folder = trial / FOLDER
    if not os.path.isdir(folder):
        return []
    found = [path.parent for path in folder.glob("*/*/meta.yaml")]
    return sorted((path for path in found if (path / "metrics").is_dir()), key=_began)


def _began(run: Path) -> float:
    return run.stat().st_ctime


def artifact_folders(trial: Path) -> list[Path]:
    """Folders of the runs' artifacts, the newest first."""
    return [run / "artifacts" for run in reversed(_runs(trial))]


def points_in(trial: Path) -> list[LoggedPoint]:
    """Points of all metrics; by name and step; of one that was logged twice the newest."""
    found: dict[tuple[str, int], LoggedPoint] = {}
    for run in _runs(trial):
        for name, text in _texts(run / "metrics"):
            for point in _points(name, text):
                found[name, point.step] = point
    return sorted(found.values(), key=lambda point: (point.name, point.step))


def _points(name: str, text: str) -> Iterator[LoggedPoint]:
    for line in text.splitlines():
        words = line.split()
        try:
            yield LoggedPoint(name, float(words[1]), int(words[2]), int(words[0]))
        except (IndexError, ValueError):  # cut off by a crash
            continue


def params_in(trial: Path) -> Mapping[str, str]:
    """Read what was logged as params, the newest value of each; no more than a hundred."""
    found: dict[str, str] = {}
    for run in _runs(trial):
        found |= dict(_texts(run / "params"))
    return dict(list(found.items())[:_MOST_PARAMS])


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.is_symlink():
            continue
        try:
            text = read_regular(path).decode(errors="replace")
        except OSError:
            continue
        yield path.relative_to(folder).as_posix(), text
