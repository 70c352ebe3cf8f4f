"""A trial in several processes is a trial like any other: planned from its resources, lost and
found again, the same bits.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.outcomes import Outcome
from orchestrator.planning.plan import trials_of
from orchestrator.running.queue import LOST_LIMIT, TrialQueue
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import MetricsLog

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
WriteSpec = Callable[..., Path]
WaitUntil = Callable[..., None]


@pytest.mark.parametrize(
    ("resources", "runtime", "expected"),
    [
        ({"cpus": 8, "gpus": 4}, {"device": "auto"}, (4, 2)),
        ({"cpus": 8, "gpus": 4}, {"device": "cpu"}, (1, 8)),
        ({"cpus": 8, "gpus": 4}, {"device": "auto", "processes": 2, "num_threads": 1}, (2, 1)),
        ({"cpus": 2, "gpus": 0.5}, {"device": "auto"}, (1, 2)),
        ({"cpus": 2}, {"device": "cpu", "processes": 2}, (2, 1)),
    ],
)
def test_each_gpu_of_a_trial_gets_a_process_and_its_share_of_the_cores(
    write_spec: WriteSpec,
    resources: dict[str, Any],
    runtime: dict[str, Any],
    expected: tuple[int, int],
) -> None:
    [trial] = trials_of(
        load_spec(write_spec(resources=resources, runtime=runtime)), lambda data: "data"
    )
    [plain] = trials_of(load_spec(write_spec()), lambda data: "data")
    assert (trial.runtime.processes, trial.runtime.num_threads) == expected
    assert trial.fingerprint == plain.fingerprint


def test_half_the_memory_is_half_of_what_one_process_has(make_sweep: Callable[..., Any]) -> None:
    [trial] = make_sweep(runtime={"processes": 4}).trials
    smaller = trial.with_half_the_memory
    assert (trial.config.train.batch_size, smaller.runtime.micro_batch_size) == (59, 7)


def test_what_a_trial_asks_for_is_of_each_of_its_nodes(make_sweep: Callable[..., Any]) -> None:
    [trial] = make_sweep(
        resources={"nodes": 2, "cpus": 4, "gpus": 4}, runtime={"device": "auto"}
    ).trials
    [plain] = make_sweep().trials
    assert (trial.runtime.processes, trial.runtime.num_threads) == (4, 1)
    assert trial.resources.gpus_in_all == 8
    assert trial.with_half_the_memory.runtime.micro_batch_size == 4, (
        "half of an eighth of 59 images"
    )
    assert trial.fingerprint == plain.fingerprint


def test_a_trial_whose_processes_keep_dying_without_getting_further_has_failed(
    make_sweep: Callable[..., Any],
) -> None:
    sweep = make_sweep()
    queue = TrialQueue(sweep.trials, sweep.store, "mine", {})
    directory = sweep.store.directory(sweep.trials[0])
    outcomes = []
    for iteration in (3, 6, 6, 6):
        trial = queue.next()
        assert trial is not None
        number = directory.start_attempt("mine", {})
        MetricsLog(directory)({"epoch": 1.0}, iteration)
        directory.end_attempt(number, Outcome.LOST, "process 2 of 2 was killed by SIGKILL")
        queue.ended(trial, None)
        outcomes.append(directory.record().outcome)
    assert outcomes == [Outcome.LOST, Outcome.LOST, Outcome.LOST, Outcome.FAILED]
    assert f"died {LOST_LIMIT} times in a row near iteration 6" in str(directory.record().cause)
    assert queue.next() is None


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.ray
def test_a_process_that_is_killed_on_ray_costs_nothing_but_time(
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: Callable[[Path], dict[str, Any]],
    wait_until: WaitUntil,
    undisturbed: Callable[[Path], dict[str, Any]],
) -> None:
    changes: dict[str, Any] = {
        "runtime.processes": 2,
        "resources": {"cpus": 2},
        "baseline.train.epochs": 40,
    }
    changes |= {"baseline.train.mixup": 0.8}
    spec = write_spec(**changes)
    expected = undisturbed(spec)
    driver = process("run", spec, "--store", store_path, "--no-tracking")
    wait_until(
        lambda: list(store_path.glob("tiny/trials/*/metrics.jsonl")), "an epoch is done", driver
    )
    [attempts] = store_path.glob("tiny/trials/*/attempts.jsonl")
    worker = psutil.Process(json.loads(attempts.read_text().splitlines()[0])["pid"])
    [other] = [
        child
        for child in worker.children()
        if any("spawn_main" in word for word in child.cmdline())
    ]
    other.kill()
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    ends = [
        event
        for event in map(json.loads, attempts.read_text().splitlines())
        if event["event"] == "end"
    ]
    assert [event["outcome"] for event in ends] == ["lost", "finished"]
    assert ends[0]["cause"] == "process 2 of 2 was killed by SIGKILL"
    assert bits_of(store_path / "tiny") == expected
