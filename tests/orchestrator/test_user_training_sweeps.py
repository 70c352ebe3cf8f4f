"""A sweep over somebody's own training function: mistakes told at their place, every way to end,
the same bits after a kill.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from test_user_function_sweeps import problems_in

from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.spec.warnings import warnings_of
from orchestrator.tracking.shape import params_of
from orchestrator.trial import TrialSpec

DOCS = Path(__file__).parents[2] / "docs" / "own_training"
OWN = """
import time
from dataclasses import dataclass
import torch
from illama import checkpoint
from parts import shrunk

@dataclass
class Optimizer:
    lr: float = 0.1

def train(*, depth: int = 2, optimizer: Optimizer = Optimizer(), iterations: int = 4, nap: float = 0.0, soft_mask: str = "",
          seed, log_metrics, checkpoint_dir, should_stop, device):
    print("what the user prints")
    state = checkpoint.load(checkpoint_dir) or {"x": torch.rand(4), "at": 0}
    x, at = state["x"], state["at"]
    while at < iterations:
        if should_stop():
            checkpoint.save(checkpoint_dir, {"x": x, "at": at})
            return None
        x, at = shrunk(x, depth * optimizer.lr) + torch.rand(4, generator=torch.Generator().manual_seed(seed * 100 + at)), at + 1
        time.sleep(nap)
        log_metrics({"err": x.norm()}, at)
        checkpoint.save(checkpoint_dir, {"x": x, "at": at})
    return {"err": x.norm(), "params": 10 * depth}

def ends(*, how: str = "well"):
    if how == "raises":
        raise ArithmeticError("no luck")
    if how == "memory":
        raise MemoryError
    return {"other" if how == "another" else "err": float("nan") if how == "nan" else 1.0}
"""
PARTS = "def shrunk(x, share):\n    return x * (1 - share)\n"
HEAD = """\
name: own
metric: {name: err, mode: min}
seeds: [0, 1]
baseline:
  train: {name: "own:train", depth: 1}
"""
STEPS = """\
steps:
  - name: deeper
    change: {train.depth: 3}
    side:
      soft: {train.soft_mask: linear, train.depth: 2}
  - name: slower
    change: {train.optimizer: {lr: 0.01}}
"""


@pytest.fixture
def folder(weird_path: Path) -> Path:
    (weird_path / "own.py").write_text(OWN)
    (weird_path / "parts.py").write_text(PARTS)
    return weird_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    def write(text: str = HEAD + STEPS) -> Path:
        (folder / "own.yaml").write_text(text)
        return folder / "own.yaml"

    return write


def trials(spec: SweepSpec) -> list[TrialSpec]:
    return trials_of(spec, lambda data: "")


@pytest.mark.slow
def test_a_sweep_runs_to_its_roadmap_in_mlflow_and_a_second_run_has_nothing_to_do(
    cli: Any, write: Any, store_path: Path, new_mlflow: Any
) -> None:
    uri, options = new_mlflow(), ("--store", store_path)
    spec = write(HEAD + "design: [roadmap, leave_one_out]\n" + STEPS)
    ran = cli("run", spec, *options, "--executor", "local")
    assert (ran.code, "what the user prints" in ran.out) == (0, False), ran.err
    planned = cli("plan", spec, *options, "--json").json
    assert {(trial["action"], trial["params"], trial["flops"]) for trial in planned["trials"]} >= {
        ("done", None, None)
    }
    assert [warning["code"] for warning in planned["warnings"]] == ["few-seeds"]
    steps = {
        step["name"]: step
        for step in cli("report", "own", *options, "--format", "json").json["steps"]
    }
    assert [steps[name]["params"] for name in ("baseline", "deeper", "soft", "slower")] == [
        10,
        30,
        20,
        30,
    ]
    assert all(
        step["outcomes"] == {"finished": 2} and step["best_epoch_mean"] <= step["mean"]
        for step in steps.values()
    )
    by_best = cli(
        "report",
        write(HEAD.replace("mode: min", "mode: min, epoch: best") + STEPS),
        *options,
        "--format",
        "json",
    ).json["steps"][0]
    assert by_best["mean"] == steps["baseline"]["best_epoch_mean"]
    write(HEAD + "design: [roadmap, leave_one_out]\n" + STEPS)
    page = cli("report", "own", *options, "--format", "html").out
    assert "<summary>parts.py</summary>" in page
    assert "err at the end of training" in page
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("own").experiment_id])
    assert {
        run.data.params["train.depth"] for run in runs if run.data.params.get("step") == "deeper"
    } == {"3", "2", "1"}
    refused = cli("register", "own", *options)
    assert (refused.code, "own:train is your own training function" in refused.err) == (2, True), (
        refused
    )


@pytest.mark.slow
def test_a_search_and_its_pruning_work_by_iterations(
    cli: Any, write: Any, store_path: Path
) -> None:
    search = (
        "search: {space: {train.depth: [1, 2, 3, 4, 5, 6]}, sampler: grid, at_once: 3, "
        "prune: {after: 1}}\n"
    )
    spec = write(HEAD + search)
    ran = cli("run", spec, "--store", store_path, "--executor", "local", "--no-tracking")
    assert ran.code == 0, ran.err
    [found] = cli("plan", spec, "--store", store_path, "--json").json["searches"]
    assert found["chosen"] == {"train.depth": 6}
    assert len(found["trials"]) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "outcome", "cause"),
    [
        ("raises", 1, "failed", "ArithmeticError: no luck"),
        ("memory", 1, "out_of_memory", "MemoryError: "),
        ("nan", 0, "diverged", "err is nan after iteration 0"),
        (
            "another",
            1,
            "failed",
            "own:ends returned other, but the sweep compares err: change 'metric', which needs no "
            "new training",
        ),
    ],
)
def test_every_way_to_end_is_an_outcome(
    cli: Any, write: Any, store_path: Path, how: str, code: int, outcome: str, cause: str
) -> None:
    spec = write(HEAD.replace('"own:train", depth: 1', f'"own:ends", how: {how}'))
    assert (
        cli(
            "run",
            spec,
            "--store",
            store_path,
            "--executor",
            "local",
            "--no-tracking",
            "--seeds",
            "0",
        ).code
        == code
    )
    trial = cli("status", spec, "--store", store_path, "--json").json["trials"][0]
    assert (trial["outcome"], trial["attempts"]) == (outcome, 1)
    assert cause in trial["cause"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "replaced", "expected"),
    [
        ("depth: 1}", "dept: 1}", "5:30: unknown key 'dept'; did you mean 'depth'?"),
        ("depth: 1}", "seed: 1}", "5:30: unknown key 'seed'; allowed: "),
        ("depth: 1}", "depth: deep}", "5:37: train.depth: it should be a valid integer"),
        (
            "own:train",
            "own:trian",
            "5:17: module 'own' has no function 'trian'; did you mean 'train'?",
        ),
        ('"own:train"', "own", "5:17: there is no training 'own'"),
        (
            "depth: 3",
            "dept: 3",
            "8:14: there is no setting 'train.dept'; did you mean 'train.depth'?",
        ),
        (
            "train.depth: 3",
            "model.norm: rmsnorm",
            "there is no setting 'model.norm'",
        ),
        (
            "  train:",
            "  model: {name: vit_digits}\n  train:",
            "5:17: all settings of own:train are its parameters",
        ),
        ("{name: err, mode: min}", "{name: err}", "2:9: key 'mode' is missing"),
        (
            "metric: {name: err, mode: min}\n",
            "",
            "key 'metric' is missing: name the metric returned by own:train",
        ),
        (
            "depth: 3}",
            "depth: 3}\n    expect: collapse",
            "9:13: it is not measured whether the output of own:train depends on its input",
        ),
        (
            "seeds:",
            "resources: {nodes: 2}\nseeds:",
            "3:20: own:train runs as one process on one node",
        ),
        (
            "seeds:",
            "runtime: {processes: 2}\nseeds:",
            "3:11: runtime.processes applies to the built-in training only",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(
    write: Any, found: str, replaced: str, expected: str
) -> None:
    problems = problems_in(write((HEAD + STEPS).replace(found, replaced, 1)))
    assert any(expected in problem for problem in problems), problems


def test_a_function_that_raises_at_import_is_told_without_a_traceback(
    cli: Any, write: Any, folder: Path
) -> None:
    (folder / "own.py").write_text("import torch\n1 / 0\n")
    ended = cli("plan", write(), "--json")
    assert (ended.code, ended.out, "Traceback" in ended.err) == (2, "", False)
    assert (
        "own.yaml:5:17: importing 'own' raised ZeroDivisionError: division by zero (own.py, line 2)"
        in ended.err
    )


@pytest.mark.slow
def test_the_fingerprint_is_the_function_its_code_all_its_settings_and_the_seed(
    write: Any, folder: Path
) -> None:
    def prints() -> list[str]:
        return [trial.fingerprint for trial in trials(load_spec(write()))]

    before = prints()
    assert len(set(before)) == len(before) == 8
    assert prints() == before
    for name, text in (("own.py", OWN + "# edited\n"), ("parts.py", PARTS + "# edited\n")):
        (folder / name).write_text(text)
        assert prints() == before
        (folder / name).write_text(text + "edited = True\n")
        assert not set(prints()) & set(before)
        (folder / name).write_text({"own.py": OWN, "parts.py": PARTS}[name])
    (folder / "own.py").write_text("NUMERICS_VERSION = 1\n" + OWN)
    declared = prints()
    (folder / "own.py").write_text("NUMERICS_VERSION = 1\n" + OWN + "# edited\n")
    assert prints() == declared
    (folder / "own.py").write_text(
        "NUMERICS_VERSION = 1\n" + OWN.replace("iterations: int = 4", "iterations: int = 5")
    )
    assert not set(prints()) & set(declared)


@pytest.mark.slow
def test_a_trial_survives_its_files_and_shares_no_process_settings_with_ours(write: Any) -> None:
    spec = load_spec(write(HEAD + STEPS + "resources: {cpus: 2, gpus: 2}\n"))
    trial = trials(spec)[-1]
    assert TrialSpec.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    assert (trial.runtime.processes, trial.runtime.num_threads, trial.with_half_the_memory) == (
        1,
        2,
        None,
    )
    assert (trial.reached(2), trial.reached(9), trial.reached_text(2)) == (
        2.0,
        4.0,
        "iteration 2/4",
    )
    assert {warning.code for warning in warnings_of(spec)} == {"few-seeds"}
    assert params_of(spec, spec.variants[-1])["train.optimizer.lr"] == "0.01"


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_with_the_bits_of_an_undisturbed_one(
    cli: Any, write: Any, process: Any, wait_until: Any, store_path: Path
) -> None:
    spec = write(HEAD.replace("depth: 1", "iterations: 30, nap: 0.02"))
    command = ("run", spec, "--executor", "local", "--no-tracking", "--seeds", "1")
    driver = process(*command, "--store", store_path)
    wait_until(
        lambda: any(len(lines(path)) > 5 for path in store_path.glob("own/trials/*/metrics.jsonl")),
        "lines",
        driver,
    )
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    [killed] = store_path.glob("own/trials/*")
    assert 5 < len(lines(killed / "metrics.jsonl")) < 30
    assert cli(*command, "--store", store_path).code == 0
    assert cli(*command, "--store", store_path / "undisturbed").code == 0
    [undisturbed] = (store_path / "undisturbed").glob("own/trials/*")
    assert lines(killed / "metrics.jsonl") == lines(undisturbed / "metrics.jsonl")
    results = [json.loads((path / "result.json").read_text()) for path in (killed, undisturbed)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert [result["attempts"] for result in results] == [2, 1]


def lines(path: Path) -> list[tuple[int, float]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["iteration"], line["metrics"]["err"]) for line in found]


@pytest.mark.slow
def test_the_example_of_the_documentation_learns(
    cli: Any, tmp_path: Path, store_path: Path
) -> None:
    settings = yaml.safe_load((DOCS / "charlm.yaml").read_text())
    settings["seeds"] = [0]
    settings["baseline"]["train"] |= {
        "iterations": 50,
        "lr": 1e-2,
        "depth": 1,
        "dim": 16,
        "context": 16,
    }
    (tmp_path / "charlm.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (tmp_path / "charlm.py").write_bytes((DOCS / "charlm.py").read_bytes())
    ran = cli(
        "run",
        tmp_path / "charlm.yaml",
        "--store",
        store_path,
        "--no-tracking",
        "--executor",
        "local",
    )
    assert ran.code == 0, ran.err
    steps = cli("report", tmp_path / "charlm.yaml", "--store", store_path, "--format", "json").json[
        "steps"
    ]
    assert {name for step in steps for name in step["outcomes"]} == {"finished"}
    assert all(step["mean"] < 6 for step in steps)  # a guess among 128 characters has 7 bits


@pytest.mark.slow
def test_the_specs_of_the_documentation_plan() -> None:
    text = (DOCS.parent / "own_training.md").read_text()
    spec = (DOCS / "charlm.yaml").read_text()
    shown = spec[spec.index("metric:") : spec.index("\nresources:")]
    assert f"```yaml\n{shown}```" in text
    assert len(load_spec(DOCS / "charlm.yaml").variants) == 6
