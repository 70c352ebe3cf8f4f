"""The same on Ray: the same bits, and no process whose death costs more than time."""

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.store.measurements import read_measurement

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
WriteSpec = Callable[..., Path]
BitsOf = Callable[[Path], dict[str, Any]]
WaitUntil = Callable[..., None]

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS: list[dict[str, Any]] = [{"name": "rms", "change": {"model.norm": "rmsnorm"}}]


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_sweep_on_ray_has_the_bits_of_the_local_executor_and_is_in_mlflow(
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: BitsOf,
    undisturbed: Callable[[Path], dict[str, Any]],
    new_mlflow: Callable[..., str],
) -> None:
    uri = new_mlflow()
    steps = [*STEPS, {"name": "broken", "change": {"model.num_classes": 3}}]
    spec = write_spec(seeds=[0, 1], steps=steps, measure=["calibration"])
    driver = process("run", spec, "--store", store_path)
    out, err = driver.communicate(timeout=400)
    assert driver.returncode == 1, err
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    assert "Roadmap of tiny" in out
    assert "[6/6]" in out
    assert "broken-seed0 failed" in out
    assert bits_of(store_path / "tiny") == undisturbed(write_spec(seeds=[0, 1], steps=STEPS))
    workers = {
        event["pid"]
        for path in store_path.glob("tiny/trials/*/attempts.jsonl")
        for event in events(path)
        if "pid" in event
    }
    assert driver.pid not in workers
    assert len(workers) <= 2, "workers stay warm from trial to trial"
    measurements = store_path.glob("tiny/trials/*/measures/*.json")
    assert [read_measurement(path).state for path in measurements] == ["measured"] * 4
    database = sqlite3.connect(uri.removeprefix("sqlite:///"))
    tags = Counter(
        tag
        for (tag,) in database.execute(
            "SELECT value FROM tags WHERE key = 'sweep.outcome'"
        ).fetchall()
    )
    assert (tags["finished"], tags["failed"]) == (4, 2)
    database.close()


LONG = {"baseline.train.epochs": 100, "runtime.checkpoint_seconds": 0.2}


def under_way(store_path: Path) -> dict[Path, dict[str, Any]]:
    """The first events of the attempts that have not ended, by the files that they are in."""
    paths = store_path.glob("tiny/trials/*/attempts.jsonl")
    last = {path: event for path in paths for event in events(path)[-1:]}
    return {path: event for path, event in last.items() if event["event"] == "start"}


@pytest.mark.thorough
def test_kill_nine_of_the_driver_costs_nothing_but_time_and_leaves_no_worker(
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: BitsOf,
    undisturbed: Callable[[Path], dict[str, Any]],
    wait_until: WaitUntil,
) -> None:
    expected = undisturbed(write_spec(steps=STEPS, **LONG))
    arguments = ("run", write_spec(steps=STEPS, **LONG), "--store", store_path, "--no-tracking")
    driver = process(*arguments)
    trials = store_path / "tiny" / "trials"
    wait_until(lambda: list(trials.glob("*/checkpoint.pt")), "a checkpoint is there", driver)
    orphans = {event["pid"] for event in under_way(store_path).values()}
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()

    driver = process(*arguments)
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    assert bits_of(store_path / "tiny") == expected
    wait_until(
        lambda: not any(psutil.pid_exists(pid) for pid in orphans), "no worker outlives its driver"
    )


@pytest.mark.parametrize(
    ("kill", "number"),
    [
        pytest.param(os.killpg, signal.SIGINT, id="as Ctrl-C does"),
        pytest.param(
            os.killpg,
            signal.SIGHUP,
            id="as a terminal that closes does",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            os.kill, signal.SIGTERM, id="as a batch system does", marks=pytest.mark.thorough
        ),
    ],
)
def test_kill_nine_of_a_worker_then_a_notice_cost_nothing_but_time(
    cli: Cli,
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: BitsOf,
    undisturbed: Callable[[Path], dict[str, Any]],
    wait_until: WaitUntil,
    kill: Callable[[int, int], None],
    number: int,
) -> None:
    expected = undisturbed(write_spec(steps=STEPS, **LONG))
    spec = write_spec(steps=STEPS, **LONG)
    driver = process("run", spec, "--store", store_path, "--no-tracking")
    trials = store_path / "tiny" / "trials"
    wait_until(lambda: list(trials.glob("*/checkpoint.pt")), "a checkpoint is there", driver)
    victim, attempt = next(iter(under_way(store_path).items()))
    os.kill(attempt["pid"], signal.SIGKILL)
    wait_until(
        lambda: events(victim)[-1]["attempt"] > attempt["attempt"],
        "the trial goes on by itself",
        driver,
    )
    assert "its process or node died" in {event.get("cause") for event in events(victim)}

    wait_until(lambda: under_way(store_path), "a trial is being trained", driver)
    kill(driver.pid, number)
    out, err = driver.communicate(timeout=400)
    assert driver.returncode == 130, err
    assert "(raylet)" not in out, "what Ray has to say of a dead process"
    assert "Continue with:\n  orchestrator run " in err
    assert "Traceback" not in err
    assert not under_way(store_path), "every attempt said its last word"
    assert not (store_path / "tiny" / "lease.json").exists()

    assert cli("run", spec, "--store", store_path, "--executor", "local", "--no-tracking").code == 0
    assert bits_of(store_path / "tiny") == expected
    assert {event["outcome"] for event in events(victim) if event["event"] == "end"} >= {
        "lost",
        "finished",
    }


@pytest.mark.thorough
def test_trials_start_in_the_order_of_the_road_whatever_their_size(
    process: Process, write_spec: WriteSpec, store_path: Path
) -> None:
    large = {
        "name": "large",
        "change": {"model.norm": "rmsnorm"},
        "resources": {"cpus": min(2, os.cpu_count() or 1)},
    }
    spec = write_spec(
        seeds=[0, 1],
        steps=[large, {"name": "small", "change": {"model.norm": "layernorm", "train.lr": 0.02}}],
    )
    driver = process("run", spec, "--store", store_path, "--no-tracking")
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    starts = {
        path.parent.name.rpartition("-")[0]: events(path)[0]["time"]
        for path in store_path.glob("tiny/trials/*/attempts.jsonl")
    }
    steps = [name.partition("-")[0] for name in sorted(starts, key=starts.__getitem__)]
    assert steps == ["baseline", "baseline", "large", "large", "small", "small"]


def test_where_ray_itself_dies_the_command_says_so_and_every_trial_can_go_on(
    cli: Cli, process: Process, write_spec: WriteSpec, store_path: Path, wait_until: WaitUntil
) -> None:
    spec = write_spec(**{"baseline.train.epochs": 100_000, "runtime.checkpoint_seconds": 0.2})
    driver = process("run", spec, "--store", store_path, "--no-tracking")
    wait_until(
        lambda: list(store_path.glob("tiny/trials/*/checkpoint.pt")),
        "a checkpoint is there",
        driver,
    )
    [raylet] = [
        child for child in psutil.Process(driver.pid).children() if child.name() == "raylet"
    ]
    raylet.kill()
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 3, err
    assert "error: Ray died on this machine; run the same command to continue" in err
    assert "Traceback" not in err
    assert cli("status", spec, "--store", store_path, "--json").json["outcomes"] == {
        "interrupted": 1
    }
    assert not (store_path / "tiny" / "lease.json").exists()


def test_tune_prints_nothing_of_a_trial_that_is_taken_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from ray.tune.experiment import Trial
    from ray.tune.utils.callback import _create_default_callbacks

    from orchestrator.executors.ray.tune import _Silence

    for callback in _create_default_callbacks([_Silence()]):
        callback.on_trial_complete(iteration=1, trials=[], trial=Trial("_WarmWorker", stub=True))
    assert capfd.readouterr() == ("", "")
