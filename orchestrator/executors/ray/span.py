"""One trial over several nodes: each bundle of its placement group holds a part of its processes.

The worker leads from the first bundle, and deputies in the others start the processes there
(`illama.training.distributed`). Ray Train is not used: inside a trial it has a placement group of
its own, which Tune knows nothing of, and its own retries and checkpoints.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.executors.ray.actors import where_it_could_not_start
from orchestrator.executors.ray.cluster import leave_when_draining, what_is_wrong_here
from orchestrator.planning.capacity import demand
from orchestrator.running.limits import memory_limit
from orchestrator.running.processes import guard_this_process
from orchestrator.store.store import TrialDirectory
from orchestrator.trial import TrialSpec

if TYPE_CHECKING:
    from illama.training.distributed import MeetingPoint, Ranks

_ANSWER_SECONDS = 120.0


class CannotTrain(Exception):
    """A node of the trial turned out to be of no use; nothing has happened to the trial."""

    def __init__(self, node_id: str, problem: str) -> None:
        super().__init__(problem)
        self.node_id = node_id


class Span:
    """The other nodes of the trial that this worker leads:
    `illama.training.distributed.OtherNodes`.
    """

    def __init__(self, path: Path, session: str, numerics_version: int) -> None:
        """Raises `CannotTrain`, and `RayError` where a node is lost already or does not answer."""
        trial = TrialDirectory(path).read_trial()
        self.host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        amounts = demand(trial.resources)
        options = {
            "num_cpus": amounts.get("CPU", 0),
            "num_gpus": amounts.get("GPU", 0),
            "memory": amounts.get("memory"),
        }
        group = ray.util.get_current_placement_group()
        assert group is not None, "a worker is in the placement group of its trial"
        places = [
            PlacementGroupSchedulingStrategy(group, index)
            for index in range(1, trial.resources.nodes)
        ]
        deputy: Any = ray.remote(_Deputy)  # which mypy takes for a class
        self._deputies = [
            deputy.options(scheduling_strategy=place, **options).remote(path, trial)
            for place in places
        ]
        self._ends: list[Any] = []
        try:
            self.names: Sequence[str] = self._check(session, numerics_version)
        except CannotTrain:
            self.end()
            raise

    def _check(self, session: str, numerics_version: int) -> list[str]:
        """Return the names of the nodes; raise `CannotTrain` where one cannot train the trial."""
        asked = [
            deputy.what_is_wrong.remote(session, numerics_version) for deputy in self._deputies
        ]
        try:
            answers = ray.get(asked, timeout=_ANSWER_SECONDS)
        except ray.exceptions.RayActorError as error:
            if place := where_it_could_not_start(error):
                raise CannotTrain(*place) from error
            raise
        for node_id, _, problem in answers:
            if problem:
                raise CannotTrain(node_id, problem)
        return [name for _, name, _ in answers]

    def start(self, meeting_point: "MeetingPoint", follow: "Callable[[Ranks], None]") -> None:
        """Return when all processes are there; see `OtherNodes`."""
        started = [
            deputy.start.remote(node, meeting_point, follow)
            for node, deputy in enumerate(self._deputies, 1)
        ]
        for error in map(_answer, started):
            if error:
                raise error
        self._ends = [deputy.wait.remote() for deputy in self._deputies]

    def failure(self) -> Exception | None:
        """Return what has befallen a node; where one is about to be taken away, the trial is told
        to leave.
        """
        from orchestrator.running import worker

        ended, self._ends = (
            ray.wait(self._ends, num_returns=len(self._ends), timeout=0) if self._ends else ([], [])
        )
        for error in map(_answer, ended):
            if error:
                return error
            worker.leave.set()
        return None

    def end(self) -> None:
        """End the deputies; their processes end with them."""
        for deputy in self._deputies:
            ray.kill(deputy)


def span_of(path: Path, session: str, numerics_version: int, nodes: int) -> Span | None:
    """Look whether all nodes of the trial can train it; none where this one is all. Raises
    `CannotTrain`.
    """
    if problem := what_is_wrong_here(path, session, numerics_version):
        raise CannotTrain(ray.get_runtime_context().get_node_id(), problem)
    try:
        return Span(path, session, numerics_version) if nodes > 1 else None
    except ray.exceptions.RayError:
        os._exit(
            0
        )  # with its places on all nodes; nothing has happened to the trial but that it was lost


def _answer(reference: Any) -> Exception | None:
    """Return a deputy's answer, or how it ended, as `illama` and the worker know it."""
    from orchestrator.running.worker import NodeLost

    try:
        error: Exception | None = ray.get(reference)
    except ray.exceptions.OutOfMemoryError as killed:
        error = MemoryError("killed by Ray: " + str(killed).partition("\n")[0])
    except ray.exceptions.RayError as lost:
        error = NodeLost(f"a node of the trial was lost: {str(lost).strip().splitlines()[-1]}")
    return error


class _Deputy:
    """Deputy on another node: starts the processes there and says what befalls them."""

    def __init__(self, path: Path, trial: TrialSpec) -> None:
        self._path, self._trial = path, trial
        self._leave = threading.Event()
        self._stack = ExitStack()
        guard_this_process()
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def what_is_wrong(self, session: str, numerics_version: int) -> tuple[str, str, str | None]:
        """The node's id, its name, and what keeps it from training."""
        node_id = ray.get_runtime_context().get_node_id()
        return (
            node_id,
            socket.gethostname(),
            what_is_wrong_here(self._path, session, numerics_version),
        )

    def start(
        self, node: int, meeting_point: "MeetingPoint", follow: "Callable[[Ranks], None]"
    ) -> Exception | None:
        """Return when they are there, or what kept them from it."""
        from orchestrator.running import worker

        try:
            self._stack.enter_context(
                memory_limit(self._trial.resources.memory, TrialDirectory(self._path))
            )
            self._followers = worker.start_followers(
                self._path, self._trial, node, meeting_point, follow
            )
        except Exception as error:  # noqa: BLE001  the leader raises it
            return error
        return None

    def wait(self) -> Exception | None:
        """Return what befell one of them; none where this node is about to be taken away."""
        from orchestrator.running.worker import LOOK_SECONDS

        threading.Thread(
            target=leave_when_draining, args=(self._leave,), name="drain", daemon=True
        ).start()
        while not self._leave.wait(LOOK_SECONDS):
            if failure := self._followers.look():
                return failure
        return None

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._leave.set()
