"""`sync` says that MLflow shows the sweep as the store has it only where that is so, also of a
store that was copied.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api import load
from orchestrator.errors import UsageError
from orchestrator.store.store import Store
from orchestrator.tracking import report
from orchestrator.tracking.database import take_home
from orchestrator.tracking.server import page_of

TRAINING = """
def train(*, width: int = 1, seed, log_metrics, **more):
    for iteration in range(1, 4):
        log_metrics({"val/x": width / iteration, "timing(s)/é@": 1.0}, iteration)
    return {"val/x": width / 3 + seed}
"""
SPEC = """
name: tiny
metric: {name: val/x, mode: min, also: ["timing(s)/é@"]}
seeds: [0, 1]
baseline: {train: {name: "tiny:train"}}
steps:
- {name: wide, change: {train.width: 2}}
- {name: odd, change: {"train.enc@key(x)": 5}}
"""


pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _empty_mlflow_database: Path) -> Path:
    """A folder with the spec and its store, trained with MLflow once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.py").write_text(TRAINING)
    (folder / "tiny.yaml").write_text(SPEC)
    (folder / "runs").mkdir()
    database = shutil.copy(_empty_mlflow_database, folder / "runs" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_FILES", {"roadmap.md": "md"})
        ended = load(folder / "tiny.yaml", folder / "runs").run(
            "local", tracking=f"sqlite:///{database}"
        )
    assert not ended.has_failures
    return folder


@pytest.fixture
def done(trained: Path, weird_path: Path) -> Callable[[], Path]:
    """Puts the trained sweep into the store; returns the spec."""

    def put() -> Path:
        shutil.copytree(trained, weird_path, dirs_exist_ok=True)
        return weird_path / "tiny.yaml"

    return put


def execute(store: Path, *statements: str) -> None:
    with closing(sqlite3.connect(store / "mlflow.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def content(store: Path, name: str = "mlflow.db") -> Any:
    """What people see in MLflow: everything but ids and times, and the files by name and
    content.
    """
    select = "SELECT r.name, r.status, {0}.key, {0}.value FROM {0} JOIN runs r USING (run_uuid) "
    select += "WHERE r.lifecycle_stage = 'active' AND {0}.key NOT LIKE 'mlflow.%'"
    tables = ("metrics", "latest_metrics", "params", "tags")
    with closing(sqlite3.connect(store / name)) as database:
        rows = {table: sorted(database.execute(select.format(table))) for table in tables}
        places = "SELECT name, artifact_uri FROM runs WHERE lifecycle_stage = 'active'"
        folders = dict(database.execute(places).fetchall())
    files = {
        (name, path.name): path.stat().st_size
        for name, uri in folders.items()
        for path in (store / "mlartifacts" / "tiny" / uri.split("/")[-2]).rglob("*.*")
    }
    return rows, files


DAMAGE = {
    "points gone": ["DELETE FROM metrics WHERE step = 2"],
    "points changed": ["UPDATE metrics SET value = 999 WHERE key = 'val/x' AND step = 2"],
    "newest changed": ["UPDATE latest_metrics SET value = 999 WHERE key = 'val/x'"],
    "all points gone": ["DELETE FROM metrics", "DELETE FROM latest_metrics"],
    "status changed": ["UPDATE runs SET status = 'FAILED'"],
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", [*DAMAGE, "files gone", "files emptied"])
def test_what_is_not_as_it_was_written_is_written_again(
    cli: Any, done: Callable[[], Path], store_path: Path, damage: str
) -> None:
    spec, files = done(), store_path / "mlartifacts"
    before = content(store_path)
    assert before[1]
    execute(store_path, *DAMAGE.get(damage, []))
    if damage == "files gone":
        shutil.rmtree(files)
    if damage == "files emptied":
        for path in files.rglob("*.*"):
            path.write_bytes(b"")
    assert content(store_path) != before
    assert cli("sync", spec, "--store", store_path).code == 0
    rows, found = content(store_path)
    for table, found_rows in rows.items():
        assert found_rows == before[0][table], table
    assert found.keys() == before[1].keys()
    assert all(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "sync"])
def test_a_copied_store_shows_and_writes_its_own_files(
    cli: Any, done: Callable[[], Path], store_path: Path, command: str
) -> None:
    spec = done()
    assert cli("sync", spec, "--store", store_path).code == 0
    copy = copied(store_path)
    before = ages(store_path)
    if command == "run":
        spec.write_text(SPEC.replace("[0, 1]", "[0, 1, 2]"))
        assert cli("run", spec, "--store", copy, "--executor", "local").code == 0
    else:
        shutil.rmtree(copy / "mlartifacts")
        assert cli("sync", spec, "--store", copy).code == 0
        assert {path.relative_to(store_path) for path in store_path.rglob("mlartifacts/**/*")} == {
            path.relative_to(copy) for path in copy.rglob("mlartifacts/**/*")
        }
    assert ages(store_path) == before
    with closing(sqlite3.connect(copy / "mlflow.db")) as database:
        places = database.execute(
            "SELECT artifact_uri FROM runs UNION "
            "SELECT artifact_location FROM experiments WHERE name = 'tiny'"
        )
        assert all(place.startswith(copy.as_uri()) for (place,) in places)


def copied(store: Path) -> Path:
    """A copy of the store beside it, as `cp -a` makes one."""
    return Path(shutil.copytree(store, store.with_name("copy")))


def ages(folder: Path) -> dict[Path, int]:
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_ui_of_a_copied_store_opens_on_the_sweep(
    cli: Any, done: Callable[[], Path], store_path: Path
) -> None:
    spec = done()
    assert cli("sync", spec, "--store", store_path).code == 0
    uri = f"sqlite:///{store_path}/mlflow.db"
    page = page_of(Store(store_path), "tiny", uri)
    copy = copied(store_path)
    before = ages(store_path)
    its_own = uri.replace(str(store_path), str(copy))
    with pytest.raises(UsageError, match="has no 'tiny' yet"):
        page_of(Store(copy), "tiny", its_own)
    take_home(its_own, copy)
    assert page_of(Store(copy), "tiny", its_own) == page
    assert ages(store_path) == before


def test_names_that_mlflow_does_not_take_are_written_otherwise_there(
    done: Callable[[], Path], store_path: Path
) -> None:
    done()
    rows, _ = content(store_path)
    metrics = {key for _, _, key, _ in rows["latest_metrics"]}
    assert any(key.startswith("timing_s_/é_-") for key in metrics)
    assert any(key.startswith("train.enc_key_x_-") for _, _, key, _ in rows["params"])


@pytest.mark.slow
def test_one_record_that_mlflow_refuses_does_not_stop_the_others(
    cli: Any,
    done: Callable[[], Path],
    store_path: Path,
    new_mlflow: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    from orchestrator.tracking.sqlite import Sqlite

    real = Sqlite.write

    def write(self: Any, run_id: str, points: Any, params: Any, tags: Any) -> None:
        if params.get("variant") == "wide" and params.get("seed") == "0":
            raise MlflowException("Invalid value \x1b[31m", INVALID_PARAMETER_VALUE)
        real(self, run_id, points, params, tags)

    spec = done()
    uri = new_mlflow("other.db")
    monkeypatch.setattr(Sqlite, "write", write)
    found = cli("sync", spec, "--store", store_path, "--tracking-uri", uri)
    assert found.code == 3
    assert "MLflow refuses wide-seed0 (Invalid value ␛[31m); everything else is there" in found.err
    rows, _ = content(store_path, "other.db")
    assert {"roadmap", "odd-seed1", "wide-seed1", "2 odd"} <= {name for name, *_ in rows["tags"]}
