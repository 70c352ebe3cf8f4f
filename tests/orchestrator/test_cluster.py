"""A cluster of several nodes: any of them may leave, the head included, and the same command
ends with the same bits.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import orchestrator

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
WriteSpec = Callable[..., Path]
WaitUntil = Callable[..., None]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Nodes:
    """A head, and the nodes that it was given."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.address = self._answer()

    def do(self, command: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def lose(self) -> None:
        """Everything at once, as in a power cut."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@pytest.fixture
def start_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Nodes]]:
    monkeypatch.setenv(
        "RAY_AUTH_MODE", "disabled"
    )  # else it depends on whether this user's home has a token
    started: list[Nodes] = []

    def start() -> Nodes:
        started.append(Nodes())
        return started[-1]

    yield start
    for nodes in started:
        if nodes.process.poll() is None:
            nodes.lose()


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_node_is_lost_and_its_trial_goes_on_at_another_with_the_same_bits(
    start_cluster: Callable[[], Nodes],
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: Callable[[Path], dict[str, Any]],
    wait_until: WaitUntil,
    undisturbed: Callable[[Path], dict[str, Any]],
) -> None:
    spec = write_spec(**{"baseline.train.epochs": 150, "runtime.checkpoint_seconds": 0.2})
    expected = undisturbed(spec)
    nodes = start_cluster()
    nodes.do("add 1")
    driver = process(
        "run", spec, "--store", store_path, "--no-tracking", "--address", nodes.address
    )
    wait_until(
        lambda: any(store_path.glob("tiny/trials/*/checkpoint.pt")), "a trial is under way", driver
    )
    nodes.do("kill 0")
    nodes.do("add 1")
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    [attempts] = store_path.glob("tiny/trials/*/attempts.jsonl")
    ends = [event for event in events(attempts) if event["event"] == "end"]
    assert [event["outcome"] for event in ends] == ["lost", "finished"]
    assert ends[0]["cause"] == "its process or node died"
    assert bits_of(store_path / "tiny") == expected


@pytest.mark.thorough
def test_a_node_leaves_one_is_preempted_the_head_dies_and_the_same_command_ends_with_the_same_bits(
    start_cluster: Callable[[], Nodes],
    process: Process,
    cli: Cli,
    write_spec: WriteSpec,
    store_path: Path,
    weird_path: Path,
    bits_of: Callable[[Path], dict[str, Any]],
    wait_until: WaitUntil,
    undisturbed: Callable[[Path], dict[str, Any]],
) -> None:
    spec = write_spec(
        seeds=[0, 1], **{"baseline.train.epochs": 150, "runtime.checkpoint_seconds": 0.2}
    )
    expected = undisturbed(spec)

    def ends() -> list[str]:
        lines = [
            line
            for path in store_path.glob("tiny/trials/*/attempts.jsonl")
            for line in events(path)
        ]
        return [str(line["cause"]) for line in lines if line["event"] == "end"]

    def under_way() -> list[int]:
        last = [
            event
            for path in store_path.glob("tiny/trials/*/attempts.jsonl")
            for event in events(path)[-1:]
        ]
        return [line["pid"] for line in last if line["event"] == "start"]

    nodes = start_cluster()
    nodes.do("add 1")
    greedy = write_spec("greedy", resources={"cpus": 3, "memory": "1MB"})
    refused = process(
        "run", greedy, "--store", store_path, "--no-tracking", "--address", nodes.address
    )
    _, err = refused.communicate(timeout=400)
    assert refused.returncode == 3, err
    assert "trial baseline-seed0 needs 3 CPUs, 0.001 GB of memory, but the cluster at" in " ".join(
        err.split()
    )
    assert " has 1 CPU, " in " ".join(err.split())
    arguments = ("run", spec, "--store", store_path, "--no-tracking", "--address")
    driver = process(*arguments, nodes.address)
    wait_until(
        lambda: any(store_path.glob("tiny/trials/*/checkpoint.pt")), "a trial is under way", driver
    )
    nodes.do("add 1")  # one that joins while it runs
    nodes.do("kill 0")
    wait_until(lambda: "its process or node died" in ends(), "the loss is noticed", driver)
    wait_until(under_way, "a trial is under way elsewhere", driver)
    saved = "checkpoint saved"
    os.kill(under_way()[0], signal.SIGTERM)
    wait_until(
        lambda: any(saved in cause for cause in ends()),
        "the notice to a process led to a checkpoint",
        driver,
    )
    wait_until(under_way, "a trial is under way again", driver)
    nodes.do("drain 1")
    wait_until(
        lambda: sum(saved in cause for cause in ends()) == 2,
        "the notice to a node led to a checkpoint",
        driver,
    )

    nodes.lose()
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 3, err
    assert "no longer answers; start it again, and run the same command to continue" in " ".join(
        err.split()
    )
    assert "Traceback" not in err
    status = cli("status", spec, "--store", store_path, "--json").json
    assert status["driver"] is None
    assert status["outcomes"].keys() <= {"pending", "interrupted", "finished"}

    nodes = start_cluster()
    nodes.do("add 2")
    driver = process(*arguments, nodes.address)
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    assert bits_of(store_path / "tiny") == expected
    reports = [
        cli("report", spec, "--store", store, "--format", "json")
        for store in (store_path, weird_path / "undisturbed")
    ]
    tables = [
        [step | {"train_seconds": None} for step in report.json["steps"]] for report in reports
    ]
    assert tables[0] == tables[1]


@pytest.mark.thorough
def test_a_trial_over_two_nodes_that_is_told_to_leave_one_and_loses_one_ends_with_the_same_bits(
    start_cluster: Callable[[], Nodes],
    process: Process,
    cli: Cli,
    write_spec: WriteSpec,
    store_path: Path,
    bits_of: Callable[[Path], dict[str, Any]],
    wait_until: WaitUntil,
    undisturbed: Callable[[Path], dict[str, Any]],
) -> None:
    long = {
        "baseline.train.epochs": 60,
        "baseline.train.mixup": 0.8,
        "runtime.checkpoint_seconds": 0.2,
    }
    together = write_spec(
        resources={"cpus": 2}, **{"runtime.processes": 2, "runtime.num_threads": 1}, **long
    )
    expected = undisturbed(together)
    spec = write_spec(resources={"nodes": 2, "cpus": 1}, **long)
    refused = cli("run", spec, "--store", store_path, "--executor", "local", "--no-tracking")
    assert refused.code == 2
    assert (
        "trial baseline-seed0 needs 2 nodes, but --executor local has one; use --executor ray"
        in refused.err
    )

    nodes = start_cluster()
    for _ in range(3):
        nodes.do("add 1")
    driver = process(
        "run", spec, "--store", store_path, "--no-tracking", "--address", nodes.address
    )

    def attempts() -> list[dict[str, Any]]:
        return [
            event
            for path in store_path.glob("tiny/trials/*/attempts.jsonl")
            for event in events(path)
        ]

    def saved() -> list[float]:
        return [path.stat().st_mtime for path in store_path.glob("tiny/trials/*/checkpoint.pt")]

    def deputy() -> psutil.Process:
        """Of an attempt that got further than the one before."""
        wait_until(
            lambda: attempts() and attempts()[-1]["event"] == "start",
            "an attempt is under way",
            driver,
        )
        before = saved()
        wait_until(lambda: saved() > before, "it saved", driver)
        of_this_cluster = psutil.Process(nodes.process.pid).children(recursive=True)
        [found] = [
            process for process in of_this_cluster if process.name().startswith("ray::_Deputy")
        ]
        return found

    deputy().terminate()  # a notice to one node saves the whole trial
    wait_until(
        lambda: any("checkpoint saved" in str(event.get("cause")) for event in attempts()),
        "it saved",
        driver,
    )
    nodes.do(f"kill {nodes.do(f'of {deputy().pid}')}")
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    assert [event["outcome"] for event in attempts() if event["event"] == "end"] == [
        "lost",
        "lost",
        "finished",
    ]
    assert "a node of the trial was lost" in attempts()[3]["cause"]
    assert [event["other_hosts"] for event in attempts() if event["event"] == "start"] == [
        [socket.gethostname()]
    ] * 3
    assert bits_of(store_path / "tiny") == expected


def test_a_node_says_what_keeps_it_from_the_store(tmp_path: Path) -> None:
    from illama.config import NUMERICS_VERSION
    from orchestrator.executors.ray.cluster import _use_store

    ask = _use_store._function
    (tmp_path / ".driver-token").touch()
    assert ask(tmp_path, "token", "me", NUMERICS_VERSION) is None
    assert (tmp_path / ".node-token-me").exists()
    elsewhere = tmp_path / "elsewhere"
    assert (
        ask(elsewhere, "token", "me", NUMERICS_VERSION)
        == f"cannot use the store at {elsewhere}: No such file or directory"
    )
    elsewhere.mkdir()  # there, but not the same
    assert "No such file" in ask(elsewhere, "token", "me", NUMERICS_VERSION)
    assert "has a different version of this package" in ask(
        tmp_path, "token", "me", NUMERICS_VERSION + 1
    )


@pytest.mark.thorough
def test_a_node_that_joins_late_and_cannot_train_is_named_and_costs_no_trial(
    start_cluster: Callable[[], Nodes],
    process: Process,
    write_spec: WriteSpec,
    store_path: Path,
    wait_until: WaitUntil,
) -> None:
    spec = write_spec(seeds=[0, 1, 2], **{"baseline.train.epochs": 50})
    nodes = start_cluster()
    nodes.do("add 1")
    driver = process(
        "run", spec, "--store", store_path, "--no-tracking", "--address", nodes.address
    )
    wait_until(
        lambda: any(store_path.glob("tiny/trials/*/metrics.jsonl")), "a trial is under way", driver
    )
    for missing in (store_path, Path(orchestrator.__file__).parent):
        nodes.do(f"without {missing}")
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    assert "Traceback" not in err
    assert err.count("it gets no trials") == 2
    assert "does not see the store: " in err
    assert "cannot start a worker: FileNotFoundError" in err
    attempts = [events(path) for path in store_path.glob("tiny/trials/*/attempts.jsonl")]
    assert [[event.get("outcome") for event in each] for each in attempts] == [
        [None, "finished"]
    ] * 3


@pytest.mark.thorough
def test_where_no_node_is_left_that_can_train_the_sweep_ends_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
    process: Process,
    cli: Cli,
    write_spec: WriteSpec,
    store_path: Path,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).with_name("blind_node")))
    monkeypatch.setenv("BLIND_TO", str(store_path))
    spec = write_spec()
    driver = process("run", spec, "--store", store_path, "--no-tracking")
    _, err = driver.communicate(timeout=400)
    assert driver.returncode == 3, err
    assert "Traceback" not in err
    assert "this machine has no node for trials; left out: node" in " ".join(err.split())
    assert cli("status", spec, "--store", store_path, "--json").json["outcomes"] == {"pending": 1}


def test_a_worker_tells_its_drivers_store_from_another(make_sweep: Callable[..., Any]) -> None:
    from illama.config import NUMERICS_VERSION
    from orchestrator.executors.ray.cluster import what_is_wrong_here
    from orchestrator.running.queue import TrialQueue
    from orchestrator.store.lease import Lease

    sweep = make_sweep()
    with Lease(sweep.path) as lease:
        queue = TrialQueue(sweep.trials, sweep.store, lease.session, {})
        here = sweep.store.directory(sweep.trials[0]).path
        assert "does not see the store" in str(
            what_is_wrong_here(here, lease.session, NUMERICS_VERSION)
        ), "not written yet"
        queue.next()
        assert what_is_wrong_here(here, lease.session, NUMERICS_VERSION) is None
        assert (
            what_is_wrong_here(here, "of a driver that was taken over from", NUMERICS_VERSION)
            is None
        ), "no fault of the node"
        assert "different version of this package" in str(
            what_is_wrong_here(here, lease.session, NUMERICS_VERSION + 1)
        )
    assert "or is a different folder" in str(
        what_is_wrong_here(here, lease.session, NUMERICS_VERSION)
    ), "a copy of an older sweep"


def test_a_worker_tells_its_drivers_measurements_from_anothers(
    make_sweep: Callable[..., Any],
) -> None:
    from illama.config import NUMERICS_VERSION, RuntimeConfig
    from illama.measures import Request
    from orchestrator.executors.ray.cluster import what_is_wrong_here
    from orchestrator.store.lease import Lease
    from orchestrator.store.measurements import Measurement, write_measurement

    sweep = make_sweep()
    trial = sweep.store.directory(sweep.trials[0]).path
    request = Request(name="probe", function="mine:probe", code="", options={})
    asked = Measurement("another", "f" * 64, request, RuntimeConfig())
    path = asked.path_in(trial)
    path.parent.mkdir(parents=True)
    asks = sweep.path.parent / "another"
    asks.mkdir()
    with Lease(asks) as lease:
        unseen = what_is_wrong_here(path, lease.session, NUMERICS_VERSION)
        assert "does not see the store" in str(unseen), "not written yet"
        write_measurement(path, asked)
        wrong = what_is_wrong_here(path, lease.session, NUMERICS_VERSION)
        assert wrong is None, "the sweep that asks is at work, whichever trained the network"
    assert what_is_wrong_here(path, lease.session, NUMERICS_VERSION)
