"""Measurements of finished networks: asked for by a spec, taken once, shown in the report."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from illama import checkpoint
from orchestrator.driver import Job, report_sweep, run_sweep
from orchestrator.errors import SpecError, UsageError
from orchestrator.executors.local import run_locally
from orchestrator.measuring import Measured, measure_sweep, measurements_of
from orchestrator.report.formats import render
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.measurements import read_measurement
from orchestrator.store.store import Store

SPEC = """
name: measured
seeds: [0, 1]
measure: [{name: "mine:probe", scale: 2.0}, "mine:broken"]
baseline:
  model: {name: vit_digits, embed_dim: 8, depth: 1, num_heads: 1}
  data: {name: digits}
  train: {epochs: 1, batch_size: 128, lr: 4e-3}
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
"""
MINE = '''
from pathlib import Path
def probe(network, data, device, seed, *, scale: float = 1.0):
    """Counts how often it was called in a file beside the data."""
    with (Path(__file__).parent / "calls.txt").open("a") as file:
        file.write("called\\n")
    images = sum(len(labels) for _, labels in data.held_out())
    return {"images": scale * images, "params": sum(p.numel() for p in network.parameters())}
def broken(network, data, device, seed):
    raise RuntimeError("<b>no</b> such thing")
'''


def _job(spec: Path, store: Path, *, retry_failed: bool = False) -> Job:
    return Job(load_spec(spec), Store(store), run_locally, None, retry_failed=retry_failed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the spec, its code and a store in which everything is trained, not measured."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "mine.py").write_text(MINE, "utf-8")
    (folder / "spec.yaml").write_text(SPEC, "utf-8")
    run_sweep(_job(folder / "spec.yaml", folder / "runs"))
    return folder


def _measure(folder: Path, **options: Any) -> Measured:
    return measure_sweep(_job(folder / "spec.yaml", folder / "runs", **options))


def _calls(folder: Path) -> int:
    path = folder / "runs" / "measured" / "calls.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def measured(trained: Path) -> tuple[Path, Measured]:
    return trained, _measure(trained)


def test_each_network_is_measured_and_a_failing_measure_fails_alone(
    measured: tuple[Path, Measured],
) -> None:
    folder, ending = measured
    assert (ending.asked, ending.taken, len(ending.failures)) == (8, 4, 4)
    files = sorted((folder / "runs").glob("measured/trials/*/measures/*.json"))
    states = [read_measurement(path).state for path in files]
    assert sorted(states) == ["failed"] * 4 + ["measured"] * 4
    assert "RuntimeError: <b>no</b> such thing" in set(ending.failures.values())


def test_what_was_measured_is_not_measured_again(measured: tuple[Path, Measured]) -> None:
    folder, _ = measured
    before = _calls(folder)
    assert _measure(folder).taken == 0
    assert _calls(folder) == before == 4


def test_what_was_interrupted_is_measured_and_nothing_else(
    measured: tuple[Path, Measured],
) -> None:
    folder, _ = measured
    spec = load_spec(folder / "spec.yaml")
    _, asked = measurements_of(spec, Store(folder / "runs"))
    one = next(one for one in asked if one.label == "mine:probe")
    one.path.write_bytes(one.path.read_bytes()[:100])  # a disk that lost the rest
    before = _calls(folder)
    assert _measure(folder).taken == 1
    assert _calls(folder) == before + 1


def test_the_report_describes_the_numbers_and_tests_none(measured: tuple[Path, Measured]) -> None:
    folder, _ = measured
    roadmap = report_sweep(load_spec(folder / "spec.yaml"), Store(folder / "runs"))
    steps = roadmap.to_json()["steps"]
    found = steps[1]["measures"]["mine:probe"]
    assert found["images"]["values"] == {"0": 900.0, "1": 900.0}
    gains = 3 * 8  # of three layer norms, which have a bias beside the gain
    assert found["params"]["delta_previous"]["mean"] == -gains
    assert "p_value" not in found["params"]["delta_previous"]
    assert roadmap.family.size == 1, "the step's effect on the metric, and nothing else"


@pytest.mark.parametrize("form", ["table", "md", "latex", "html", "json"])
def test_every_format_shows_the_measures(measured: tuple[Path, Measured], form: str) -> None:
    folder, _ = measured
    roadmap = report_sweep(load_spec(folder / "spec.yaml"), Store(folder / "runs"))
    text = render(roadmap, form).decode()
    assert "mine:probe" in text
    assert "900" in text
    if form == "html":
        assert "<b>no</b>" not in text, "what an error says is text, not markup"
    if form == "json":
        json.loads(text)


def test_a_spec_without_measures_cannot_be_measured(tmp_path: Path) -> None:
    text = "\n".join(line for line in SPEC.splitlines() if not line.startswith("measure"))
    (tmp_path / "spec.yaml").write_text(text, "utf-8")
    with pytest.raises(UsageError, match="asks for no measure"):
        measure_sweep(_job(tmp_path / "spec.yaml", tmp_path / "runs"))


def test_problems_of_measures_are_told_at_their_places(tmp_path: Path) -> None:
    text = SPEC.replace(
        '[{name: "mine:probe", scale: 2.0}, "mine:broken"]',
        "[calibrtion, calibration, calibration, {name: calibration, bins: few}]",
    )
    (tmp_path / "spec.yaml").write_text(text, "utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "spec.yaml")
    told = str(caught.value)
    assert "spec.yaml:4:11: there is no measure 'calibrtion'" in told
    assert "spec.yaml:4:49: measure calibration: bins" in told


def test_asking_for_measures_changes_no_trial(trained: Path, tmp_path: Path) -> None:
    from orchestrator.planning.survey import survey

    plain = "\n".join(line for line in SPEC.splitlines() if not line.startswith("measure"))
    (tmp_path / "spec.yaml").write_text(plain, "utf-8")
    prints = [
        [trial.fingerprint for trial in survey(load_spec(path), Store(tmp_path)).specs]
        for path in (tmp_path / "spec.yaml", trained / "spec.yaml")
    ]
    assert prints[0] == prints[1]


@pytest.mark.slow
def test_mlflow_has_the_numbers_on_the_trial_s_run_whenever_they_were_taken(
    measured: tuple[Path, Measured], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    from orchestrator.driver import sync_sweep

    folder, _ = measured
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    spec, store = load_spec(folder / "spec.yaml"), Store(folder / "runs")
    hidden = [path.rename(path.with_suffix(".later")) for path in _files(folder)]
    sync_sweep(spec, store, uri)
    assert not _tracked(MlflowClient(uri))
    for path in hidden:
        path.rename(path.with_suffix(".json"))
    for _ in range(2):  # the second time nothing is new, and nothing is taken for damage
        sync_sweep(spec, Store(folder / "runs"), uri)
        assert _tracked(MlflowClient(uri)) == {"measure/mine:probe scale 2.0/images": 900.0}


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "runs").glob("measured/trials/*/measures/*.json"))


def _tracked(client: Any) -> dict[str, float]:
    """Numbers of images that runs have, by the names of their metrics."""
    (experiment,) = [one for one in client.search_experiments() if one.name == "measured"]
    runs = client.search_runs([experiment.experiment_id])
    metrics = [run.data.metrics for run in runs]
    found = {name: value for one in metrics for name, value in one.items()}
    return {name: value for name, value in found.items() if re.fullmatch("measure/.*/images", name)}


CALIBRATED = SPEC.replace('[{name: "mine:probe", scale: 2.0}, "mine:broken"]', "[calibration]")


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("of another", "the checkpoint belongs to other settings: seed is 1 there and 0 here"),
        ("cut", "is of iteration"),
        ("gone", "there is no whole checkpoint in"),
    ],
)
def test_a_network_that_is_not_the_one_the_trial_ended_with_is_not_measured(
    trained: Path, tmp_path: Path, damage: str, cause: str
) -> None:
    (tmp_path / "spec.yaml").write_text(CALIBRATED, "utf-8")
    shutil.copytree(trained / "runs", tmp_path / "runs")
    [own] = (tmp_path / "runs").glob("measured/trials/baseline-seed0-*")
    [other] = (tmp_path / "runs").glob("measured/trials/baseline-seed1-*")
    newest = own / "checkpoint.pt"
    if damage == "of another":
        for path in other.glob("checkpoint*"):
            shutil.copy(path, own)
    elif damage == "cut":  # the one before is whole, and of an earlier iteration
        state = checkpoint.load(own)
        assert state is not None
        state["progress"]["iteration"] -= 1
        checkpoint.save(own, state)
    else:
        newest.unlink()
    ending = _measure(tmp_path)
    [(name, told)] = ending.failures.items()
    assert name == "calibration of baseline-seed0"
    assert cause in told
    assert ending.taken == 3, "it fails alone"
