"""The SQLite file that MLflow writes to."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from orchestrator.tracking import database
from orchestrator.tracking.database import prepare_database

CREATE = (
    "import sys; from orchestrator.tracking.database import prepare_database; "
    "prepare_database(sys.argv[1])"
)


@pytest.mark.slow
def test_a_process_killed_while_it_creates_the_database_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    process = subprocess.Popen(
        [sys.executable, "-c", CREATE, f"sqlite:///{path}"], stderr=subprocess.DEVNULL
    )
    while not any(
        file.stat().st_size > 0 for file in tmp_path.rglob("mlflow.db")
    ):  # its first tables are written
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not path.exists()
    prepare_database(f"sqlite:///{path}")
    assert MlflowClient(f"sqlite:///{path}").create_experiment("after")
    [left] = tmp_path.glob(".*")  # it may belong to a process that is at work
    for age in (3000, 4000):
        os.utime(left, times=(time.time() - age,) * 2)
        prepare_database(f"sqlite:///{path}")
        assert left.exists() is (age == 3000)


@pytest.mark.slow
def test_a_database_is_created_once_and_kept(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'deeper' / 'mlflow.db'}"
    prepare_database(uri)
    experiment = MlflowClient(uri).create_experiment("mine")
    prepare_database(uri)
    assert MlflowClient(uri).get_experiment(experiment).name == "mine"
    assert sqlite3.connect(tmp_path / "deeper" / "mlflow.db").execute(
        "PRAGMA journal_mode"
    ).fetchone() == ("wal",)
    assert [
        file.name for file in (tmp_path / "deeper").iterdir() if file.name.startswith(".")
    ] == []


@pytest.mark.slow
def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    prepare_database(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_experiments()


def test_a_server_is_left_alone() -> None:
    prepare_database("http://127.0.0.1:9")


def test_mlflow_prints_no_line_for_each_run_of_a_server() -> None:
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT

    from orchestrator.tracking import experiment

    assert experiment.PARENT  # imported before MLflow is asked for anything
    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get()


def test_what_is_created_waits_for_the_disk_once_and_other_databases_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 is OFF and 1 NORMAL in SQLite's words."""
    waiting = {}

    def create(uri: str) -> None:
        for name, address in (("created", uri), ("other", f"sqlite:///{tmp_path / 'other.db'}")):
            with create_engine(address).connect() as connection:
                connection.execute(text("CREATE TABLE one (x)"))
                waiting[name] = connection.execute(text("PRAGMA synchronous")).scalar()

    monkeypatch.setattr("mlflow.MlflowClient", create)
    forced: list[int] = []
    monkeypatch.setattr(database.os, "fsync", forced.append)
    prepare_database(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert waiting == {"created": 0, "other": 1}
    assert len(forced) == 1
    with create_engine(f"sqlite:///{tmp_path / 'mlflow.db'}").connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 1
