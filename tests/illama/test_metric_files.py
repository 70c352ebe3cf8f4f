"""Metrics of a command are read from the files that its own MLflow or TensorBoard calls write."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from test_command import run

from illama.config import UserCodeError, resolve
from illama.config.command import CommandTraining
from illama.config.imports import import_from
from illama.training.metric_files import READERS, MetricFiles, MlflowReader, Value
from illama.training.results import Stopped

MLFLOW = """
import sys, time
import mlflow

mlflow.log_param("lr", 0.1)
for step in range(1, 4):
    mlflow.log_metric("train/loss", 1 / step, step=step)
    mlflow.log_metric("acc", step + int(sys.argv[1]), step=step)
mlflow.log_metric("test/acc", 0.5, step=0)
"""
TENSORBOARD = """
import sys
import numpy as np
from torch.utils.tensorboard import SummaryWriter

writer = SummaryWriter("logs")
for step in range(1, 4):
    writer.add_scalar("train/loss", 1 / step, step)
    writer.add_scalar("acc", step + int(sys.argv[1]), step)
writer.add_histogram("weights", np.array([1.0, 2.0]), 3)
writer.close()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    beside = tmp_path / "spec"
    beside.mkdir()
    (beside / "mlflow_script.py").write_text(MLFLOW)
    (beside / "tensorboard_script.py").write_text(TENSORBOARD)
    import_from(beside)
    yield beside
    import_from(Path())


def training(kind: str, **train: Any) -> CommandTraining:
    command = f"python {kind}_script.py {{seed}}"
    found = resolve({"train": {"command": command, "metrics_from": kind, **train}, "seed": 1})
    assert isinstance(found, CommandTraining)
    return found


POINTS: list[tuple[dict[str, Any], int]] = [
    ({"train/loss": 1.0, "acc": 2.0}, 1),
    ({"train/loss": 0.5, "acc": 3.0}, 2),
    ({"train/loss": pytest.approx(1 / 3, rel=1e-6), "acc": 4.0}, 3),
]


@pytest.mark.slow
def test_mlflows_files_are_the_curves_and_the_final_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result, lines = run(training("mlflow"), tmp_path / "trial")
    assert [line for line in lines if line[1]] == POINTS
    assert result.final["acc"] == 4.0
    assert result.final["test/acc"] == 0.5


@pytest.mark.slow
def test_tensorboards_event_files_are_as_well(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result, lines = run(training("tensorboard"), tmp_path / "trial")
    assert lines == POINTS, "and no histogram"
    assert result.final == {"train/loss": pytest.approx(1 / 3), "acc": 4.0}


def test_without_tensorboard_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("illama.training.metric_files.find_spec", lambda name: None)
    with pytest.raises(UserCodeError, match="pip install tensorboard"):
        run(training("tensorboard"), tmp_path / "trial")


def test_it_is_part_of_what_the_training_is_only_where_it_is_given() -> None:
    plain = training("mlflow", metrics_from=None)
    assert "metrics_from" not in plain.identity["train"]
    assert training("mlflow").identity != plain.identity
    with pytest.raises(Exception, match="metrics_from"):
        training("mlflow", metrics_from="wandb")
    assert set(READERS) == {"mlflow", "tensorboard"}


class Files:
    """A reader that finds what a test says."""

    def __init__(self) -> None:
        self.found: list[Value] = []
        self.taken: list[Mapping[str, Any]] = []

    def __call__(self) -> Iterator[Value]:
        found, self.found = self.found, []
        return iter(found)


def test_a_point_is_passed_on_once_a_later_one_is_there_and_what_comes_late_is_final() -> None:
    reader = Files()
    files = MetricFiles(reader, reader.taken.append)
    reader.found = [(2, "a", 2.0), (1, "a", 1.0), (1, "b", 1.5)]
    files.look()
    assert reader.taken == [{"step": 1, "a": 1.0, "b": 1.5}]
    reader.found = [(2, "b", 2.5)]
    files.look()
    assert len(reader.taken) == 1, "looked just now"
    files.finish()
    assert reader.taken[1:] == [{"step": 2, "a": 2.0, "b": 2.5}]
    reader.found = [(1, "c", 9.0)]
    files.finish()
    assert reader.taken[2:] == [{"c": 9.0}]


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "0" / "run" / "metrics" / "val" / "acc"
    path.parent.mkdir(parents=True)
    path.write_text("1700 0.5 1\n1701 0.")
    reader = MlflowReader(tmp_path)
    assert list(reader()) == [(1, "val/acc", 0.5)]
    with path.open("a") as file:
        file.write("75 2\n")
    assert list(reader()) == [(2, "val/acc", 0.75)]


def test_interrupted_it_goes_on_with_the_points_of_both_attempts(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script writes MLflow's files itself, without MLflow's seconds."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("illama.training.metric_files._LOOK_SECONDS", 0.0)
    (folder / "mlflow_script.py").write_text("""
import os, sys, time
from urllib.parse import urlparse
attempt = len(os.listdir("."))
run = urlparse(os.environ["MLFLOW_TRACKING_URI"]).path + "/0/run%d/metrics" % attempt
os.makedirs(run)
done = int(open("done").read()) if os.path.exists("done") else 0
for step in range(done + 1, 5):
    with open(run + "/acc", "a") as file:
        file.write("1700 %d %d\\n" % (step * 10, step))
    with open("done", "w") as file:
        file.write(str(step))
    if step == 2 and not done:
        time.sleep(60)
""")

    def is_half_done() -> bool:
        return any(file.read_text() == "2" for file in (tmp_path / "trial").rglob("done"))

    with pytest.raises(Stopped):
        run(training("mlflow"), tmp_path / "trial", is_half_done)
    result, lines = run(training("mlflow"), tmp_path / "trial")
    assert lines == [({"acc": 10.0 * step}, step) for step in (1, 2, 3, 4)]
    assert result.final == {"acc": 40.0}
