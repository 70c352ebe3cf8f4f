"""The SQLite file that is MLflow's store where no server is named: there whole or not at all,
readable while we write.
"""

import errno
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from orchestrator.store.files import write_json
from orchestrator.store.mlflow_runs import RUNS, read_runs

ARTIFACTS = "mlartifacts"
"""Folder beside the database in a store, with one for each experiment by its name."""
_PREFIX = "sqlite:///"
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)
_LONGEST_CREATION_SECONDS = 3600.0
"""Seconds that a creation may take; it takes a few."""


def prepare_database(tracking_uri: str) -> None:
    """Create the database where it is missing, with all its tables at once, and let others read it
    while we write.

    MLflow builds its tables in some dozens of migrations, and a database left half-way by a killed
    process can never be opened again. So they are built in a file aside that takes its name when it
    is complete. Addresses of servers are left alone.
    """
    path = path_of(tracking_uri)
    if path is None:
        return
    _wait_for_the_disk_less_often()
    _clear_what_others_left(path)
    if not path.exists() or path.stat().st_size == 0:
        _create(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def take_home(tracking_uri: str, store: Path) -> None:
    """Let the database of a store that was copied or moved show the artifacts beside it, and the
    store's notes name this database: both are whole paths.
    """
    path = path_of(tracking_uri)
    if path is None or not path.exists() or path.resolve().parent != store.resolve():
        return
    root = store.resolve() / ARTIFACTS
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments")
        for experiment_id, name, location in rows.fetchall():
            home = (root / name).as_uri()
            elsewhere = str(location or "").startswith("file://") and location != home
            if elsewhere and location.endswith(f"/{ARTIFACTS}/{name}"):
                _move(connection, experiment_id, location, home)
                there = Path(unquote(urlsplit(location).path)).parents[1] / path.name
                _rename_in_note(store / name / RUNS, f"{_PREFIX}{there}", tracking_uri)


def _move(connection: sqlite3.Connection, experiment_id: int, old: str, new: str) -> None:
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, experiment_id)
    )
    for table, column in (("runs", "artifact_uri"), ("logged_models", "artifact_location")):
        begins_so = f"experiment_id = ? AND substr({column}, 1, ?) = ?"
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {begins_so}",
            (new, len(old) + 1, experiment_id, len(old) + 1, f"{old}/"),
        )


def _rename_in_note(note: Path, old: str, new: str) -> None:
    """Let the note of a sweep's runs name this database, where it names that of the original; its
    age says when the sweep was shown last.
    """
    content = read_runs(note)
    if content and content["tracking_uri"] == old:
        written = note.stat()
        write_json(note, {**content, "tracking_uri": new})
        os.utime(note, ns=(written.st_atime_ns, written.st_mtime_ns))


def path_of(tracking_uri: str) -> Path | None:
    """The file that a `sqlite:///` address names; none of a server's."""
    is_file = tracking_uri.startswith(_PREFIX) and "?" not in tracking_uri
    return Path(tracking_uri.removeprefix(_PREFIX)) if is_file else None


def _wait_for_the_disk_less_often() -> None:
    """Let SQLite force its log to disk now and then and not for every call: what a power failure
    takes, `sync` writes again.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _set_synchronous):
        event.listen(Engine, "connect", _set_synchronous)


def _set_synchronous(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def _not_waiting_for_the_disk(path: Path) -> Iterator[None]:
    """Let SQLite wait for the disk not once while it writes one file, which nobody needs before it
    is whole: dozens of migrations would take seconds more.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hasten(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection) and _file_of(connection) == path.resolve():
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", hasten)
    try:
        yield
    finally:
        event.remove(Engine, "connect", hasten)


def _file_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2]).resolve()


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_what_others_left(path: Path) -> None:
    """Remove what processes had begun that were killed while they created the database."""
    for folder in path.parent.glob(f".{escape(path.name)}-*/"):
        with suppress(FileNotFoundError):  # another process clears too
            if time.time() - folder.stat().st_mtime > _LONGEST_CREATION_SECONDS:
                shutil.rmtree(folder)


def _create(path: Path) -> None:
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        aside = Path(scratch, path.name)
        with _not_waiting_for_the_disk(aside):
            MlflowClient(f"{_PREFIX}{aside}")
        _force_to_disk(aside)
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        try:
            os.link(
                aside, path
            )  # unlike a rename it never replaces a database that another process made meanwhile
        except FileExistsError:
            return
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            aside.rename(path)
