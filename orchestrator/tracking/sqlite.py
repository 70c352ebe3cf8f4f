"""MLflow's most frequent calls, straight into its SQLite file: the same rows for a tenth of the
time.

MLflow asks the database some dozens of times for each trial, and takes the processor from the
training beside it. What is written here is what it writes, in one transaction for each call; a test
compares all tables. Whatever is out of the ordinary is left to MLflow, which takes it or says why
not: another version's tables, a run that is deleted, a name or value that it would judge.
"""

import math
import re
import sqlite3
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from illama.sealed import read_regular
from orchestrator.tracking.api import Api, Point, Run, Totals
from orchestrator.tracking.artifact_files import make_folder, put_file
from orchestrator.tracking.database import path_of
from orchestrator.tracking.mlflow_tables import (
    COLUMNS,
    DATASET_ROW,
    INPUT_ROW,
    LATEST_ROW,
    PARAM_ROW,
    POINT_ROW,
    RUN_ROW,
    TAG_ROW,
    newest,
    stored,
)
from orchestrator.tracking.names import new_run_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BUSY_SECONDS = 20.0
"""Seconds to wait for another writer, as MLflow does."""
_CACHE_KIB = 65_536
"""Memory for pages of the database: its indices are written all over."""
_BATCH_SECONDS = 0.5
_MOST_HELD_BACK = 1_000_000
"""Bytes of a file from which the calls before it are written first."""
_PLAIN_KEY = re.compile(r"(?!mlflow\.runName)\w[\w.-]*(/\w[\w.-]*)*")
_PLAIN_FOLDER = re.compile(r"file:///[\w./~%-]+")
_LONGEST_KEY, _LONGEST_VALUE, _LONGEST_SOURCE = 250, 6000, 65535


class _OutOfTheOrdinary(Exception):
    """Case that is left to MLflow; nothing was written."""


def connect(tracking_uri: str) -> Api:
    """The shortest way to MLflow at an address. A database must be there already."""
    path = path_of(tracking_uri)
    return Sqlite(tracking_uri, path) if path and _has_known_tables(path) else Api(tracking_uri)


def _has_known_tables(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
        columns = "SELECT name FROM pragma_table_info(?)"
        found = {
            table: {name for (name,) in database.execute(columns, [table])} for table in COLUMNS
        }
    return found == {table: set(names.split()) for table, names in COLUMNS.items()}


class Sqlite(Api):
    """A database that this process opens itself."""

    def __init__(self, tracking_uri: str, path: Path) -> None:
        super().__init__(tracking_uri)
        self._database = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        weakref.finalize(self, self._database.close)
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._is_batch = False
        self._began = 0.0
        """Time at which the open transaction of a batch began."""
        self._folders: dict[str, str] = {}
        """Folders of artifacts that are there, by the ids of their runs."""

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own client, which opens the database once more: what is held back is written
        first.
        """
        self._write_batch()
        return super().client

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write the calls inside in one transaction for some of them, not in one for each: each
        waits for the disk.
        """
        self._is_batch = True
        try:
            yield
            self._write_batch()
        finally:
            self._is_batch = False
            self._database.rollback()

    def _write_batch(self) -> None:
        if self._is_batch and self._database.in_transaction:
            self._database.commit()

    def runs(self, experiment_id: str) -> Iterable[Run]:
        """All of an experiment, deleted ones too, the latest first."""
        with self._transaction("DEFERRED") as rows:
            about = (
                "SELECT run_uuid, name, start_time, status, lifecycle_stage, artifact_uri "
                "FROM runs WHERE experiment_id = ?"
            )
            ordered = rows.execute(f"{about} ORDER BY start_time DESC, run_uuid", [experiment_id])
            found = {
                row[0]: Run(row[0], row[1], row[2], row[3], row[4] != "active", {}, {}, {}, row[5])
                for row in ordered
            }
            of_experiment = "JOIN runs USING (run_uuid) WHERE experiment_id = ?"
            for run_id, key, value in rows.execute(
                f"SELECT run_uuid, key, value FROM tags {of_experiment}", [experiment_id]
            ):
                found[run_id].tags[key] = value
            for run_id, key, value in rows.execute(
                f"SELECT run_uuid, key, value FROM params {of_experiment}", [experiment_id]
            ):
                found[run_id].params[key] = value
            latest = f"SELECT run_uuid, key, value, is_nan FROM latest_metrics {of_experiment}"
            for run_id, key, value, is_nan in rows.execute(latest, [experiment_id]):
                found[run_id].metrics[key] = math.nan if is_nan else value
        return found.values()

    def totals(self, experiment_id: str) -> Mapping[str, Totals] | None:
        """The totals of each run that has points, by its id."""
        of_experiment = "FROM metrics JOIN runs USING (run_uuid) WHERE experiment_id = ?"
        sums = f"SELECT run_uuid, count(*), total(abs(value)), total(value) {of_experiment}"
        rows = self._database.execute(f"{sums} GROUP BY run_uuid", [experiment_id])
        return {run_id: Totals(*found) for run_id, *found in rows}

    def has_files(self, run: Run, sizes: Mapping[str, int | None]) -> bool:
        """Tell whether the run has these artifacts, in these sizes where they are given."""
        if not _PLAIN_FOLDER.fullmatch(run.artifacts):
            return True
        folder = Path(unquote(urlsplit(run.artifacts).path))
        try:
            found = {name: (folder / name).stat().st_size for name in sizes}
        except OSError:
            return False
        return all(
            found[name] == size if size is not None else found[name] for name, size in sizes.items()
        )

    def create_run(self, experiment_id: str, name: str, start: int, tags: Mapping[str, str]) -> str:
        """A new run that is running. Returns its id."""
        run_id = new_run_id()
        try:
            with self._transaction() as rows:
                active = (
                    "SELECT artifact_location FROM experiments WHERE experiment_id = ? AND "
                    "lifecycle_stage = 'active'"
                )
                folder = _one(rows.execute(active, [experiment_id]))
                _expect(
                    _PLAIN_FOLDER.fullmatch(folder)
                    and "mlflow.user" not in tags
                    and 0 < len(name) <= _LONGEST_KEY
                )
                place = f"{folder.rstrip('/')}/{run_id}/artifacts"
                where = (
                    "UNKNOWN",
                    "",
                    "",
                    "unknown",
                    "RUNNING",
                    start,
                    None,
                    "",
                    "active",
                    place,
                    int(experiment_id),
                    None,
                )
                _expect_plain(tags)
                rows.execute(RUN_ROW, (run_id, name, *where))
                rows.executemany(
                    TAG_ROW, [(run_id, *tag) for tag in {**tags, "mlflow.runName": name}.items()]
                )
        except _OutOfTheOrdinary:
            return super().create_run(experiment_id, name, start, tags)
        return run_id

    def write(
        self,
        run_id: str,
        points: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Add to a run: params for good, tags in the place of others; a point that is there already
        is not added again.
        """
        try:
            _expect_plain(tags, params, {point.key: "" for point in points})
            _expect(all(type(point.value) in (float, int) and point.time >= 0 for point in points))
            found = [
                (run_id, point.key, point.iteration, point.time, *stored(point.value))
                for point in points
            ]
            with self._transaction() as rows:
                _one(
                    rows.execute(
                        "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'",
                        [run_id],
                    )
                )
                rows.executemany(PARAM_ROW, [(run_id, *param) for param in params.items()])
                rows.executemany(POINT_ROW, found)
                rows.executemany(LATEST_ROW, newest(found))
                rows.executemany(TAG_ROW, [(run_id, *tag) for tag in tags.items()])
        except _OutOfTheOrdinary:
            super().write(run_id, points, params, tags)

    def end(self, run_id: str, status: str, end: int) -> None:
        """Say in MLflow's words how a run ended, and when in milliseconds since 1970."""
        try:
            with self._transaction() as rows:
                update = (
                    "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ? AND "
                    "lifecycle_stage = 'active'"
                )
                _expect(rows.execute(update, (status, end, run_id)).rowcount)
        except _OutOfTheOrdinary:
            super().end(run_id, status, end)

    def add_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Add a file as an artifact, below `folder`; one of the same name is replaced."""
        try:
            _expect(not folder)
            self._add(run_id, path.name, read_regular(path))
        except _OutOfTheOrdinary:
            super().add_file(run_id, path, folder)

    def add_text(self, run_id: str, text: str, name: str) -> None:
        """Add an artifact; one of the same name is replaced."""
        try:
            self._add(run_id, name, text.encode())
        except _OutOfTheOrdinary:
            super().add_text(run_id, text, name)

    def add_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """The images that a trial was trained on; `digest` has at most 36 characters, `source` is
        JSON.
        """
        try:
            with self._transaction() as rows:
                _expect(
                    len(name) <= _LONGEST_KEY
                    and len(digest) <= 36
                    and len(source) <= _LONGEST_SOURCE
                )
                active = (
                    "SELECT experiment_id FROM runs WHERE run_uuid = ? AND lifecycle_stage = "
                    "'active'"
                )
                which = _one(rows.execute(active, [run_id])), name, digest
                rows.execute(DATASET_ROW, (uuid4().hex, *which, source))
                if rows.execute(INPUT_ROW, (used := uuid4().hex, run_id, *which)).rowcount:
                    rows.execute(
                        "INSERT INTO input_tags VALUES (?, 'mlflow.data.context', 'training')",
                        [used],
                    )
        except _OutOfTheOrdinary:
            super().add_dataset(run_id, name, digest, source)

    @contextmanager
    def _transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All of what is done inside or nothing; whatever breaks a rule of the tables is out of the
        ordinary.
        """
        try:
            with self._part_of_batch() if self._is_batch else self._database:
                if not self._is_batch:
                    self._database.execute(f"BEGIN {kind}")
                yield self._database
        except sqlite3.IntegrityError as error:
            raise _OutOfTheOrdinary from error

    @contextmanager
    def _part_of_batch(self) -> Iterator[None]:
        """One call of a batch, all of it or nothing. Others may write after half a second at
        most.
        """
        if not self._database.in_transaction:
            self._database.execute("BEGIN IMMEDIATE")
            self._began = time.monotonic()
        self._database.execute("SAVEPOINT call")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK TO call")
            raise
        finally:
            self._database.execute("RELEASE call")
        if time.monotonic() - self._began > _BATCH_SECONDS:
            self._database.commit()

    def _add(self, run_id: str, name: str, content: bytes) -> None:
        """Write a file whole into the folder of a run; where that is was written by us or by
        MLflow.
        """
        if len(content) > _MOST_HELD_BACK:
            self._write_batch()  # nobody waits while a large file is written
        folder = self._folders.get(run_id) or self._folder_of(run_id)
        try:
            put_file(folder, name, content)
        except FileNotFoundError:  # somebody removed it
            make_folder(folder)
            put_file(folder, name, content)

    def _folder_of(self, run_id: str) -> str:
        """The folder of a run's artifacts, made where it is missing."""
        place = _one(
            self._database.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", [run_id])
        )
        _expect(_PLAIN_FOLDER.fullmatch(place))
        folder = self._folders[run_id] = unquote(urlsplit(place).path)
        make_folder(folder)
        return folder


def _one(rows: sqlite3.Cursor) -> str:
    """The value of the only row; there may be none for what was deleted."""
    found = rows.fetchone()
    _expect(found)
    return str(found[0])


def _expect(condition: object) -> None:
    if not condition:
        raise _OutOfTheOrdinary


def _expect_plain(*entries: Mapping[str, str]) -> None:
    """Names and values that every MLflow takes as they are."""
    for some in entries:
        _expect(all(map(_is_plain, some)))
        _expect(all(len(value) <= _LONGEST_VALUE for value in some.values()))


@cache
def _is_plain(key: str) -> bool:
    """Tell whether every MLflow takes the name as it is; a sweep has few and asks often."""
    return len(key) <= _LONGEST_KEY and _PLAIN_KEY.fullmatch(key) is not None
