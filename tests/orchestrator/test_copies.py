"""Seeds that a user training does not use: its trials are copies, and nothing is tested by them."""

from pathlib import Path
from typing import Any

import pytest
from invented import digest, snapshot_of, spec_of

import orchestrator
from orchestrator.analysis.copies import are_copies
from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.trial import TrialRecord, TrialSpec

OWN = """
def train(*, a: float = 0.0, b: float = 0.0, is_seeded: bool = False, seed, log_metrics):
    luck = 0.01 * seed * (seed + 1) if is_seeded else 0.0
    for iteration in (1, 2):
        log_metrics({"acc": 50.0 + a + b + luck * iteration}, iteration)
    return {"acc": 90.0 + a + b + luck * (2 if b == 0.0 else 3), "train_seconds": 0.1 * seed}
"""
SPEC = """
name: copies
metric: {name: acc, mode: max}
seeds: [0, 1, 2, 3, 4, 5, 6, 7]
design: [roadmap, factorial]
baseline: {train: {name: "own_for_copies:train"}}
steps:
  - {name: seeded, change: {train.is_seeded: true}}
  - {name: a, change: {train.a: 1.0}}
  - {name: b, change: {train.b: 1.0}}
  - {name: unseeded, change: {train.is_seeded: false}}
"""
UNSEEDED = "[{name: a, change: {train.a: 1.0}}, {name: b, change: {train.b: 1.0}}]"


def written(folder: Path) -> Path:
    (folder / "own_for_copies.py").write_text(OWN)
    path = folder / "sweep.yaml"
    path.write_text(SPEC.replace(", factorial]", "]"))
    return path


@pytest.mark.slow
def test_a_training_that_does_not_use_its_seed_decides_nothing(tmp_path: Path) -> None:
    path = written(tmp_path)
    sweep = orchestrator.load(path, store=tmp_path / "runs")
    sweep.run("local", tracking=False)
    found = sweep.report().to_json()
    steps = {step["name"]: step["delta_previous"] for step in found["steps"]}
    assert {name: bool(delta and delta["verdict"]) for name, delta in steps.items()} == {
        "baseline": False,
        "seeded": False,
        "a": True,
        "b": True,
        "unseeded": False,
    }
    for name in ("seeded", "unseeded"):
        assert "exactly the same figures" in steps[name]["caveat"]
        kept = (steps[name]["p_value"], steps[name]["ci95"], steps[name]["detectable"])
        assert kept == (None, None, None)
    assert found["family"]["size"] == 2
    factorial = SPEC.partition("steps:")[0].replace("roadmap, ", "")
    path.write_text(f"{factorial}steps: {UNSEEDED}\n")
    sweep = orchestrator.load(path, store=tmp_path / "runs")
    sweep.run("local", tracking=False)
    [design] = sweep.report().to_json()["designs"]
    lines = design["effects"]
    assert lines
    for line in lines:
        assert line["p_value"] is None
        assert line["ci95"] is None
        assert "exactly the same figures" in line["caveat"]


def record(metrics: dict[str, Any], path: str = "") -> TrialRecord:
    result = {"outcome": "finished", "metrics": metrics, "best": {}}
    return TrialRecord(State.DONE, Outcome.FINISHED, result=result, path=path)


def with_curve(folder: Path, values: list[float]) -> TrialRecord:
    folder.mkdir()
    lines = [
        f'{{"iteration": {n}, "time": {n}, "metrics": {{"acc": {value}}}}}\n'
        for n, value in enumerate(values, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return record({"acc": values[-1]}, str(folder))


def test_what_differs_anywhere_is_no_copy_but_for_what_a_machine_decides(tmp_path: Path) -> None:
    [variant, *_] = load_spec(written(tmp_path)).variants
    same = {"acc": 1.0, "loss": 0.1}
    acc = ["acc"]
    assert are_copies(variant, [record(same), record(same)], acc)
    times = [record({**same, "fit_time": 1.0}), record({**same, "fit_time": 2.0})]
    assert are_copies(variant, times, acc)
    assert not are_copies(variant, times, ["fit_time"]), "the sweep is about time"
    assert not are_copies(variant, [record(same), record({**same, "loss": 0.2})], acc)
    assert not are_copies(variant, [record(same)], acc)
    assert not are_copies(variant, [], acc)
    perfect = [with_curve(tmp_path / str(n), [0.9 + n / 100, 1.0]) for n in range(2)]
    assert not are_copies(variant, perfect, acc), "they came to the same by different ways"


def test_our_own_trainings_use_their_seed(tmp_path: Path) -> None:
    spec: SweepSpec = spec_of(tmp_path, "steps: [{name: a, change: {model.depth: 3}}]", seeds=6)

    def record_of(trial: TrialSpec) -> TrialRecord:
        return record({"val/acc1": 10.0 if trial.variant == "a" else 70.0})

    roadmap = build_roadmap(snapshot_of(spec, trials_of(spec, digest), record_of))
    delta = roadmap.rows[1].delta_previous
    assert delta
    assert delta.is_decided
