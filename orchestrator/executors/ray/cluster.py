"""The cluster that trials run on: reached, known node by node, and held to a store that every
node sees.
"""

import atexit
import logging
import os
import secrets
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import ray
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from illama.config import NUMERICS_VERSION
from orchestrator.errors import ClusterError, DamagedFile, NewerFile
from orchestrator.executors import has_token
from orchestrator.executors.ray import internals
from orchestrator.executors.ray.network import check_address, check_this_machine, greet, knock
from orchestrator.planning.capacity import Node, fits, shortage
from orchestrator.store.files import write_whole
from orchestrator.store.lease import read_lease
from orchestrator.store.measurements import is_measurement, sweep_that_asks, trial_folder
from orchestrator.trial import Resources, TrialSpec

_OBJECT_STORE_BYTES = 80 * 1024**2
"""Trials exchange nothing through Ray's object store; this is about the least that Ray accepts."""
_LONGEST_TMPDIR = 35
"""Ray's sockets lie some 70 characters below; Linux takes 107."""
_SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_SHORT_TMPDIR = "/tmp/ray"
_NODE_ANSWER_SECONDS = 120.0
_HEAD_SILENCE_SECONDS = 10.0
_LOOK_SECONDS = 1.0
"""Seconds for which the list of nodes is believed."""
_DRAIN_LOOK_SECONDS = 2.0
"""A node that is being drained has 30 seconds by default."""
_NODE_ID_LABEL = "ray.io/node-id"
"""Ray gives it to every node."""
_HINT = (
    "give --store a path that every node mounts, install the same version everywhere, or "
    "remove the node"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterNode:
    """A node that may run trials."""

    id: str
    name: str
    capacity: Node


class Cluster:
    """A running Ray that this process is connected to."""

    def __init__(self, address: str | None = None) -> None:
        """`address` names a running cluster; without one, this machine becomes one. Raises
        `ClusterError`.
        """
        self._where = f"the cluster at {address}" if address else "this machine"
        self._is_own = address is None
        self._looked = -_LOOK_SECONDS
        self._nodes: Sequence[ClusterNode] = ()
        self._left_out: dict[str, str] = {}  # what is wrong with a node, by its id
        _connect(address)
        self._head = ray.get_runtime_context().gcs_address
        self._may_grow = not self._is_own and _has_autoscaler()

    @property
    def nodes(self) -> Sequence[ClusterNode]:
        """The nodes that may run trials at this moment."""
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._nodes = tuple(
                ClusterNode(
                    node["NodeID"],
                    f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})",
                    node["Resources"],
                )
                for node in ray.nodes()  # type: ignore[no-untyped-call]
                if node["Alive"] and node["NodeID"] not in self._left_out
                if node["Resources"].get("CPU") or node["Resources"].get("GPU")
            )
            self._looked = time.monotonic()
        return self._nodes

    def leave_out(self, node_id: str, problem: str) -> None:
        """Place no more trials on a node that turned out to be unable to train; said once."""
        if node_id in self._left_out:
            return
        name = next((node.name for node in self.nodes if node.id == node_id), node_id)
        self._left_out[node_id] = f"node {name} {problem}"
        self._looked = -_LOOK_SECONDS
        _log.warning("%s; it gets no trials. What to do: %s", self._left_out[node_id], _HINT)

    @property
    def placement(self) -> dict[str, str]:
        """Labels of the nodes that trials may be placed on; empty where that is any."""
        if not self._left_out:
            return {}
        return {_NODE_ID_LABEL: f"!in({','.join(self._left_out)})"}

    def can_hold(self, resources: Resources) -> bool:
        """Tell whether such a trial may ever run without anybody adding a node: an autoscaler
        does.
        """
        return self._may_grow or fits(resources, [node.capacity for node in self.nodes])

    @property
    def may_recover(self) -> bool:
        """True if a node that is lost may come back, or another one for it."""
        return not self._is_own

    def shortage(self, trials: Sequence[TrialSpec]) -> ClusterError | None:
        """Return what is wrong where a trial can never run; None where each can."""
        if self._is_own and not self.nodes and not self._left_out:
            return ClusterError("Ray died on this machine; run the same command to continue")
        if self._may_grow:
            return None
        problem = shortage(trials, [node.capacity for node in self.nodes], self._where)
        if problem is None:
            return None
        if self._left_out:
            return ClusterError(
                f"{problem}; left out: {'; '.join(self._left_out.values())}. What to do: {_HINT}"
            )
        hint = "add a node that is large enough"
        if self._is_own:
            hint = "name a larger cluster with --address"
        return ClusterError(f"{problem}; lower 'resources' in the spec, or {hint}")

    def check_store(self, root: Path) -> None:
        """Have each node write to the store and read what was written here. Raises
        `ClusterError`, naming those that cannot.
        """
        if self._is_own:
            return
        token = uuid.uuid4().hex
        write_whole(root / f".driver-{token}", token.encode())
        try:
            ask = [(node, _use_store.options(scheduling_strategy=_on(node))) for node in self.nodes]
            asked = [
                (node, task.remote(root, token, node.id, NUMERICS_VERSION)) for node, task in ask
            ]
            answers = {
                node.name: self._problem(node, answer, root, token) for node, answer in asked
            }
        finally:
            for path in root.glob(f".*-{token}*"):
                path.unlink(missing_ok=True)
        if problems := [f"node {name} {problem}" for name, problem in answers.items() if problem]:
            raise ClusterError(
                f"not every node can train here: {'; '.join(problems)}. What to do: {_HINT}"
            )

    def wait_for(self, work: Callable[[], object]) -> None:
        """Do `work` in a thread and wait for it. Raises `ClusterError` when the head is gone: calls
        to it hang then, until Ray ends the process with a dump.
        """
        done: Future[object] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001  it is raised again where it is waited for
                done.set_exception(error)

        threading.Thread(target=run, name="ray", daemon=True).start()
        heard = time.monotonic()
        while not wait([done], timeout=_LOOK_SECONDS).done:
            try:
                knock(self._head)
                heard = time.monotonic()
            except OSError as error:
                if time.monotonic() - heard > _HEAD_SILENCE_SECONDS:
                    hint = "run the same command to continue"
                    if not self._is_own:
                        hint = f"start it again, and {hint}"
                    raise ClusterError(
                        f"the Ray head on {self._where} no longer answers; {hint}"
                    ) from error
        done.result()

    def disconnect(self) -> None:
        """Leave the cluster; where its head is gone, saying goodbye would hang until Ray ends
        the process with a dump.
        """
        try:
            knock(self._head)
        except OSError:
            atexit.register(_exit_without_ray)
        else:
            ray.shutdown()

    def _problem(self, node: ClusterNode, answer: Any, root: Path, token: str) -> str | None:
        try:
            problem: str | None = ray.get(answer, timeout=_NODE_ANSWER_SECONDS)
            if problem is None and not (root / f".node-{token}-{node.id}").exists():
                problem = f"has a different {root}, not the one here"
        except ray.exceptions.RayError as error:
            self._looked = -_LOOK_SECONDS
            gone = node.id not in {other.id for other in self.nodes}
            last_line = str(error).strip().splitlines()[-1]
            problem = None if gone else f"cannot run the check of the store: {last_line}"
        return problem


def _exit_without_ray() -> None:
    """The last thing that a process does whose cluster is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ClusterError.exit_code)


def leave_when_draining(leave: threading.Event) -> None:
    """Runs in a worker, and sets `leave` where its node will soon be gone.

    One that is preempted is drained first, which Ray tells nobody on it.
    """
    node_id = ray.get_runtime_context().get_node_id()
    while not leave.wait(_DRAIN_LOOK_SECONDS):
        if node_id in internals.draining_nodes():
            leave.set()


def _on(node: ClusterNode) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


@ray.remote(num_cpus=0, max_retries=0)
def _use_store(root: Path, token: str, node_id: str, numerics_version: int) -> str | None:
    """Check on a node that it can use the store. Returns what is wrong there."""
    if problem := _other_version(numerics_version):
        return problem
    try:
        (root / f".driver-{token}").read_bytes()
        write_whole(root / f".node-{token}-{node_id}", b"")
    except OSError as error:
        return f"cannot use the store at {root}: {error.strerror}"
    return None


def what_is_wrong_here(work: Path, session: str, numerics_version: int) -> str | None:
    """Say what keeps this node, which may have joined late, from doing `work` for this driver.

    A worker asks before each trial. `work` is a trial's folder, or the file of a measurement.
    """
    if problem := _other_version(numerics_version):
        return problem
    trial = trial_folder(work) if is_measurement(work) else work
    root = trial.parents[2]
    try:
        sweep = _sweep_at_work(work)
        holder = read_lease(sweep) if sweep else None
    except (DamagedFile, NewerFile) as damage:
        return f"cannot read which driver is running: {damage}"
    if holder is None or (holder.session != session and not holder.is_alive):
        return f"does not see the store: {root} is missing there, or is a different folder"
    if not os.access(trial, os.W_OK):
        return f"cannot write the store at {root}"
    return None


def _sweep_at_work(work: Path) -> Path | None:
    """The folder of the sweep that asks for `work`; None where the request cannot be seen."""
    if not is_measurement(work):
        return work.parents[1] if (work / "trial.json").exists() else None
    try:  # of a network that another sweep may have trained
        return sweep_that_asks(work)
    except FileNotFoundError:
        return None


def _other_version(numerics_version: int) -> str | None:
    if numerics_version == NUMERICS_VERSION:
        return None
    return (
        f"has a different version of this package: numerics version {NUMERICS_VERSION} there, "
        f"{numerics_version} here"
    )


def _has_autoscaler() -> bool:
    """Tell whether nodes may come because trials ask: an autoscaler's node types have names."""
    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    names = [node.ray_node_type_name for node in status.active_nodes + status.idle_nodes]
    names += (internals.autoscaler_report().get("node_type_mapping") or {}).values()
    return not all(name.startswith("node_") for name in names)


def _connect(address: str | None) -> None:
    local = address is None
    where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
    if address is not None:
        check_address(address)
    try:
        if local:
            check_this_machine()
        else:
            greet(address)
        on_sigterm = signal.getsignal(signal.SIGTERM)
        _listen_to_this_machine_alone(local)
        with _children_outlive_the_terminal():
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(_settings_of_our_own() if local else {}),
            )
        signal.signal(
            signal.SIGTERM, on_sigterm
        )  # Ray takes it for itself and would end the driver before anything is saved
        internals.silence_dead_workers()
        # Tune prints a traceback for every dead process
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    except Exception as error:
        raise ClusterError(
            f"cannot reach {where}: {' '.join(str(error).split())}{_advice(error, local=local)}"
        ) from error


@contextmanager
def _children_outlive_the_terminal() -> Iterator[None]:
    """Have the processes that are started here not die when a terminal is closed, which says so to
    all that run in it: the driver has workers save first, and then ends them all.

    A mask of signals is inherited; one that comes meanwhile reaches the driver afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settings_of_our_own() -> dict[str, Any]:
    """Settings of `ray.init` for a cluster of this machine alone: it listens to nobody else and
    writes nothing into a home.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") == "token" and not has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    settings: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    if "RAY_TMPDIR" not in os.environ and len(gettempdir()) > _LONGEST_TMPDIR:
        settings["_temp_dir"] = _SHORT_TMPDIR
    return settings


def _listen_to_this_machine_alone(wanted: bool) -> None:
    """Have Ray's processes do on Linux what they do on other systems: listen on the loopback
    interface.

    Ray takes 127.0.0.1 as the address of a node for a mistake, and puts the one of the network in
    its place.
    """
    if wanted:
        os.environ[_SEVERAL_MACHINES] = "0"  # of the processes that it starts
    elif os.environ.get(_SEVERAL_MACHINES) == "0":
        del os.environ[_SEVERAL_MACHINES]
    internals.listen_to_this_machine_alone(wanted)


def _advice(error: Exception, *, local: bool) -> str:
    """Advise what to do about an error, where that is known."""
    words = f"{error} {error.__context__}"
    if "token" in words and not local:
        return "; it requires a token: copy ~/.ray/auth_token from the node where it was started"
    if "AF_UNIX" in words:
        return "; set RAY_TMPDIR to a short path, such as /tmp"
    if local:
        return "; --executor local needs no Ray"
    return ""
