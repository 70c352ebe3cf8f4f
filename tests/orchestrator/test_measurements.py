"""Measurements of finished networks: asked for by a spec, taken once, shown in the report."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from illama import checkpoint
from orchestrator.driver import Job, report_sweep, run_sweep
from orchestrator.errors import SpecError, SweepInUse, UsageError
from orchestrator.executors.local import run_locally
from orchestrator.measuring import Measured, measure_sweep, measurements_of
from orchestrator.report.formats import render
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.lease import Lease
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_sweep_that_is_being_run_is_not_measured_beside_it(
    measured: tuple[Path, Measured],
) -> None:
    folder, _ = measured
    with (
        Lease(Store(folder / "runs").sweep_path("measured")),
        pytest.raises(SweepInUse, match="'measured' is being run by process"),
    ):
        _measure(folder)


@pytest.mark.slow
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
    with pytest.raises(UsageError, match="has no measures"):
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("of another", "the checkpoint belongs to different settings: seed is 1 there and 0 here"),
        ("cut", "is of iteration"),
        ("gone", "there is no complete checkpoint in"),
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


ALONG = """
name: along
seeds: [0, 1]
measure: [{name: "mine:probe", every: 2}, {name: calibration, every: 4}]
baseline:
  model: {name: vit_digits, embed_dim: 8, depth: 1, num_heads: 1}
  data: {name: digits}
  train: {epochs: 5, batch_size: 128, lr: 4e-3}
"""
COUNTS_EPOCHS = """
from pathlib import Path
def probe(network, data, device, seed):
    with (Path(__file__).parent / "calls.txt").open("a") as file:
        file.write("called\\n")
    return {"size": sum(float(p.detach().abs().sum()) for p in network.parameters()),
            "epochs": len(data.curve())}
"""


@pytest.fixture(scope="module")
def along(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep that was trained and measured along its trainings."""
    folder = tmp_path_factory.mktemp("along")
    (folder / "mine.py").write_text(COUNTS_EPOCHS, "utf-8")
    (folder / "spec.yaml").write_text(ALONG, "utf-8")
    run_sweep(_job(folder / "spec.yaml", folder / "runs"))
    ending = _measure(folder)
    assert (ending.asked, ending.taken) == (2 * (3 + 2), 10), "epochs 2, 4 and 5; 4 and 5"
    return folder


def test_a_measure_is_taken_along_the_training_of_the_networks_of_these_epochs(along: Path) -> None:
    spec, store = load_spec(along / "spec.yaml"), Store(along / "runs")
    step = report_sweep(spec, store).to_json()["steps"][0]
    found = step["measures"]["mine:probe"]
    assert found["epochs"]["mean"] == 5
    assert {epoch: one["mean"] for epoch, one in found["epochs"]["along"].items()} == {
        "2": 2.0,
        "4": 4.0,
    }, "the curve ends where the network was taken"
    sizes = [one["values"]["0"] for one in found["size"]["along"].values()]
    assert len({*sizes, found["size"]["values"]["0"]}) == 3, "three networks"
    assert list(step["measures"]["calibration"]["ece"]["along"]) == ["4"]
    page = render(report_sweep(spec, store), "html").decode()
    assert "During training" in page
    assert "mine:probe along the training of size" in page


def test_along_the_training_nothing_is_measured_twice(along: Path) -> None:
    calls = (along / "runs" / "along" / "calls.txt").read_text()
    assert _measure(along).taken == 0
    assert (along / "runs" / "along" / "calls.txt").read_text() == calls


def test_a_training_that_kept_no_epochs_is_measured_at_its_end_and_the_report_says_so(
    trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    text = CALIBRATED.replace("[calibration]", "[{name: calibration, every: 1}]")
    (tmp_path / "spec.yaml").write_text(text.replace("epochs: 1,", "epochs: 2,"), "utf-8")
    job = _job(tmp_path / "spec.yaml", tmp_path / "runs")
    run_sweep(job)
    [kept] = (tmp_path / "runs").glob("measured/trials/baseline-seed0-*/epochs")
    shutil.rmtree(kept)
    assert _measure(tmp_path).asked == 4 + 3
    roadmap = report_sweep(job.spec, job.store)
    assert roadmap.measured[0].missing_along == 1
    assert "1 networks were not measured during training" in render(roadmap, "md").decode()


def test_asking_along_the_training_changes_no_trial_and_every_is_checked(tmp_path: Path) -> None:
    from orchestrator.planning.survey import survey

    plain = ALONG.replace(", every: 2", "").replace(", every: 4", "")
    (tmp_path / "mine.py").write_text(COUNTS_EPOCHS, "utf-8")
    trials = []
    for text in (ALONG, plain):
        (tmp_path / "spec.yaml").write_text(text, "utf-8")
        trials.append(survey(load_spec(tmp_path / "spec.yaml"), Store(tmp_path)).specs)
    with_epochs, without = trials
    assert [one.fingerprint for one in with_epochs] == [one.fingerprint for one in without]
    assert {one.runtime.keep_every for one in with_epochs} == {2}, "both 2 and 4"
    assert {one.runtime.keep_every for one in without} == {None}
    (tmp_path / "spec.yaml").write_text(ALONG.replace("every: 2", "every: 0"), "utf-8")
    with pytest.raises(SpecError, match=r"spec.yaml:4:11: measure mine:probe: every is the number"):
        load_spec(tmp_path / "spec.yaml")


def test_mlflow_gets_the_curve_along_the_training(along: Path) -> None:
    from orchestrator.store.trial_directory import TrialDirectory
    from orchestrator.tracking.trials import _measured_points

    [folder] = (along / "runs").glob("along/trials/baseline-seed0-*")
    directory = TrialDirectory(folder)
    record = directory.record()
    points = _measured_points(directory, record)
    of_probe = [p.iteration for p in points if p.key == "measure/mine:probe/epochs"]
    an_epoch = record.iteration // 5
    assert of_probe == [2 * an_epoch, 4 * an_epoch, 5 * an_epoch]


def test_the_plan_counts_measurements_of_networks_that_are_there_and_to_come(
    measured: tuple[Path, Measured], tmp_path: Path
) -> None:
    from orchestrator.planning.plan import make_plan
    from orchestrator.planning.survey import survey
    from orchestrator.report.overview import _estimate_text

    folder, _ = measured
    spec = load_spec(folder / "spec.yaml")
    plan = make_plan(survey(spec, Store(folder / "runs")))
    assert plan.to_json()["measures"] == {
        "mine:probe": {"networks": 4, "measured": 4, "failed": 0},
        "mine:broken": {"networks": 4, "measured": 0, "failed": 4},
    }
    assert "0 measurements to make; done so far: mine:probe 4 of 4" in _estimate_text(plan)
    (tmp_path / "mine.py").write_text(COUNTS_EPOCHS, "utf-8")
    (tmp_path / "spec.yaml").write_text(ALONG, "utf-8")
    empty = make_plan(survey(load_spec(tmp_path / "spec.yaml"), Store(tmp_path / "runs")))
    assert [one.left for one in empty.measures] == [6, 4], "along two trainings, and at their ends"


MIXED = """
name: mixed
seeds: [0]
measure: [calibration, attention_rank, segmentation]
baseline:
  model: {name: vit_digits, embed_dim: 12, depth: 1, num_heads: 3}
  data: {name: digits}
  train: {epochs: 1, batch_size: 128, lr: 4e-3}
steps:
  - name: agent
    change: {model.mixer: agent}
"""
MIXER = """
from torch import nn
def create() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


def test_a_measure_that_a_network_cannot_have_is_told_by_the_plan_at_its_place(
    tmp_path: Path,
) -> None:
    (tmp_path / "spec.yaml").write_text(MIXED, "utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "spec.yaml")
    assert "spec.yaml:4:24: measure attention_rank needs attention maps in every block" in str(
        caught.value
    )
    assert "the mixer agent of 'agent' does not have" in str(caught.value)
    assert "segmentation" not in str(caught.value), "it reads patches, whatever mixes them"
    (tmp_path / "others.py").write_text(MIXER, "utf-8")
    text = MIXED.partition("steps:")[0].replace(
        "[calibration, attention_rank, seg", "[calibration, seg"
    )
    text = text.replace(
        "{name: vit_digits, embed_dim: 12, depth: 1, num_heads: 3}", '{name: "others:create"}'
    )
    (tmp_path / "spec.yaml").write_text(text, "utf-8")
    with pytest.raises(
        SpecError, match=r"spec.yaml:4:24: measure segmentation reads the blocks of"
    ):
        load_spec(tmp_path / "spec.yaml")


SLOW = """
import time
from pathlib import Path
def slow(network, data, device, seed):
    with (Path(__file__).parent / "calls.txt").open("a") as file:
        file.write("called\\n")
    time.sleep(1.0)
    return {"one": 1.0}
"""


@pytest.mark.slow
def test_killed_in_the_middle_of_measuring_nothing_is_measured_twice(
    trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    (tmp_path / "mine.py").write_text(SLOW, "utf-8")
    text = SPEC.replace('[{name: "mine:probe", scale: 2.0}, "mine:broken"]', '["mine:slow"]')
    (tmp_path / "spec.yaml").write_text(text, "utf-8")
    command = [sys.executable, "-m", "orchestrator", "measure", str(tmp_path / "spec.yaml")]
    command += ["--store", str(tmp_path / "runs"), "--executor", "local", "--no-tracking"]
    calls = tmp_path / "runs" / "measured" / "calls.txt"
    calls.unlink(missing_ok=True)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while _calls(tmp_path) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    paths = [path for path in _files(tmp_path) if path.name.startswith("mine_slow")]
    done = {path: path.stat().st_mtime_ns for path in paths if _is_measured(path)}
    assert len(done) == 1, "it was killed while the second was measured"
    assert _measure(tmp_path).taken == 3
    assert _calls(tmp_path) == 5, "the one that was cut off, and no other, a second time"
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())


def _is_measured(path: Path) -> bool:
    return read_measurement(path).state == "measured"
