"""Sweeps that search while they run: one command does it all, and a crash anywhere changes
nothing of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import Ending, Job, run_sweep
from orchestrator.errors import SpecError
from orchestrator.executors.local import run_locally
from orchestrator.outcomes import Outcome
from orchestrator.running.queue import TrialQueue
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.files import read_json
from orchestrator.store.store import Store, TrialDirectory

pytestmark = pytest.mark.usefixtures("without_figures")

Cli = Callable[..., Any]
Process = Callable[..., Any]
WriteSpec = Callable[..., Path]
BitsOf = Callable[[Path], dict[str, Any]]

LOCAL = ("--executor", "local", "--no-tracking")
LR = {"train.lr": {"low": 1e-3, "high": 3e-2, "log": True}}
SEARCHED: dict[str, Any] = {
    "search": {"space": LR, "trials": 3, "at_once": 2, "seeds": [1000]},
    "steps": [
        {
            "name": "swiglu",
            "change": {"model.feed_forward": "swiglu"},
            "search": {"space": LR, "trials": 3, "at_once": 2, "seeds": [1000]},
        },
        {"name": "rms", "change": {"model.norm": "rmsnorm"}},
    ],
}
TRIALS = [
    *(f"{name}-seed1000" for name in ("baseline@1", "baseline@2", "baseline@3")),
    "baseline-seed0",
    *(f"{name}-seed1000" for name in ("swiglu@1", "swiglu@2", "swiglu@3")),
    *("swiglu-seed0", "rms-seed0"),
]


def run(spec: Path, store: Path, executor: Callable[[TrialQueue], None] = run_locally) -> Ending:
    return run_sweep(Job(load_spec(spec), Store(store), executor, None))


def stopping_after(count: int) -> Callable[[TrialQueue], None]:
    """As a driver that dies once so many trials are trained."""

    def execute(queue: TrialQueue) -> None:
        ended = queue.ended

        def then_stop(*args: Any) -> None:
            nonlocal count
            ended(*args)
            count -= 1
            if count == 0:
                queue.stop()

        queue.ended = then_stop  # type: ignore[method-assign, assignment]
        run_locally(queue)

    return execute


def names(store: Path) -> list[str]:
    return sorted(
        path.parent.name.rpartition("-")[0] for path in store.glob("tiny/trials/*/result.json")
    )


@pytest.mark.slow
def test_one_command_searches_builds_on_what_it_finds_and_again_does_nothing(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(**SEARCHED)
    finished = cli("run", spec, "--store", store_path, *LOCAL)
    assert finished.code == 0, finished.err
    assert names(store_path) == sorted(TRIALS)
    assert "[9/9]" in finished.out
    shown = cli("report", spec, "--store", store_path, "--format", "json").json
    baseline, swiglu, rms = shown["steps"]
    assert baseline["changes"] == baseline["search"]["chosen"]
    best = max(swiglu["search"]["trials"], key=lambda point: point["mean"])
    assert swiglu["changes"]["train.lr"] == best["values"]["train.lr"]
    assert rms["seeds"] == [0]
    files = {path: path.stat().st_mtime_ns for path in store_path.glob("tiny/trials/*/*")}
    assert "9 done" in cli("run", spec, "--store", store_path, *LOCAL).out
    assert {path: path.stat().st_mtime_ns for path in store_path.glob("tiny/trials/*/*")} == files
    assert [
        trial["name"]
        for trial in cli("status", spec, "--store", store_path, "--json").json["trials"]
    ] == TRIALS


@pytest.mark.slow
def test_a_search_that_is_stopped_after_any_trial_tries_and_ends_as_one_that_never_was(
    write_spec: WriteSpec, tmp_path: Path, bits_of: BitsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec(**SEARCHED)
    run(spec, tmp_path / "whole")
    for count in range(len(TRIALS)):
        ending = run(spec, tmp_path / "stopped", stopping_after(1))
        assert len(names(tmp_path / "stopped")) == count + 1
        for path in (tmp_path / "stopped").glob("tiny/searches/*.json"):
            path.unlink()  # what was suggested is suggested again
    assert not ending.plan.to_train(retry_failed=True)
    assert bits_of(tmp_path / "stopped" / "tiny") == bits_of(tmp_path / "whole" / "tiny")


@pytest.mark.slow
def test_a_trial_of_a_search_that_fails_ends_the_run_and_resume_goes_on(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    search = {"space": {"model.num_classes": [10, 3]}, "trials": 2, "seeds": [1000]}
    spec = write_spec(steps=[{"name": "head", "search": search}])
    stopped = cli("run", spec, "--store", store_path, *LOCAL)
    assert stopped.code == 1
    assert "is blocked by head@2-seed1000, which failed; `orchestrator resume` retries" in " ".join(
        stopped.out.split()
    )
    plan = cli("plan", spec, "--store", store_path, "--json").json
    assert plan["searches"][0]["held_up_by"] == ["head@2-seed1000"]
    assert {trial["name"]: trial["action"] for trial in plan["trials"]}[
        "head@2-seed1000"
    ] == "retry"
    [result] = store_path.glob("tiny/trials/head@1-*/result.json")
    [failed] = map(TrialDirectory, store_path.glob("tiny/trials/head@2-*"))
    content = read_json(result) | {"fingerprint": failed.read_trial().fingerprint}
    failed.write_result(Outcome.FINISHED, content)  # as if it had worked
    resumed = cli("resume", spec, "--store", store_path, *LOCAL)
    assert resumed.code == 0, resumed.out
    head = cli("report", spec, "--store", store_path, "--format", "json").json["steps"][1]
    assert (head["changes"], head["seeds"], head["reused"]) == (
        {"model.num_classes": 10},
        [0],
        1,
    ), "the same as the baseline"


@pytest.mark.slow
def test_what_a_search_finds_and_a_later_step_cannot_take_ends_the_run_with_the_steps_line(
    write_spec: WriteSpec, tmp_path: Path
) -> None:
    steps = [
        {"name": "deep", "search": {"space": {"model.depth": [2, 3]}, "trials": 2}},
        {"name": "mixed", "change": {"model.attention": ["causal"]}},
    ]
    with pytest.raises(SpecError, match="attention lists 1 blocks, but depth is"):
        run(write_spec(steps=steps), tmp_path / "runs")


@pytest.mark.slow
def test_seeds_that_results_ask_for_are_trained_by_the_same_command(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(
        seeds={"start": 2, "max": 3, "until": "decided"},
        steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}}],
    )
    finished = cli("run", spec, "--store", store_path, *LOCAL)
    assert finished.out.count("trials: ") == 1, "one plan, one start of the executor"
    assert names(store_path) == [
        f"{name}-seed{seed}" for name in ("baseline", "rms") for seed in range(3)
    ]


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_generations_are_trained_by_warm_workers_and_are_in_mlflow_with_what_was_searched(
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    tmp_path: Path,
    bits_of: BitsOf,
    new_mlflow: Callable[..., str],
) -> None:
    from mlflow import MlflowClient

    uri = new_mlflow()
    spec = write_spec(**SEARCHED)
    driver = process("run", spec, "--store", store_path)
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    run(spec, tmp_path / "local")
    assert bits_of(store_path / "tiny") == bits_of(tmp_path / "local" / "tiny")
    attempts = [
        event
        for path in store_path.glob("tiny/trials/*/attempts.jsonl")
        for event in TrialDirectory(path.parent).attempts()
    ]
    assert len({event["pid"] for event in attempts if "pid" in event}) <= 2
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    by_name = {it.info.run_name: it for it in runs}
    parent = by_name["1 swiglu: search"]
    assert parent.info.status == "FINISHED"
    assert "found by a search over 3 combinations" in parent.data.tags["mlflow.note.content"]
    below = [it for it in runs if it.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {it.info.run_name for it in below} == {
        f"swiglu@{number}-seed1000" for number in (1, 2, 3)
    }
    assert len({it.data.params["train.lr"] for it in below}) == 3
    assert set(by_name) == {
        *TRIALS,
        "0 baseline",
        "0 baseline: search",
        "1 swiglu",
        "1 swiglu: search",
        "2 rms",
        "roadmap",
    }
