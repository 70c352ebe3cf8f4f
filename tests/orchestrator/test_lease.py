"""One driver at a time, and none for ever."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from orchestrator.errors import StoreError, SweepInUse
from orchestrator.store import lease, locks
from orchestrator.store.lease import (
    EXPIRY_SECONDS,
    Lease,
    LeaseHolder,
    live_session,
    read_lease,
    refuse_a_sweep_taken_over,
)
from orchestrator.store.sessions import sessions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    folder.mkdir()
    return folder


def holder(**changes: object) -> LeaseHolder:
    """This process, under another session."""
    me, now = psutil.Process(), time.time()
    return replace(
        LeaseHolder("other", socket.gethostname(), me.pid, me.create_time(), now - 100, now - 3),
        **changes,
    )


def write(path: Path, other: LeaseHolder) -> None:
    (path / "lease.json").write_text(json.dumps(asdict(other)))


def dead_process() -> dict[str, object]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    process.communicate()
    return {"pid": process.pid, "process_started": started}


def test_a_lease_names_its_holder_while_it_is_held_and_is_gone_afterwards(path: Path) -> None:
    with Lease(path) as mine:
        found = read_lease(path)
        assert found is not None
        assert (found.session, found.host, found.pid) == (
            mine.session,
            socket.gethostname(),
            os.getpid(),
        )
        assert found.is_alive
        assert live_session(path) == mine.session
    assert read_lease(path) is None
    assert live_session(path) is None


def test_every_invocation_is_a_session_of_its_own(path: Path) -> None:
    assert Lease(path).session != Lease(path).session


def test_a_second_driver_is_refused_and_told_who_where_and_since_when(path: Path) -> None:
    write(path, holder())
    with pytest.raises(SweepInUse) as caught, Lease(path):
        pass
    message = str(caught.value)
    assert (
        f"sweep 'sweep' is being run by process {os.getpid()} on {socket.gethostname()}" in message
    )
    assert "for 1:40 min, last heard of 3 s ago" in message
    assert "wait for it, stop it" in message
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, StoreError)
    found = read_lease(path)
    assert found is not None
    assert found.session == "other"


def test_the_lease_of_a_dead_process_is_taken_over_at_once(path: Path) -> None:
    write(path, holder(**dead_process(), renewed=time.time()))
    with Lease(path) as mine:
        assert live_session(path) == mine.session


def test_a_process_that_was_given_the_holders_number_later_is_not_the_holder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    write(path, holder(process_started=psutil.Process().create_time() - 1000))
    with Lease(path) as mine:
        assert live_session(path) == mine.session


def test_a_holder_on_another_host_is_believed_until_its_lease_expires(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.lease.RENEW_SECONDS", 0.05)
    write(path, holder(host="elsewhere", pid=1, renewed=time.time() - EXPIRY_SECONDS + 5))
    with pytest.raises(SweepInUse, match="process 1 on elsewhere"), Lease(path):
        pass
    write(path, holder(host="elsewhere", pid=1, renewed=time.time() - EXPIRY_SECONDS - 1))
    with Lease(path) as mine:
        assert live_session(path) == mine.session


def test_a_holder_on_another_host_whose_clock_differs_is_believed_while_it_renews(
    path: Path,
) -> None:
    def renew(seconds: float) -> None:
        write(path, holder(host="elsewhere", pid=1, renewed=time.time() - 3600 + seconds))

    renew(0)
    later = threading.Timer(0.3, renew, [5])
    later.start()
    with (
        pytest.raises(
            SweepInUse, match=r"process 1 on elsewhere .*; the clocks of the two hosts differ"
        ),
        Lease(path),
    ):
        pass
    later.join()


def test_a_holder_that_lives_but_was_not_heard_of_for_long_has_lost_its_lease(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    write(path, holder(renewed=time.time() - EXPIRY_SECONDS - 1))
    with Lease(path):
        pass


def test_a_lease_is_renewed_while_it_is_held(
    path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)

    def renewed() -> float:
        found = read_lease(path)
        assert found is not None
        return found.renewed

    with Lease(path):
        first = renewed()
        wait_until(lambda: renewed() > first, "the lease is renewed")


def test_a_renewal_that_fails_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    with Lease(path):
        with monkeypatch.context() as full:
            full.setattr(os, "fsync", _no_space)
            time.sleep(0.1)
        after = time.time()
        wait_until(
            lambda: (found := read_lease(path)) and found.renewed > after,
            "the lease is renewed again",
        )


def _no_space(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_workers_are_asked_to_stop_and_a_renewal_does_not_forget_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    with Lease(path) as mine:
        mine.ask_workers_to_stop()
        found = read_lease(path)
        assert found is not None
        assert found.stopping
        wait_until(
            lambda: (
                (later := read_lease(path)) and later.renewed > found.renewed and later.stopping
            ),
            "renewed",
        )


def test_a_driver_that_was_replaced_leaves_its_successors_lease_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    mine = Lease(path).__enter__()
    with locks.locked(path / ".lease.lock"):  # as a driver takes over: between two renewals
        write(path, holder())
    time.sleep(0.1)
    assert live_session(path) == "other"
    with pytest.raises(SweepInUse):
        mine.__exit__(None, None, None)
    assert live_session(path) == "other"


def test_of_two_that_found_the_same_dead_lease_the_first_to_write_sees_that_it_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, holder(**dead_process()))

    def a_moment_later(seconds: float) -> None:
        write(path, holder())

    monkeypatch.setattr(
        lease,
        "time",
        SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=a_moment_later),
    )
    with pytest.raises(SweepInUse), Lease(path):
        pass
    assert live_session(path) == "other"


_DRIVER = """
import sys, time
from pathlib import Path
from orchestrator.errors import SweepInUse
from orchestrator.store.lease import Lease
path = Path(sys.argv[1])
print("ready", flush=True)
while not (path / "go").exists():
    pass
try:
    with Lease(path):
        print("held", flush=True)
        input()
except SweepInUse:
    print("refused", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nobody", "a dead driver"])
def test_of_many_drivers_that_start_at_once_exactly_one_gets_the_sweep(
    path: Path, before: str
) -> None:
    if before == "a dead driver":
        write(path, holder(**dead_process()))
    command = [sys.executable, "-c", _DRIVER, str(path)]
    pipe = subprocess.PIPE
    drivers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    assert all(driver.stdout and driver.stdout.readline() == "ready\n" for driver in drivers)
    (path / "go").touch()
    outcomes = sorted(driver.stdout.readline().strip() for driver in drivers if driver.stdout)
    for driver in drivers:
        driver.communicate("\n")
    assert outcomes == ["held", "refused", "refused", "refused"]


@pytest.mark.parametrize("content", ["", "{", "{}", '{"session": "a", "surprise": 1}'])
def test_a_damaged_lease_that_nobody_renews_is_nobodys(
    path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    (path / "lease.json").write_text(content)
    assert live_session(path) is None
    with Lease(path) as mine:
        assert live_session(path) == mine.session


def test_a_damaged_lease_that_is_renewed_is_its_drivers(path: Path) -> None:
    (path / "lease.json").write_text("{")
    later = threading.Timer(0.3, write, [path, holder()])
    later.start()
    with pytest.raises(SweepInUse), Lease(path):
        pass
    later.join()


def test_a_dead_driver_whose_clock_was_ahead_does_not_hold_the_sweep_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    write(path, holder(host="elsewhere", pid=1, renewed=time.time() + 86_400))
    with Lease(path) as mine:
        assert live_session(path) == mine.session


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_driver_of_this_host_keeps_its_lease_when_the_clock_is_set(
    path: Path, seconds: float
) -> None:
    with Lease(path):
        found = read_lease(path)
        assert found is not None
        write(path, replace(found, renewed=found.renewed + seconds))
        later = threading.Timer(0.3, write, [path, found])
        later.start()
        with pytest.raises(SweepInUse, match="is being run"), Lease(path):
            pass
        later.join()


def test_two_hosts_of_one_name_are_two(path: Path) -> None:
    write(path, holder(**dead_process(), renewed=time.time(), machine="another boot"))
    with pytest.raises(SweepInUse, match="is being run"), Lease(path):
        pass


def test_a_driver_that_slept_learns_that_another_came_and_went(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = Lease(path).__enter__()
    (path / "lease.json").unlink()  # it expired
    with Lease(path):
        pass
    assert read_lease(path) is None
    with pytest.raises(SweepInUse, match=r"taken over at .* by process"):
        refuse_a_sweep_taken_over(path, sleeper.session)
    sleeper.ask_workers_to_stop()
    assert read_lease(path) is None, "it does not write its lease again"
    with pytest.raises(SweepInUse, match="taken over"):
        sleeper.__exit__(None, None, None)


def test_generations_count_on_whatever_becomes_of_the_lease(path: Path) -> None:
    for _ in range(3):
        with Lease(path):
            pass
        with (path / "sessions.jsonl").open("a") as file:
            file.write("nonsense\n")
    assert [session.generation for session in sessions(path)] == [1, 2, 3]


def test_nobody_waits_for_a_stopped_process_without_a_limit_and_it_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    with (
        locks.locked(path / ".lease.lock"),
        pytest.raises(StoreError, match=rf"has been locked for 0 s by process {os.getpid()}"),
        Lease(path),
    ):
        pass


def test_a_disk_that_is_full_is_named_with_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(StoreError, match=r"cannot write .*(sessions|lease)\.json"), Lease(path):
        pass
