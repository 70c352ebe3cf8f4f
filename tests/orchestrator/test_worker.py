"""Whatever happens to a training is in its files afterwards, under the right name."""

import errno
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import StoreError, SweepInUse
from orchestrator.outcomes import Outcome, State
from orchestrator.running.signals import StopAtOnce
from orchestrator.running.worker import run_trial
from orchestrator.store.files import read_json
from orchestrator.store.lease import Lease
from orchestrator.store.store import TrialDirectory
from orchestrator.trial import Resources


class Bench:
    """One trial, its directory, and a driver that is at work."""

    def __init__(self, sweep: Any, lease: Lease) -> None:
        self.lease = lease
        self.sweep = sweep
        self.directory: TrialDirectory = sweep.store.directory(sweep.trials[0])
        self.directory.write_trial(sweep.trials[0], {})

    def run(self) -> Outcome | None:
        return run_trial(self.directory.path, self.lease.session)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.directory.attempts_path.read_text().splitlines()]

    @property
    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.path.iterdir()}


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_sweep: Callable[..., Any]) -> Iterator[MakeBench]:
    leases: list[Lease] = []

    def make(name: str = "tiny", **changes: Any) -> Bench:
        sweep = make_sweep(name, **changes)
        lease = Lease(sweep.path)
        lease.__enter__()
        leases.append(lease)
        return Bench(sweep, lease)

    yield make
    for lease in leases:
        with suppress(SweepInUse):  # it was taken over
            lease.__exit__(None, None, None)


def test_finished_with_result_metrics_checkpoint_and_a_closed_attempt(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    assert bench.run() is Outcome.FINISHED
    record = bench.directory.record()
    assert (record.state, record.outcome, record.iteration, record.epoch) == (
        State.DONE,
        Outcome.FINISHED,
        6,
        2.0,
    )
    assert record.result is not None
    lines = list(bench.directory.metrics())
    assert [line["iteration"] for line in lines] == [3, 6]
    assert record.metrics == lines[-1]["metrics"]
    assert {"train/loss", "train/lr", "val/loss", "val/acc1", "val/acc5"} <= record.metrics.keys()
    assert record.result["best"]["val/acc1"] == max(line["metrics"]["val/acc1"] for line in lines)
    assert record.result["params"] > 0
    assert 0 < record.result["seconds"] < 60
    assert record.result["peak_memory_bytes"] > 0
    assert [(event["event"], event.get("outcome")) for event in bench.events] == [
        ("start", None),
        ("end", "finished"),
    ]
    assert bench.events[0]["pid"] == os.getpid()
    assert bench.events[0]["host"]
    assert (bench.directory.path / "checkpoint.pt").exists()


def test_collapsed_where_the_output_cannot_depend_on_the_image(make_bench: MakeBench) -> None:
    bench = make_bench(
        **{"baseline.model.attention": "causal", "baseline.model.mask_form": "additive"}
    )
    assert bench.run() is Outcome.COLLAPSED
    assert bench.directory.record().state is State.DONE


def test_diverged_says_at_which_iteration_what_was_not_finite(make_bench: MakeBench) -> None:
    bench = make_bench(**{"baseline.train.lr": 1e30})
    assert bench.run() is Outcome.DIVERGED
    record = bench.directory.record()
    assert (record.state, record.outcome) == (State.DONE, Outcome.DIVERGED)
    assert record.cause is not None
    assert " after iteration " in record.cause
    assert " is nan " in record.cause or " is inf " in record.cause or " is -inf " in record.cause
    assert record.result is not None
    assert 0 < record.result["iterations"] <= 6


def test_failed_keeps_cause_and_traceback(make_bench: MakeBench) -> None:
    bench = make_bench(**{"baseline.model.num_classes": 3})
    assert bench.run() is Outcome.FAILED
    record = bench.directory.record()
    assert (record.state, record.outcome, record.result) == (State.FAILED, Outcome.FAILED, None)
    assert record.cause is not None
    assert record.cause.startswith("ValueError: data digits has images of 1 x 8 x 8")
    assert "Traceback (most recent call last)" in bench.events[-1]["traceback"]
    assert "in load" in bench.events[-1]["traceback"]


def test_failed_where_somebodys_code_wants_to_end_the_process(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    monkeypatch.setattr("numpy.loadtxt", lambda *arguments, **options: sys.exit("no digits here"))
    assert bench.run() is Outcome.FAILED
    assert bench.directory.record().cause == "SystemExit: no digits here"


def test_out_of_memory_where_the_machine_has_not_enough(make_bench: MakeBench) -> None:
    bench = make_bench(
        **{"baseline.model.embed_dim": 4_000_000, "baseline.model.position": "none"}
    )  # matrices of 190 TB
    assert bench.run() is Outcome.OUT_OF_MEMORY
    assert bench.directory.record().state is State.FAILED


def test_a_failure_is_no_obstacle_to_the_next_attempt(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    with monkeypatch.context() as broken:
        broken.setattr("numpy.loadtxt", lambda *arguments, **options: 1 / 0)
        assert bench.run() is Outcome.FAILED
    assert bench.run() is Outcome.FINISHED
    assert [event.get("outcome") for event in bench.events] == [None, "failed", None, "finished"]
    assert bench.directory.record().attempts == 2


@pytest.mark.slow
def test_lost_by_stop_saves_and_goes_on_to_the_same_bits(
    make_bench: MakeBench,
    bits_of: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = make_bench()
    undisturbed.run()
    bench = make_bench("stopped")
    stop_at_look(bench, monkeypatch, look=5)
    assert bench.run() is Outcome.LOST
    record = bench.directory.record()
    assert (record.state, record.outcome) == (State.INTERRUPTED, Outcome.LOST)
    assert record.cause is not None
    assert record.cause.startswith("stopped at iteration ")
    monkeypatch.undo()
    bench.lease.__exit__(None, None, None)
    bench.lease = Lease(bench.sweep.path).__enter__()
    assert bench.run() is Outcome.FINISHED
    bench.lease.__exit__(None, None, None)
    assert bits_of(bench.sweep.path) == bits_of(undisturbed.sweep.path)


def stop_at_look(bench: Bench, monkeypatch: pytest.MonkeyPatch, look: int) -> None:
    """A clock that runs fast enough for a look before every iteration; at one of them the driver
    asks to stop.
    """
    ticks = iter(range(1_000_000))

    def monotonic() -> float:
        tick = next(ticks)
        if tick == look:
            bench.lease.ask_workers_to_stop()
        return float(tick)

    monkeypatch.setattr(
        "orchestrator.running.worker.time", SimpleNamespace(monotonic=monotonic, time=time.time)
    )


def test_lost_where_the_process_is_about_to_be_taken_away_with_everything_saved(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    notice = threading.Event()
    monkeypatch.setattr("orchestrator.running.worker.leave", notice)
    notice.set()
    assert bench.run() is Outcome.LOST
    assert bench.directory.record().cause == "stopped at iteration 0, checkpoint saved"
    assert (bench.directory.path / "checkpoint.pt").exists()


@pytest.mark.parametrize("what", ["gone", "expired", "another's"])
def test_lost_where_no_driver_stands_behind_it_any_more(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    bench = make_bench()
    path = bench.sweep.path / "lease.json"
    holder = read_json(path)
    if what == "gone":
        path.unlink()
    elif what == "expired":
        monkeypatch.setattr("orchestrator.running.worker.EXPIRY_SECONDS", -1.0)
    else:
        path.write_text(json.dumps(holder | {"session": "another"}))
    assert bench.run() is Outcome.LOST
    assert bench.directory.record().state is State.INTERRUPTED


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_driver_whose_clock_differs_still_stands_behind_it(
    make_bench: MakeBench, seconds: int
) -> None:
    bench = make_bench()
    path = bench.sweep.path / "lease.json"
    holder = read_json(path)
    path.write_text(json.dumps(holder | {"renewed": time.time() + seconds}))
    assert bench.run() is Outcome.FINISHED


def test_a_superseded_attempt_writes_nothing_more(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    ticks = iter(range(1_000_000))
    content: dict[str, bytes] = {}

    def monotonic() -> float:
        tick = next(ticks)
        if tick == 4:
            bench.directory.start_attempt("a later driver", {})
            content.update(bench.content)
        return float(tick)

    monkeypatch.setattr(
        "orchestrator.running.worker.time", SimpleNamespace(monotonic=monotonic, time=time.time)
    )
    assert bench.run() is Outcome.LOST
    assert content
    assert bench.content == content
    assert bench.directory.record("a later driver").state is State.RUNNING


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_is_full_at_any_write_is_a_store_error_and_costs_nothing_but_time(
    make_bench: MakeBench,
    bits_of: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    undisturbed = make_bench()
    undisturbed.run()
    bench = make_bench("full")
    real, writes = os.fsync, 0
    works = 0  # so many writes before the disk is full; after each failure a few more

    def fsync(descriptor: int) -> None:
        nonlocal writes
        writes += 1
        if writes > works and _is_in(descriptor, bench.directory.path):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    outcome, messages = None, []
    while outcome is None:
        writes = 0
        try:
            outcome = bench.run()
        except StoreError as error:
            messages.append(str(error))
            works += 2
    assert outcome is Outcome.FINISHED
    assert len(messages) > 5
    assert all(
        str(bench.directory.path) in message and os.strerror(number) in message
        for message in messages
    )
    assert bits_of(bench.sweep.path) == bits_of(undisturbed.sweep.path)


def _is_in(descriptor: int, folder: Path) -> bool:
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    return path.startswith(str(folder))


class Killed(StopAtOnce):
    """What nobody catches, like the end of the process."""


@pytest.mark.slow
def test_the_end_of_the_process_at_any_write_costs_nothing_but_time(
    make_bench: MakeBench,
    bits_of: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed = make_bench()
    undisturbed.run()
    expected = {
        key: value | {"attempts": 1} for key, value in bits_of(undisturbed.sweep.path).items()
    }
    real = os.fsync
    for works in range(0, 60, 5):
        bench = make_bench(f"killed{works}")
        writes = 0

        def fsync(descriptor: int, works: int = works, folder: Path = bench.directory.path) -> None:
            nonlocal writes
            if _is_in(descriptor, folder):
                writes += 1
                if writes == works + 1:
                    raise Killed
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        try:
            outcome = bench.run()
        except Killed:
            assert bench.directory.record(bench.lease.session).state in (
                State.PENDING,
                State.RUNNING,
                State.DONE,
            )
            outcome = bench.run()
        assert outcome is Outcome.FINISHED
        found = {key: value | {"attempts": 1} for key, value in bits_of(bench.sweep.path).items()}
        assert found == expected, f"killed at write {works + 1}"


def test_a_folder_without_a_trial_is_a_store_error(make_bench: MakeBench) -> None:
    bench = make_bench()
    (bench.directory.path / "trial.json").unlink()
    with pytest.raises(StoreError, match="cannot use the trial's files at"):
        bench.run()


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_set_aside_and_not_mixed_in(
    make_bench: MakeBench, bits_of: Callable[[Path], dict[str, Any]]
) -> None:
    bench, other = make_bench(), make_bench("other", **{"baseline.train.lr": 0.5})
    undisturbed = make_bench("undisturbed")
    other.run(), undisturbed.run()
    for name in ("checkpoint.pt", "checkpoint.sha256"):
        (bench.directory.path / name).write_bytes((other.directory.path / name).read_bytes())
    assert bench.run() is Outcome.FINISHED
    aside = bench.directory.path / "checkpoint.pt.damaged"
    assert aside.read_bytes() == (other.directory.path / "checkpoint.pt").read_bytes()
    assert bits_of(bench.sweep.path) == bits_of(undisturbed.sweep.path)


@pytest.mark.slow
def test_a_checkpoint_that_torch_refuses_is_passed_over_whatever_its_digest_says(
    make_bench: MakeBench, bits_of: Callable[[Path], dict[str, Any]]
) -> None:
    bench, undisturbed = make_bench(), make_bench("undisturbed")
    undisturbed.run()
    content = pickle.dumps(Path("any class"))
    (bench.directory.path / "checkpoint.pt").write_bytes(content)
    digests = f"{sha256(content).hexdigest()}  checkpoint.pt\n"
    (bench.directory.path / "checkpoint.sha256").write_text(digests)
    assert bench.run() is Outcome.FINISHED
    assert bits_of(bench.sweep.path) == bits_of(undisturbed.sweep.path)


def test_an_attempt_at_a_trial_that_is_done_by_now_does_not_begin(make_bench: MakeBench) -> None:
    bench = make_bench()
    assert bench.run() is Outcome.FINISHED
    content = bench.content
    assert bench.run() is Outcome.LOST
    assert bench.content == content


@pytest.mark.slow
def test_a_worker_that_trained_others_before_gives_the_same_bits(
    make_bench: MakeBench, bits_of: Callable[[Path], dict[str, Any]]
) -> None:
    first = make_bench()
    first.run()
    make_bench("other", **{"baseline.train.lr": 1e30}).run()
    again = make_bench("again")
    again.run()
    assert bits_of(again.sweep.path) == bits_of(first.sweep.path)


@pytest.mark.slow
def test_a_trial_that_hangs_is_ended_at_its_time_limit_and_shows_where_it_stood(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(resources={"time_limit": 2.0})
    # stuck in C code that holds the interpreter's lock: no thread of Python could end this
    hang = "import ctypes, sys, pathlib, orchestrator.running.worker as w; "
    hang += "w.train = lambda *a, **k: ctypes.PyDLL(None).sleep(600); "
    hang += "w.run_trial(pathlib.Path(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", hang, str(bench.directory.path), bench.lease.session]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 1
    record = bench.directory.record()
    assert (record.state, record.outcome) == (State.FAILED, Outcome.TIMED_OUT)
    assert "Timeout (0:00:02)" in bench.directory.stack_path.read_text()
    bench.directory.write_trial(replace(bench.sweep.trials[0], resources=Resources()), {})
    assert bench.run() is Outcome.FINISHED
    assert [event.get("outcome") for event in bench.events] == [None, "timed_out", None, "finished"]
    assert not bench.directory.stack_path.exists()
