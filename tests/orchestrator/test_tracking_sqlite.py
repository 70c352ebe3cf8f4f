"""What is written straight into MLflow's SQLite file is what MLflow would have written there."""

import math
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from illama.data.datasets import dataset_digest
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import Store
from orchestrator.tracking import MlflowMirror, report, sqlite
from orchestrator.tracking.api import Api, Point
from orchestrator.tracking.sqlite import Sqlite, connect

NewMlflow = Callable[..., str]

CLOCKS = {"creation_time", "last_update_time", "deleted_time"}
"""Columns that say when MLflow was asked."""


def tables(uri: str) -> dict[str, list[Any]]:
    """All rows of all tables, with names in the place of random ids."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        names = {
            run_id: f"<{name} {stage}>"
            for run_id, name, stage in rows(database, "run_uuid, name, lifecycle_stage", "runs")
        }
        names |= {
            dataset: f"<dataset {digest}>"
            for dataset, digest in rows(database, "dataset_uuid, digest", "datasets")
        }
        ends = rows(database, "input_uuid, source_id, destination_id", "inputs")
        names |= {used: f"<{names[source]} in {names[run_id]}>" for used, source, run_id in ends}
        random = re.compile("|".join(names) or "none")
        found = {}
        for (table,) in rows(database, "name", "sqlite_master WHERE type = 'table'"):
            columns = [
                name
                for _, name, *_ in database.execute(f"PRAGMA table_info({table})")
                if name not in CLOCKS
            ]
            content = rows(database, ", ".join(f'"{name}"' for name in columns), table)
            found[table] = sorted(
                (tuple(_named(value, random, names) for value in row) for row in content), key=repr
            )
    return found


def rows(database: sqlite3.Connection, columns: str, table: str) -> list[tuple[Any, ...]]:
    return database.execute(f"SELECT {columns} FROM {table}").fetchall()


def _named(value: Any, random: re.Pattern[str], names: dict[str, str]) -> Any:
    return random.sub(lambda found: names[found[0]], value) if isinstance(value, str) else value


@pytest.fixture
def ways(new_mlflow: NewMlflow, store_path: Path) -> dict[str, Api]:
    """Two databases with an experiment each: one to be written straight, one through MLflow."""
    found = {}
    for name, way in {"straight": connect, "mlflow": Api}.items():
        uri = new_mlflow(f"{name}.db")
        found[uri] = way(uri)
        assert (
            found[uri].client.create_experiment("mine", (store_path / "files of both").as_uri())
            == "1"
        )
    assert [type(api) for api in found.values()] == [Sqlite, Api]
    return found


def told(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call says: nothing, or an error."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001
        return (
            type(error).__name__,
            getattr(error, "error_code", ""),
            re.sub("[0-9a-f]{32}", "<id>", str(error)),
        )
    return "nothing"


def curve(steps: int) -> list[Point]:
    return [Point("c", step / 7, step, 10 * step) for step in range(steps)]


KEYS = [
    "plain",
    "a/b.c-d_e",
    "with space",
    "ünicode",
    "twice//",
    "../up",
    "semi;colon",
    "",
    "x" * 250,
    "x" * 251,
]
VALUES: list[Any] = [
    0.5,
    3,
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    5e-324,
    True,
    None,
    "1",
    10**400,
]
WRITES: dict[str, tuple[Any, Any, Any]] = {
    **{f"metric {key}": ([Point(key, 1.0, 1, 1)], {}, {}) for key in KEYS},
    **{f"param {key}": ([], {key: "1"}, {}) for key in KEYS},
    **{f"tag {key}": ([], {}, {key: "1"}) for key in KEYS},
    **{f"value {value}": ([Point("v", value, 1, 1)], {}, {}) for value in VALUES},
    "a curve": (curve(2500), {}, {}),
    "the same again": (curve(5), {}, {}),
    "a step again, earlier": ([Point("c", 8.0, 2, 9)], {}, {}),
    "the last step again": ([Point("c", 8.0, 2499, 24991), Point("c", 9.0, 2499, 24990)], {}, {}),
    "a negative step": ([Point("n", 8.0, -1, 1)], {}, {}),
    "a time before 1970": ([Point("n", 8.0, 1, -1)], {}, {}),
    "an empty param": ([], {"empty": ""}, {}),
    "a param again": ([], {"plain": "1", "new": "1"}, {}),
    "a param changed": ([Point("lost", 1.0, 1, 1)], {"plain": "2"}, {"lost": "1"}),
    "long params": ([], {"long": "ü" * 6000, "longer": "x" * 6001}, {}),
    "long tags": ([], {}, {"long": "x" * 8000, "longer": "y" * 8001}),
    "tags changed": ([], {}, {"plain": "2", "other": ""}),
    "a name by its tag": ([], {}, {"mlflow.runName": "another"}),
}
DATASETS = [
    ("digits", "01", "{}"),
    ("digits", "01", "[]"),
    ("digits", "02", "{}"),
    ("digits", "4" * 37, "{}"),
]
DATASETS += [("digits", "05", "x" * 65536), ("x" * 501, "06", "{}")]
NEW_RUNS = [
    ("x" * 251, {}),
    ("of a user", {"mlflow.user": "me"}),
    ("two", {"mlflow.runName": "x"}),
    ("odd", {"a;b": ""}),
]


def everything_tried_on(api: Api) -> dict[str, Any]:
    """What every call says: of a run as it should be, of one that was deleted, of one that never
    was.
    """
    usual = api.create_run(
        "1", "usual", 1000, {"sweep.kind": "trial", "mlflow.parentRunId": "nobody"}
    )
    said: dict[str, Any] = {}
    for state, run in {"active": usual, "deleted": usual, "unknown": "0" * 32}.items():
        if state == "deleted":
            api.client.delete_run(run)
        said |= {
            f"{state}: {name}": told(api.write, run, *arguments)
            for name, arguments in WRITES.items()
        }
        said |= {
            f"{state}: {status}": told(api.end, run, status, 123)
            for status in ("FAILED", "KILLED", "BROKEN")
        }
        said |= {
            f"{state}: dataset {index}": told(api.add_dataset, run, *what)
            for index, what in enumerate(DATASETS)
        }
        said |= {f"{state}: text": told(api.add_text, run, "ünicode", "words.txt")}
    said |= {
        f"new run: {name}": told(api.create_run, "1", name, 1000, tags) for name, tags in NEW_RUNS
    }
    said |= {
        f"new run in {experiment}": told(api.create_run, experiment, "x", 1000, {})
        for experiment in ("77", "nonsense")
    }
    api.client.delete_experiment("1")
    return said | {"new run in a deleted one": told(api.create_run, "1", "x", 1000, {})}


@pytest.mark.slow
def test_every_call_leaves_and_says_what_mlflow_would(ways: dict[str, Api]) -> None:
    straight, through = map(everything_tried_on, ways.values())
    assert straight == through
    refused = {name for name, answer in through.items() if answer != "nothing"}
    assert {
        "active: metric ../up",
        "active: a param changed",
        "active: BROKEN",
        "new run in a deleted one",
    } <= refused
    assert not {"active: metric with space", "active: value nan", "active: tags changed"} & refused
    assert {name for name in through if name.startswith("deleted")} - refused == {"deleted: text"}
    straight_tables, through_tables = map(tables, ways)
    assert {"runs", "metrics", "latest_metrics", "inputs"} <= through_tables.keys()
    for table, content in through_tables.items():
        assert straight_tables[table] == content, table


def test_what_was_written_straight_is_read_alike(ways: dict[str, Api]) -> None:
    [(uri, api), _] = ways.items()
    for start, name in enumerate(("one", "two", "gone")):
        run = api.create_run("1", name, start, {"a": "b"})
        points = [Point("curve", float(step), step, step) for step in range(3)]
        api.write(
            run,
            [*points, Point("huge", -math.inf, 1, 1), Point("odd", math.nan, 1, 1)],
            {"p": "1"},
            {"a": "c"},
        )
    api.end(run, "FINISHED", 5)
    api.client.delete_run(run)
    assert repr(list(api.runs("1"))) == repr(list(Api(uri).runs("1")))  # no number equals itself
    assert [(found.name, found.is_deleted) for found in api.runs("1")] == [
        ("gone", True),
        ("two", False),
        ("one", False),
    ]


def test_files_are_where_mlflow_looks_for_them(ways: dict[str, Api], tmp_path: Path) -> None:
    (tmp_path / "about.json").write_text("{}")
    for api in ways.values():
        run = api.create_run("1", "with files", 1, {})
        api.add_file(run, tmp_path / "about.json")
        api.add_text(run, "old", "text.txt")
        api.add_text(run, "new", "text.txt")
        assert [(file.path, file.file_size) for file in api.client.list_artifacts(run)] == [
            ("about.json", 2),
            ("text.txt", 3),
        ]
        assert Path(api.client.download_artifacts(run, "text.txt")).read_text() == "new"


def test_another_versions_tables_are_left_to_mlflow(new_mlflow: NewMlflow) -> None:
    with closing(sqlite3.connect((uri := new_mlflow()).removeprefix("sqlite:///"))) as database:
        database.execute("ALTER TABLE params ADD COLUMN unheard_of TEXT")
    assert type(connect(uri)) is Api


def test_another_process_may_write_meanwhile(ways: dict[str, Api]) -> None:
    [(uri, api), _] = ways.items()
    other = MlflowClient(uri)
    run = api.create_run("1", "shared", 1, {})
    other.log_metric(run, "theirs", 1.0)
    api.write(run, [Point("ours", 1.0, 1, 1)], {}, {"ours": "1"})
    other.set_tag(run, "theirs", "1")
    found = other.get_run(run)
    assert found.data.metrics == {"theirs": 1.0, "ours": 1.0}
    assert found.data.tags.keys() >= {"theirs", "ours"}


def as_it_grows(zoo: Path) -> Iterator[None]:
    """The files of the trained zoo as they were while its trials ran, up to now."""
    whole = {path: path.read_bytes() for path in zoo.glob("runs/zoo/trials/*/*.json*")}
    for stage in range(4):
        for path, written in whole.items():
            lines = written.splitlines(keepends=True)
            if path.name == "attempts.jsonl":
                path.write_bytes(b"".join(lines[: 1 if stage < 3 else None]))
            elif path.name == "metrics.jsonl":
                path.write_bytes(b"".join(lines[:stage]))
            elif path.name == "result.json" and stage < 2:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(written)
        yield


@pytest.mark.slow
def test_a_sweep_written_straight_cannot_be_told_from_one_through_mlflow(
    zoo: Path, new_mlflow: NewMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in zoo.glob("runs/zoo/trials/rmsnorm-*/metrics.jsonl"):
        path.write_text(
            path.read_text().replace(
                '"epoch": 1.0', '"epoch": 1.0, "val/odd": NaN, "val/huge": Infinity'
            )
        )
    monkeypatch.setattr(report, "_FILES", {"roadmap.md": "md"})  # figures take a second each
    spec = load_spec(zoo / "zoo.yaml")

    def sweep_to(uri: str) -> dict[str, Any]:
        """Mirrored while it ran and to its end; then a run is deleted by hand, a seed left out,
        and everything as it was.
        """
        live = MlflowMirror(uri, spec, trials_of(spec, dataset_digest), Store(zoo / "runs"))
        for _ in as_it_grows(zoo):
            live.sync(live.trials)
        live.sync()
        client = MlflowClient(uri)
        [run] = client.search_runs(["1"], "attributes.run_name = 'causal-seed0'")
        client.delete_run(run.info.run_id)
        live.sync()
        MlflowMirror(
            uri, spec, [trial for trial in live.trials if trial.seed == 0], Store(zoo / "runs")
        ).sync()
        live.sync()
        files = zoo / "runs" / "mlartifacts" / "zoo"
        found = {
            str(path.relative_to(files)): path.read_bytes()
            for path in files.rglob("*")
            if path.is_file()
        }
        shutil.rmtree(files)
        names = {
            run.info.run_id: f"{run.info.run_name} "
            for run in client.search_runs(["1"], run_view_type=3)
        }
        return {
            f"{names[path.partition('/')[0]]}{path.partition('/')[2]}": content
            for path, content in found.items()
        }

    straight_files = sweep_to(straight := new_mlflow("straight.db"))
    with monkeypatch.context() as other:
        other.setitem(sqlite.COLUMNS, "runs", "of another version")
        through_files = sweep_to(through := new_mlflow("mlflow.db"))
    assert straight_files == through_files
    straight_tables, through_tables = tables(straight), tables(through)
    assert len(through_tables["metrics"]) > 100
    assert {row for row in through_tables["runs"] if "deleted" in row}
    for table, content in through_tables.items():
        assert straight_tables[table] == content, table


def test_calls_of_a_batch_are_one_transaction_and_mlflow_sees_them(ways: dict[str, Api]) -> None:
    """Both ways of writing end in the same tables, also where a call in the middle is MLflow's
    own.
    """
    for api in ways.values():
        with api.batch():
            first = api.create_run("1", "first", 10, {"sweep.kind": "trial"})
            api.write(first, curve(3), {"a": "1"}, {"t": "1"})
            api.client.set_tag(first, "by", "MLflow")  # another connection: waits for nothing
            second = api.create_run("1", "second", 20, {})
            api.add_text(second, "text", "note.txt")
            assert told(api.write, first, [], {"a": "2"}, {}) != "nothing"  # left to MLflow
            api.end(second, "FINISHED", 30)
    straight, through = (tables(uri) for uri in ways)
    assert straight == through


def test_a_batch_that_fails_leaves_what_mlflow_had_before(ways: dict[str, Api]) -> None:
    api = next(iter(ways.values()))

    def fails() -> None:
        with api.batch():
            api.create_run("1", "lost", 10, {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert list(api.runs("1")) == []
    assert api.client.search_runs(["1"]) == []
    api.create_run("1", "kept", 10, {})  # and one outside is written at once, as ever
    assert [run.info.run_name for run in MlflowClient(next(iter(ways))).search_runs(["1"])] == [
        "kept"
    ]


def test_ids_of_runs_sort_by_the_time_at_which_they_were_made(
    new_mlflow: NewMlflow, tmp_path: Path
) -> None:
    api = connect(new_mlflow())
    assert isinstance(api, Sqlite)
    experiment = api.client.create_experiment("sorted", (tmp_path / "files").as_uri())
    ids = []
    for _ in range(5):
        ids.append(api.create_run(experiment, "one", 1, {}))
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", run_id) for run_id in ids)
