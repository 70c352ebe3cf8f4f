"""A whole sweep, end to end: interrupted anywhere, edited, failing, the same command ends it
with the same bits.
"""

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from illama import checkpoint
from orchestrator.errors import SweepInUse
from orchestrator.executors.local import run_locally
from orchestrator.outcomes import Outcome
from orchestrator.running.queue import TrialQueue
from orchestrator.store.files import read_json, write_json
from orchestrator.store.lease import Lease
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.trial import TrialSpec

pytestmark = pytest.mark.usefixtures("without_figures")

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
WriteSpec = Callable[..., Path]
BitsOf = Callable[[Path], dict[str, Any]]
WaitUntil = Callable[..., None]

STEPS: list[dict[str, Any]] = [
    {"name": "rms", "change": {"model.norm": "rmsnorm"}},
    {
        "name": "causal",
        "change": {"model.attention": "causal"},
        "side": {"additive": {"model.mask_form": "additive"}},
    },
    {"name": "soft", "change": {"train.soft_mask": {"schedule": "linear", "epochs": 1}}},
]
LOCAL = ("--executor", "local", "--no-tracking")


@pytest.fixture
def results(store_path: Path) -> Callable[..., dict[str, Path]]:
    """The finished trials of a sweep, by name."""

    def find(sweep: str = "tiny") -> dict[str, Path]:
        paths = store_path.glob(f"{sweep}/trials/*/result.json")
        return {path.parent.name.rpartition("-")[0]: path for path in paths}

    return find


@pytest.mark.slow
def test_a_sweep_runs_from_one_file_and_again_does_nothing(
    cli: Cli, write_spec: WriteSpec, store_path: Path, bits_of: BitsOf
) -> None:
    spec = write_spec(seeds=[0, 1], steps=STEPS)
    finished = cli("run", spec, "--store", store_path, *LOCAL)
    assert finished.code == 0
    assert "tiny: 10 trials: 10 new" in finished.out
    assert (store_path / "tiny" / "sweep.yaml").read_bytes() == spec.read_bytes()
    assert not (store_path / "tiny" / "lease.json").exists()
    files = {path: path.stat().st_mtime_ns for path in store_path.glob("tiny/trials/*/*")}
    bits = bits_of(store_path / "tiny")
    assert len(bits) == 10
    again = cli("run", spec, "--store", store_path, *LOCAL)
    assert again.code == 0
    assert "tiny: 10 trials: 10 done" in again.out
    table = again.out.partition("Roadmap of tiny")[2]
    assert table
    assert table == finished.out.partition("Roadmap of tiny")[2]
    assert {path: path.stat().st_mtime_ns for path in store_path.glob("tiny/trials/*/*")} == files
    assert bits_of(store_path / "tiny") == bits


@pytest.mark.slow
def test_kill_nine_at_any_moment_then_the_same_command_gives_the_same_bits(
    cli: Cli,
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: BitsOf,
    wait_until: WaitUntil,
    weird_path: Path,
) -> None:
    seldom = write_spec(
        steps=STEPS[:2], **{"baseline.train.epochs": 6, "runtime.checkpoint_seconds": 1000}
    )
    assert cli("run", seldom, "--store", weird_path / "undisturbed", *LOCAL).code == 0
    spec = write_spec(
        steps=STEPS[:2], **{"baseline.train.epochs": 6, "runtime.checkpoint_seconds": 0}
    )
    trials = store_path / "tiny" / "trials"
    moments: list[tuple[str, Callable[[], object]]] = [
        ("a checkpoint is being written", lambda: list(trials.glob("*/checkpoint.pt.tmp"))),
        ("there are metrics of the second trial", lambda: list(trials.glob("rms-*/metrics.jsonl"))),
        ("two trials are done", lambda: len(list(trials.glob("*/result.json"))) >= 2),
    ]
    for what, has_come in moments:
        driver = process("run", spec, "--store", store_path, *LOCAL)
        wait_until(has_come, what, driver)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    final = cli("run", spec, "--store", store_path, *LOCAL)
    assert final.code == 0, final.err
    assert bits_of(store_path / "tiny") == bits_of(weird_path / "undisturbed" / "tiny")
    attempts = [
        json.loads(line)
        for path in trials.glob("*/attempts.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert any(event.get("outcome") == "lost" for event in attempts)
    assert not list(trials.glob(".*")), "nothing is left of the killed drivers"


@pytest.mark.slow
def test_an_interrupt_saves_and_prints_the_command_that_goes_on(
    cli: Cli,
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: BitsOf,
    wait_until: WaitUntil,
    weird_path: Path,
) -> None:
    spec = write_spec(**{"baseline.train.epochs": 60, "runtime.checkpoint_seconds": 1000})
    arguments = ("run", spec, "--store", store_path, *LOCAL)
    iteration = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        driver = process(*arguments)
        wait_until(
            lambda before=iteration: _iteration(store_path) > before,
            "another epoch is over",
            driver,
        )
        os.kill(driver.pid, number)
        out, err = driver.communicate(timeout=60)
        assert driver.returncode == 130
        assert f"Interrupted ({number.name}): saving checkpoints." in out
        assert "Traceback" not in err
        match = re.search(
            r"Interrupted\. All checkpoints are saved\. Continue with:\n  (.*)\n", err
        )
        assert match
        assert words_of(match[1]) == ["orchestrator", *map(str, arguments)]
        assert not (store_path / "tiny" / "lease.json").exists()
        status = cli("status", spec, "--store", store_path, "--json").json
        assert status["outcomes"] == {"interrupted": 1}
        iteration = status["trials"][0]["iteration"]
        assert 0 < iteration < 180
    assert cli(*arguments).code == 0
    assert cli("run", spec, "--store", weird_path / "undisturbed", *LOCAL).code == 0
    assert bits_of(store_path / "tiny") == bits_of(weird_path / "undisturbed" / "tiny")


@pytest.mark.slow
def test_a_closed_terminal_saves_although_nothing_can_be_written_to_it(
    cli: Cli, process: Process, write_spec: WriteSpec, store_path: Path, wait_until: WaitUntil
) -> None:
    spec = write_spec(**{"baseline.train.epochs": 100_000, "runtime.checkpoint_seconds": 1000})
    terminal, end = pty.openpty()
    driver = process("run", spec, "--store", store_path, *LOCAL, terminal=end)
    wait_until(lambda: _iteration(store_path), "the first epoch is over", driver)
    os.close(end)
    os.close(terminal)
    for _ in range(2):  # as a shell that is closed does, and then the kernel
        os.kill(driver.pid, signal.SIGHUP)
    assert driver.wait(timeout=30) == 130
    trial = cli("status", spec, "--store", store_path, "--json").json["trials"][0]
    [saved] = store_path.glob("tiny/trials/*/checkpoint.pt")
    # where it stopped, which may be in the middle of an epoch: what was logged last is older then
    reached = checkpoint.read(saved)["progress"]["iteration"]
    assert trial["cause"] == f"stopped at iteration {reached}, checkpoint saved"
    assert reached >= trial["iteration"] > 0


def _iteration(store_path: Path) -> int:
    lines = [
        line
        for path in store_path.glob("tiny/trials/*/metrics.jsonl")
        for line in TrialDirectory(path.parent).metrics()
    ]
    return int(lines[-1]["iteration"]) if lines else 0


def words_of(command: str) -> list[str]:
    """What a shell makes of a command that we printed."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


@pytest.mark.slow
def test_a_sweep_goes_on_when_its_reader_goes_away(
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    results: Callable[..., dict[str, Path]],
) -> None:
    driver = process("run", write_spec(seeds=[0, 1]), "--store", store_path, *LOCAL)
    assert driver.stdout is not None
    driver.stdout.readline()
    driver.stdout.close()
    assert driver.wait(timeout=60) == 0
    assert len(results()) == 2


@pytest.mark.slow
def test_a_second_interrupt_stops_at_once(
    process: Process, write_spec: WriteSpec, store_path: Path, wait_until: WaitUntil
) -> None:
    driver = process(
        "run", write_spec(**{"baseline.train.epochs": 100_000}), "--store", store_path, *LOCAL
    )
    wait_until(
        lambda: list(store_path.glob("tiny/trials/*/metrics.jsonl")),
        "the first epoch is over",
        driver,
    )
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.01)
    os.kill(driver.pid, signal.SIGINT)
    _, err = driver.communicate(timeout=30)
    assert driver.returncode == 130
    assert "Traceback" not in err


@pytest.mark.slow
def test_an_edited_spec_trains_only_what_changed_and_overwrites_nothing(
    cli: Cli, write_spec: WriteSpec, store_path: Path, results: Callable[..., dict[str, Path]]
) -> None:
    cli("run", write_spec(steps=STEPS), "--store", store_path, *LOCAL)
    before = {path: path.read_bytes() for path in store_path.glob("tiny/trials/*/result.json")}
    edited = [dict(step) for step in STEPS]
    edited[2] = {"name": "soft", "change": {"train.soft_mask": {"schedule": "linear", "epochs": 2}}}
    spec = write_spec(
        steps=[*edited, {"name": "wide", "change": {"model.class_token": "last"}}], seeds=[0]
    )
    finished = cli("run", spec, "--store", store_path, *LOCAL)
    assert finished.code == 0
    assert "tiny: 6 trials: 2 new, 4 done" in finished.out
    after = {path: path.read_bytes() for path in store_path.glob("tiny/trials/*/result.json")}
    assert before.items() <= after.items()
    names = Counter(path.parent.name.rpartition("-")[0] for path in after.keys() - before.keys())
    assert names == {"soft-seed0": 1, "wide-seed0": 1}


@pytest.mark.slow
def test_operational_settings_and_names_train_nothing_again(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    cli("run", write_spec(steps=STEPS), "--store", store_path, *LOCAL)
    spec = write_spec(steps=STEPS, **{"runtime.checkpoint_seconds": 60, "resources": {"cpus": 2}})
    assert "5 done" in cli("run", spec, "--store", store_path, *LOCAL).out


@pytest.mark.slow
def test_a_failing_trial_is_exit_code_one_left_alone_by_run_and_retried_by_resume(
    cli: Cli,
    write_spec: WriteSpec,
    store_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Callable[..., dict[str, Path]],
) -> None:
    spec = write_spec(steps=STEPS)
    with monkeypatch.context() as broken:
        broken.setattr("orchestrator.running.worker.train", _fails_with_rmsnorm())
        finished = cli("run", spec, "--store", store_path, *LOCAL)
    assert finished.code == 1
    status, resume = re.findall(r"^  To \w+.*: +orchestrator (.*)$", finished.err, re.MULTILINE)
    assert words_of(status) == ["status", str(spec), "--store", str(store_path)]
    assert words_of(resume) == ["resume", str(spec), "--store", str(store_path)]
    told = " ".join(finished.out.split())
    assert re.search(r"rms-seed0, [^:]*: RuntimeError: no such kernel", told)
    assert results().keys() == {"baseline-seed0"}
    again = cli("run", spec, "--store", store_path, *LOCAL)
    assert again.code == 1
    assert "1 done" in again.out
    assert results().keys() == {"baseline-seed0"}
    assert cli("resume", "tiny", "--store", store_path, *LOCAL).code == 0
    assert len(results()) == 5
    events = [
        json.loads(line)
        for line in (results()["rms-seed0"].parent / "attempts.jsonl").read_text().splitlines()
    ]
    assert [event.get("outcome") for event in events] == [None, "failed", None, "finished"]


def _fails_with_rmsnorm() -> Callable[..., Any]:
    from orchestrator.running.worker import train as real

    def train(config: Any, **options: Any) -> Any:
        if config.model.norm == "rmsnorm":
            raise RuntimeError("no such kernel")
        return real(config, **options)

    return train


@pytest.mark.slow
def test_the_same_training_in_another_sweep_is_reused(
    cli: Cli, write_spec: WriteSpec, store_path: Path, results: Callable[..., dict[str, Path]]
) -> None:
    cli("run", write_spec("first", steps=STEPS), "--store", store_path, *LOCAL)
    renamed = [
        {"name": "root_mean_square", "change": {"model.norm": "rmsnorm"}},
        {"name": "new", "change": {"train.lr": 0.02}},
    ]
    finished = cli("run", write_spec("second", steps=renamed), "--store", store_path, *LOCAL)
    assert finished.code == 0
    assert "second: 3 trials: 1 new, 2 reused" in finished.out
    assert results("second").keys() == {"new-seed0"}
    first, second = (
        {
            s["name"]: s
            for s in cli("report", name, "--store", store_path, "--format", "json").json["steps"]
        }
        for name in ("first", "second")
    )
    assert second["baseline"]["values"] == first["baseline"]["values"]
    assert second["root_mean_square"]["values"] == first["rms"]["values"]


@pytest.mark.slow
def test_cells_that_coincide_are_trained_once_and_reported_twice(
    cli: Cli,
    write_spec: WriteSpec,
    store_path: Path,
    results: Callable[..., dict[str, Path]],
    new_mlflow: Callable[..., str],
) -> None:
    new_mlflow()
    steps = [
        {"name": "rms", "change": {"model.norm": "rmsnorm"}},
        {"name": "back", "change": {"model.norm": "layernorm"}},
    ]
    finished = cli("run", write_spec(steps=steps), "--store", store_path, "--executor", "local")
    assert finished.code == 0
    assert results().keys() == {"baseline-seed0", "rms-seed0"}
    report = {
        s["name"]: s
        for s in cli("report", "tiny", "--store", store_path, "--format", "json").json["steps"]
    }
    assert report["back"]["values"] == report["baseline"]["values"]
    status = cli("status", "tiny", "--store", store_path, "--json").json
    assert all(trial["mlflow_run_id"] for trial in status["trials"]), (
        "each trial has its run, the one that is reused too"
    )


@pytest.mark.slow
def test_regimes_walk_the_same_road_from_other_baselines(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(
        steps=STEPS[:1], regimes={"small": {"model.depth": 1}, "deep": {"model.depth": 2}}
    )
    assert cli("run", spec, "--store", store_path, *LOCAL).code == 0
    report = cli("report", spec, "--store", store_path, "--format", "json").json
    assert [(step["regime"], step["name"]) for step in report["steps"]] == [
        ("small", "baseline"),
        ("small", "rms"),
        ("deep", "baseline"),
        ("deep", "rms"),
    ]


@pytest.mark.slow
def test_mlflow_that_is_down_delays_the_view_and_nothing_else(
    cli: Cli, write_spec: WriteSpec, store_path: Path, new_mlflow: Callable[..., str]
) -> None:
    finished = cli(
        "run",
        write_spec(),
        "--store",
        store_path,
        "--executor",
        "local",
        "--tracking-uri",
        "nonsense://x",
    )
    assert finished.code == 0
    assert "cannot write to MLflow at nonsense://x" in finished.out
    new_mlflow()
    assert cli("sync", "tiny", "--store", store_path).code == 0
    assert cli("status", "tiny", "--store", store_path, "--json").json["trials"][0]["mlflow_run_id"]


@pytest.mark.timeout(60)
def test_a_driver_whose_lease_was_taken_over_gives_up_instead_of_fighting(
    make_sweep: Callable[..., Any],
) -> None:
    sweep = make_sweep(seeds=[0, 1])
    starts: list[str] = []

    class Usurper:
        """Takes the sweep over while a trial is being handed out, as after a suspended laptop
        wakes up.
        """

        def started(self, trial: TrialSpec) -> None:
            starts.append(trial.name)
            if len(starts) == 5:
                raise KeyboardInterrupt
            path = sweep.path / "lease.json"
            write_json(path, read_json(path) | {"session": "another"})

        def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
            assert outcome is Outcome.LOST

        def finished(self) -> None:
            pass

    with suppress(KeyboardInterrupt, SweepInUse), Lease(sweep.path) as lease:
        run_locally(TrialQueue(sweep.trials, sweep.store, lease.session, {}, [Usurper()]))
    assert len(starts) < 5
