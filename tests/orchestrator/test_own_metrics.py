"""What a user's function logs and returns: no iteration of its own for what it returns, and no
end by a side metric's NaN.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from illama.config import RuntimeConfig, resolve
from illama.config.imports import import_from
from illama.training.results import Diverged
from illama.training.trainer import train
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.metrics_file import MetricsLog
from orchestrator.store.trial_directory import TrialDirectory

CODE = """
def train(*, iterations: int = 3, logs: int = 3, bad: float = 0.0, seed, log_metrics):
    for i in range(1, logs + 1):
        log_metrics({"m": float(i), "side": 1.0 / (1 - bad) if bad < 1 else float("nan")}, i)
    return {"m": float(logs), "extra": 2.0, "lost": float("inf") if bad else 0.0}
"""
SPEC = """\
name: own
metric: {name: m, mode: max, also: [extra]}
seeds: [0]
baseline:
  train: {name: "own:train"}
reference: {m: 3.5, extra: 1}
steps:
  - name: more
    change: {train.logs: 2}
    reference: {extra: 2, m: 96, source: "a paper"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "own.yaml").write_text(SPEC)
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())  # forget it


def trained(compared: str | None = None, **options: Any) -> tuple[Any, dict[int, dict[str, float]]]:
    curve: dict[int, dict[str, float]] = {}

    def log(metrics: Any, iteration: int) -> None:
        curve[iteration] = dict(metrics)

    config = resolve({"train": {"name": "own:train", **options}})
    return train(config, runtime=RuntimeConfig(compared=compared), log_metrics=log), curve


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_what_is_returned_beside_the_last_metrics_has_no_iteration_of_its_own() -> None:
    result, curve = trained()
    assert (result.iterations, list(curve)) == (3, [1, 2, 3])
    assert result.final["extra"] == 2.0
    result, curve = trained(logs=2)
    assert (result.iterations, list(curve)) == (3, [1, 2, 3])
    result, curve = trained(logs=0)
    assert (result.iterations, curve) == (3, {3: {"m": 0.0, "extra": 2.0, "lost": 0.0}})


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_side_metric_that_is_not_finite_ends_no_training_of_a_sweep() -> None:
    result, curve = trained("m", bad=1)
    assert (result.final, curve[3]) == ({"m": 3.0, "extra": 2.0}, {"m": 3.0})
    with pytest.raises(Diverged, match="side"):
        trained("side", bad=1)
    with pytest.raises(Diverged, match="side"):
        trained(None, bad=1)


def test_the_last_line_of_a_curve_has_what_was_returned_as_well(tmp_path: Path) -> None:
    directory = TrialDirectory(tmp_path / "trial-12345678")
    directory.path.mkdir()
    log = MetricsLog(directory)
    log({"m": 1.0}, 1)
    log({"m": 2.0}, 2)
    log.add({"m": 2.0, "extra": 3.0}, 2)
    first, last = directory.metrics()
    assert (first["metrics"], last["metrics"]) == ({"m": 1.0}, {"m": 2.0, "extra": 3.0})
    assert (last["added"], directory.curve("extra")) == ({"extra": 3.0}, {2: 3.0})
    known = directory.last_metrics()
    assert known
    assert known["metrics"] == last["metrics"]
    size = directory.metrics_path.stat().st_size
    MetricsLog(directory).add({"m": 2.0, "extra": 3.0}, 2)  # again, after a crash
    assert directory.metrics_path.stat().st_size == size


@pytest.mark.slow
def test_a_reference_is_of_any_metric_that_the_sweep_shows(folder: Path) -> None:
    baseline, more = load_spec(folder / "own.yaml").road
    assert baseline.reference == {"value": 3.5, "source": "", "also": {"extra": 1.0}}
    assert more.reference == {"value": 96.0, "source": "a paper", "also": {"extra": 2.0}}


def test_an_iteration_may_be_logged_in_several_calls(tmp_path: Path) -> None:
    directory = TrialDirectory(tmp_path / "trial-00000000")
    directory.path.mkdir()
    log = MetricsLog(directory)
    for iteration in (1, 2):
        log({"train/loss": 2.0 / iteration}, iteration)
        log({"val/loss": 1.0 / iteration}, iteration)
        log({"val/acc": 90.0 + iteration, "system/cpu": 1.0}, iteration)
    whole = [line["metrics"] for line in directory.metrics()]
    assert [
        {name: line[name] for name in ("train/loss", "val/loss", "val/acc")} for line in whole
    ] == [
        {"train/loss": 2.0, "val/loss": 1.0, "val/acc": 91.0},
        {"train/loss": 1.0, "val/loss": 0.5, "val/acc": 92.0},
    ]
    assert directory.curve("val/acc") == {1: 91.0, 2: 92.0}
    written = directory.metrics_path.read_bytes()
    again = MetricsLog(directory)  # after a crash, with another machine's load
    for iteration in (1, 2):
        again({"train/loss": 3.0, "system/memory": 2.0}, iteration)
        again({"val/loss": 3.0}, iteration)
    assert directory.metrics_path.read_bytes() == written, "replaying adds nothing"
