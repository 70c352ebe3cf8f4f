"""The SQLite file that is MLflow's store where no server is named: there whole or not at all, readable while we write."""

import errno
import math
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

_PREFIX = "sqlite:///"
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)
_METRICS_TABLE = {"key", "value", "timestamp", "run_uuid", "step", "is_nan"}
_BUSY_SECONDS = 20.0


def prepare_database(tracking_uri: str) -> None:
    """Create the database where it is missing, with all its tables at once, and let others read it while we write.

    MLflow builds its tables in some dozens of migrations, and a database left half-way by a killed process can never be opened
    again. So they are built in a file aside that takes its name when it is complete. Addresses of servers are left alone.
    """
    path = _path_of(tracking_uri)
    if path is None:
        return
    _wait_for_the_disk_less_often()
    if not path.exists() or path.stat().st_size == 0:
        _create(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def add_points(tracking_uri: str, run_id: str, points: Sequence[Any]) -> Sequence[Any]:
    """Insert MLflow's `Metric`s into its table directly; returns those that were not taken: all, unless it is a SQLite file.

    MLflow builds objects for each point and looks at them several times, which takes thirty times as long and would take it from
    the training beside us. The newest point of each metric must go through MLflow, which keeps a table of these.
    """
    path = _path_of(tracking_uri)
    if path is None or not points:
        return points
    plain = [point for point in points if math.isfinite(point.value)]
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection, connection:
        if {row[1] for row in connection.execute("PRAGMA table_info(metrics)")} != _METRICS_TABLE:
            return points
        connection.execute("PRAGMA synchronous=NORMAL")
        rows = [(point.key, point.value, point.timestamp, run_id, point.step) for point in plain]
        insert = "INSERT OR IGNORE INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
        connection.executemany(insert, rows)
    return [point for point in points if not math.isfinite(point.value)]


def _path_of(tracking_uri: str) -> Path | None:
    is_file = tracking_uri.startswith(_PREFIX) and "?" not in tracking_uri
    return Path(tracking_uri.removeprefix(_PREFIX)) if is_file else None


def _wait_for_the_disk_less_often() -> None:
    """Let SQLite force its log to disk now and then and not for every call: what a power failure takes, `sync` writes again."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _set_synchronous):
        event.listen(Engine, "connect", _set_synchronous)


def _set_synchronous(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")


def _create(path: Path) -> None:
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        aside = Path(scratch, path.name)
        MlflowClient(f"{_PREFIX}{aside}")
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        try:
            os.link(aside, path)  # unlike a rename it never replaces a database that another process made meanwhile
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            aside.rename(path)
