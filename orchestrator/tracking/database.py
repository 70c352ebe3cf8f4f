"""The SQLite file that is MLflow's store where no server is named: there whole or not at all, readable while we write."""

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

_PREFIX = "sqlite:///"
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EMLINK)


def prepare_database(tracking_uri: str) -> None:
    """Create the database where it is missing, with all its tables at once, and let others read it while we write.

    MLflow builds its tables in some dozens of migrations, and a database left half-way by a killed process can never be opened
    again. So they are built in a file aside that takes its name when it is complete. Addresses of servers are left alone.
    """
    if not tracking_uri.startswith(_PREFIX):
        return
    path = Path(tracking_uri.removeprefix(_PREFIX))
    if not path.exists() or path.stat().st_size == 0:
        _create(path)
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


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
