"""Trials on every core and node that Ray sees.

Ray Tune schedules and nothing else: it places trials and notices when their processes die. What a trial does and how it ended
is in the store; Tune's own snapshots are never read. One fresh `Tuner` for each invocation; a searcher of ours hands out
trials by name. Workers stay warm: an actor trains one trial after another, which costs milliseconds instead of the seconds
that a new process needs.

Trials start in the order of the road. One that is next and must wait for its place is not overtaken by smaller ones, which
could keep it from ever finding one; only a trial that no node could hold at this moment is passed over.
"""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.capacity import demand
from orchestrator.errors import OrchestratorError, StoreError
from orchestrator.executors.ray_cluster import Cluster, this_node_is_draining
from orchestrator.queue import TrialQueue
from orchestrator.trial import Outcome, TrialSpec

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

_PATIENCE_SECONDS = 60.0
"""How long trials that no node can hold any more wait for a node, once nothing else is left to do."""
_DRAIN_LOOK_SECONDS = 2.0
"""A node that is being drained has 30 seconds by default."""


def run_on_ray(queue: TrialQueue, address: str | None = None) -> None:
    """Train whatever the queue hands out; see `Executor`. `address` names a running cluster; without one, this machine is
    used.
    """
    cluster = Cluster(address)
    try:
        if error := cluster.shortage(queue.waiting):
            raise error
        cluster.check_store(queue.store.root)
        searcher = _QueueSearcher(queue, cluster)
        with TemporaryDirectory(prefix="orchestrator-tune-") as scratch:
            cluster.wait_for(_tuner(searcher, scratch).fit)
        if searcher.error:
            raise searcher.error
    finally:
        cluster.disconnect()


class _WarmWorker(tune.Trainable):
    """An actor that trains whole trials; its one step is one trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self._trial = config
        self._is_training = False
        signal.signal(signal.SIGTERM, self._on_sigterm)
        threading.Thread(target=_leave_when_draining, name="drain", daemon=True).start()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trial = new_config
        return True

    def step(self) -> dict[str, Any]:
        from orchestrator import worker  # only where trials run: the driver never needs torch

        self._is_training = True
        try:
            outcome = worker.run_trial(Path(self._trial["path"]), self._trial["session"])
        except StoreError as error:
            return {"error": f"{error} (on node {socket.gethostname()})", "done": True}
        finally:
            self._is_training = False
        if worker.leave.is_set():
            os._exit(0)  # the trial's last word is in the store; this process, on its way out, must not be given another
        return {"outcome": str(outcome), "done": True} if outcome else {"done": True}

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        from orchestrator import worker

        worker.leave.set()
        if not self._is_training:
            os._exit(0)


def _leave_when_draining() -> None:
    """Runs in a worker: a node that is preempted is drained first, which Ray tells nobody on it."""
    from orchestrator import worker

    while not worker.leave.wait(_DRAIN_LOOK_SECONDS):
        if this_node_is_draining():
            worker.leave.set()


class _QueueSearcher(Searcher):
    """Offers Tune the queue's next trial whenever it has room for one."""

    def __init__(self, queue: TrialQueue, cluster: Cluster) -> None:
        super().__init__(metric="outcome", mode="max")
        self._queue = queue
        self._cluster = cluster
        self._trials: dict[str, TrialSpec] = {}
        self._withdrawn: set[str] = set()
        self._stuck_since: float | None = None
        self.error: OrchestratorError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a string
        try:
            trial = self._queue.next(self._cluster.can_hold)
        except StoreError as error:
            self._give_up(error)
            trial = None
        if trial is None:
            self._lose_patience_where_nothing_fits()
            return Searcher.FINISHED if self._queue.is_finished else None
        self._stuck_since = None
        self._trials[trial_id] = trial
        path = str(self._queue.store.directory(trial).path)
        return {"path": path, "session": self._queue.session, "demand": demand(trial.resources)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._trials.pop(trial_id)
        if trial_id in self._withdrawn:
            self._queue.give_back(trial)
            return
        result = result or {}
        if "error" in result:
            self._give_up(StoreError(result["error"]))
        outcome = Outcome(result["outcome"]) if "outcome" in result and not error else None
        self._queue.ended(trial, outcome)

    def withdraw_what_lost_its_node(self, controller: "TuneController") -> None:
        """Take back a trial that waits in Tune for a place that is gone: all others would wait behind it."""
        live = controller.get_live_trials()  # type: ignore[no-untyped-call]
        for pending in [trial for trial in live if trial.status == "PENDING"]:
            trial = self._trials.get(pending.trial_id)
            if trial and not self._cluster.can_hold(trial.resources):
                self._withdrawn.add(pending.trial_id)
                controller.stop_trial(pending)  # type: ignore[no-untyped-call]

    def _lose_patience_where_nothing_fits(self) -> None:
        if self._queue.running or self._queue.is_finished:
            return
        self._stuck_since = self._stuck_since or time.monotonic()
        patience = _PATIENCE_SECONDS if self._cluster.may_recover else 0.0
        if time.monotonic() - self._stuck_since >= patience and (error := self._cluster.shortage(self._queue.waiting)):
            self._give_up(error)

    def _give_up(self, error: OrchestratorError) -> None:
        """Let what runs come to its end, and hand out no more."""
        self.error = error
        self._queue.stop()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store knows."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: never restored."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher; the queue has threads and open files behind it and stays here."""
        return {}


class _OneAtATime(FIFOScheduler):
    """The searcher has chosen already: looking through all trials of the sweep for one that waits would only take time."""

    def __init__(self, searcher: _QueueSearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def choose_trial_to_run(self, tune_controller: "TuneController") -> None:
        self._searcher.withdraw_what_lost_its_node(tune_controller)


def _tuner(searcher: _QueueSearcher, scratch: str) -> tune.Tuner:
    trainable = tune.with_resources(_WarmWorker, lambda config: tune.PlacementGroupFactory([config["demand"]]))
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(search_alg=searcher, scheduler=_OneAtATime(searcher), num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
        ),
    )
