"""Files of a user training, and what it logs by MLflow's own functions, come with its trial."""

import os
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from illama.config import RuntimeConfig, resolve
from illama.config.imports import import_from
from illama.training.trainer import train
from orchestrator.store import artifacts
from orchestrator.store.artifacts import artifacts_in
from orchestrator.store.own_mlflow import kept_in, params_in, points_in

COMMAND = """
import os, sys
open(os.path.join(os.environ["TRIAL_ARTIFACTS_DIR"], "by_variable.txt"), "w").write("1")
open(os.path.join(sys.argv[1], "by_placeholder.txt"), "w").write("1")
print("metric loss=1 epoch=1")
"""
FUNCTION = """
from argparse import ArgumentParser
from pathlib import Path

def parse_args():
    parser = ArgumentParser()
    parser.add_argument("--out", default="{artifacts_dir}/by_setting.txt")
    return parser.parse_args()

def main(args, artifacts_dir):
    Path(args.out).write_text("1")
    (artifacts_dir / "by_parameter.txt").write_text("1")
    return {"loss": 1.0}
"""
LOGS = """
def logs(*, log_metrics, artifacts_dir):
    import mlflow
    mlflow.log_param("size", 3)
    mlflow.log_metric("inner", 0.5, step=1)
    mlflow.log_metric("inner", 0.7, step=2)
    mlflow.log_text("hello", "notes/hello.txt")
    (artifacts_dir / "table.csv").write_text("a,b")
    log_metrics({"err": 1.0}, 1)
    return {"err": 1.0}
"""
SPEC = """\
name: own
metric: {name: err, mode: min}
seeds: [0]
baseline:
  train: {name: "logging_training:logs"}
"""


def trained(folder: Path, **settings: Any) -> Path:
    import_from(folder)
    config = resolve({"train": settings, "seed": 0}, None)
    trial = folder / "trial"
    train(
        config,
        runtime=RuntimeConfig(device="cpu"),
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=trial,
        should_stop=lambda: False,
    )
    return trial


def names(trial: Path) -> list[str]:
    return [artifact.name for artifact in artifacts_in(trial).shown]


def test_a_function_is_given_a_folder_by_parameter_and_in_its_settings(tmp_path: Path) -> None:
    (tmp_path / "leaves_files.py").write_text(FUNCTION)
    trial = trained(tmp_path, name="leaves_files:main")
    assert names(trial) == ["by_parameter.txt", "by_setting.txt"]


@pytest.mark.slow
def test_a_command_is_given_a_folder_by_placeholder_and_by_variable(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(COMMAND)
    trial = trained(tmp_path, command="python leaves.py {artifacts_dir} {seed}")
    assert names(trial) == ["by_placeholder.txt", "by_variable.txt"]


def test_what_is_shown_is_bounded_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MOST_FILES", 2)
    monkeypatch.setattr(artifacts, "MOST_BYTES", 1000)
    folder = tmp_path / artifacts.FOLDER
    folder.mkdir()
    for name, size in {"a": 10, "b": 2000, "c": 10, "d": 10}.items():
        (folder / name).write_bytes(bytes(size))
    (folder / "link").symlink_to("a")
    found = artifacts_in(tmp_path)
    assert [one.name for one in found.shown] == ["a", "c"]
    assert found.remark == ("2 files left out: at most 2 files and 1.0 kB of a trial are shown")


def test_the_environment_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    monkeypatch.setenv("MLFLOW_RUN_ID", "1")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    before = dict(os.environ)
    with kept_in(tmp_path):
        assert os.environ["MLFLOW_TRACKING_URI"].startswith("file://")
        assert "MLFLOW_RUN_ID" not in os.environ
    assert dict(os.environ) == before


def test_of_a_step_that_was_logged_again_after_an_interruption_the_newest_counts(
    tmp_path: Path,
) -> None:
    for place, value in enumerate(("0.5", "0.6")):
        run = tmp_path / "mlflow" / "0" / f"run{place}"
        (run / "metrics").mkdir(parents=True)
        (run / "params").mkdir()
        (run / "meta.yaml").touch()
        (run / "metrics" / "acc").write_text(f"{place} {value} 1\n{place} 0.4 0\n17 0.")
        (run / "params" / "lr").write_text(value)
        os.utime(run)
    found = [(point.step, point.value, point.time) for point in points_in(tmp_path)]
    assert found == [(0, 0.4, 1), (1, 0.6, 1)]
    assert params_in(tmp_path) == {"lr": "0.6"}


@pytest.mark.slow
def test_what_a_training_logs_itself_comes_into_its_trials_run_and_report(
    tmp_path: Path,
    cli: Any,
    store_path: Path,
    new_mlflow: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = new_mlflow()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logging_training.py").write_text(LOGS)
    (tmp_path / "own.yaml").write_text(SPEC)
    options = ("--store", store_path)
    ran = cli("run", "own.yaml", *options, "--executor", "local")
    assert ran.code == 0, ran.err
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("own").experiment_id
    (run,) = [
        run for run in client.search_runs([experiment]) if run.info.run_name == "baseline-seed0"
    ]
    history = client.get_metric_history(run.info.run_id, "inner")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.7)]
    assert run.data.tags["own.size"] == "3"
    files = {file.path for file in client.list_artifacts(run.info.run_id, "artifacts")}
    assert files == {"artifacts/notes", "artifacts/table.csv"}
    assert not any(Path(name).exists() for name in ("mlruns", "mlflow.db"))
    told = cli("report", "own", *options, "--format", "json").json
    assert told["steps"][0]["artifacts"] == {"0": ["notes/hello.txt", "table.csv"]}
    assert "table.csv" in cli("report", "own", *options, "--format", "html").out
