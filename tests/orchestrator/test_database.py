"""The SQLite file that MLflow writes to."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.database import prepare_database

CREATE = "import sys; from orchestrator.tracking.database import prepare_database; prepare_database(sys.argv[1])"


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
