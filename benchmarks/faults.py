"""Faults that `benchmarks/chaos.py` causes in a sweep, and what a sweep runs with there: store,
cluster, tracking server.
"""

import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from orchestrator.tracking.server import free_port, start_server, wait_until_it_answers

EVERYWHERE = ("driver", "worker", "torn", "full", "tracking")
ON_ONE_MACHINE = ("raylet",)
ON_A_CLUSTER = ("node", "head")
FAULTS = (*EVERYWHERE, *ON_ONE_MACHINE, *ON_A_CLUSTER)
SURVIVED = ("worker", "node", "tracking")
"""What a driver has to come through alive."""

_NODES = 2
_OBJECT_STORE_BYTES = 80_000_000
_DISK_BYTES = 256_000_000
_START_SECONDS = 120.0
_NODE_SECONDS = 40.0

_WAIT_FOR_CORES = """
import sys, time, ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
while ray.cluster_resources().get("CPU", 0) < int(sys.argv[2]):
    time.sleep(0.2)
"""

Process = subprocess.Popen[bytes]


class Surroundings:
    """A context manager; `store`, `tracking_uri` and `driver()` are good inside of it."""

    def __init__(self, scratch: Path, faults: Sequence[str], *, cluster: bool) -> None:
        self.store = scratch / "disturbed"
        self._scratch = scratch
        self._with_server = "tracking" in faults
        self._with_small_disk = "full" in faults
        self._cluster = _Cluster() if cluster else None
        self._server: Process | None = None
        self._port = free_port()
        self._stack = ExitStack()

    @property
    def tracking_uri(self) -> str:
        """Address that the sweep is mirrored to."""
        return (
            f"http://127.0.0.1:{self._port}"
            if self._with_server
            else f"sqlite:///{self.store / 'mlflow.db'}"
        )

    def __enter__(self) -> Self:
        with (
            ExitStack() as stack
        ):  # what is up already goes down again where the rest does not come up
            self._set_up(stack)
            self._stack = stack.pop_all()
        return self

    def _set_up(self, stack: ExitStack) -> None:
        self.store.mkdir()
        if self._with_small_disk:
            options = ["-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs"]
            if subprocess.run(["mount", *options, str(self.store)], check=False).returncode:
                raise SystemExit(
                    "no small disk to fill, which takes root: leave the fault `full` out, with "
                    "--faults"
                )
            stack.callback(subprocess.run, ["umount", "--lazy", str(self.store)], check=True)
        if self._with_server:
            stack.callback(self._stop_server)
            self._start_server()
        if self._cluster:
            stack.callback(self._cluster.stop)
            self._cluster.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def driver(self, spec: Path) -> Process:
        """Start or go on with the sweep; always the same command."""
        command = [
            sys.executable,
            "-m",
            "orchestrator",
            "run",
            str(spec),
            "--store",
            str(self.store),
        ]
        command += ["--tracking-uri", self.tracking_uri] if self._with_server else []
        command += ["--address", self._cluster.address] if self._cluster else []
        environment = self._cluster.environment if self._cluster else None
        with (self._scratch / "driver.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def strike(self, fault: str, driver: Process, dice: random.Random) -> bool:  # noqa: C901
        """Do it; returns whether there was anything to hit. A driver that does not survive it
        has ended then.
        """
        match fault:
            case "driver":
                kill_with_children(driver, only_itself=True)
            case "torn":
                return self._tear_a_checkpoint(driver, dice)
            case "worker":
                workers = _named("ray::", self._cluster.processes if self._cluster else [driver])
                return bool(workers) and _killed(dice.choice(workers))
            case "raylet":
                raylets = _named("raylet", [driver])
                for raylet in raylets:
                    raylet.kill()
                if raylets:
                    _end(driver, 5.0)
                return bool(raylets)
            case "node":
                assert self._cluster
                self._cluster.lose_a_node(dice)
            case "head":
                assert self._cluster
                self._cluster.stop()
                _end(driver, 15.0)
                self._cluster.start()
            case "full":
                self._fill_the_disk(driver)
            case "tracking":
                self._stop_server()
                time.sleep(dice.uniform(1.0, 6.0))
                self._start_server()
        return True

    def _tear_a_checkpoint(self, driver: Process, dice: random.Random) -> bool:
        """Cut it, or flip a bit of it; of a trial that would go on from it."""
        checkpoints = _checkpoints(self.store)
        if not checkpoints:
            return False
        path = dice.choice(checkpoints)
        kill_with_children(driver, only_itself=True)
        content = bytearray(path.read_bytes())
        if dice.random() < 0.5:
            content = content[: dice.randrange(len(content))]
        else:
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)
        return True

    def _fill_the_disk(self, driver: Process) -> None:
        ballast = self.store / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1_000_000))
            except OSError:
                pass  # full, as meant
        _end(driver, 15.0)
        ballast.unlink()

    def _start_server(self) -> None:
        log = self._scratch / "server.log"
        artifacts = ("--artifacts-destination", str(self._scratch / "artifacts"))
        self._server = start_server(
            f"sqlite:///{self._scratch / 'server.db'}", self._port, log, *artifacts
        )
        wait_until_it_answers(self._server, self._port, log)

    def _stop_server(self) -> None:
        if self._server:
            kill_with_children(self._server)


class _Cluster:
    """A head without cores and some nodes of one core each, all on this machine."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        """The head's first, then one for each node."""
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }

    def start(self) -> None:
        port = self.address.rpartition(":")[2]
        self.processes = [
            self._ray_start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        ]
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(int(port)):
            if time.monotonic() > deadline:
                raise SystemExit("the cluster's head does not start")
            time.sleep(0.2)
        while (
            len(self.processes) <= _NODES
        ):  # one after the other: two that start together may choose the same port, and die
            self.processes.append(self._node())
            waiting = [
                sys.executable,
                "-c",
                _WAIT_FOR_CORES,
                self.address,
                str(len(self.processes) - 1),
            ]
            try:
                subprocess.run(waiting, env=self.environment, timeout=_NODE_SECONDS, check=True)
            except subprocess.TimeoutExpired:
                kill_with_children(self.processes.pop())

    def stop(self) -> None:
        for process in self.processes:
            kill_with_children(process)

    def lose_a_node(self, dice: random.Random) -> None:
        """One goes at once and with all that runs on it; another comes."""
        index = dice.randrange(1, len(self.processes))
        kill_with_children(self.processes[index])
        self.processes[index] = self._node()

    def _node(self) -> Process:
        return self._ray_start(f"--address={self.address}", "--num-cpus=1")

    def _ray_start(self, *options: str) -> Process:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        command += [f"--object-store-memory={_OBJECT_STORE_BYTES}", "--disable-usage-stats"]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment
        )


def kill_with_children(process: Process, *, only_itself: bool = False) -> None:
    """SIGKILL, and wait until it is gone."""
    try:
        children = [] if only_itself else psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.kill()
    for child in children:
        _killed(child)  # or it went with its parent
    process.wait()


def _killed(process: psutil.Process) -> bool:
    """Kill the process, and tell whether it was still there."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def _end(driver: Process, patience: float) -> None:
    """Let the driver notice and end; it is killed where it does not."""
    try:
        driver.wait(patience)
    except subprocess.TimeoutExpired:
        kill_with_children(driver, only_itself=True)


def _named(name: str, roots: Sequence[Process]) -> list[psutil.Process]:
    """Descendants whose command begins so; of workers those that have an actor."""
    found = []
    for root in roots:
        for process in psutil.Process(root.pid).children(recursive=True):
            try:
                command = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if name in command.split(" ")[0] and (name != "ray::" or "train" in command):
                found.append(process)
    return found


def _checkpoints(store: Path) -> list[Path]:
    """List the checkpoints of trials that are not done."""
    return sorted(
        path
        for path in store.glob("*/trials/*/checkpoint.pt")
        if not (path.parent / "result.json").exists()
    )


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
