"""Trials on every core and node that Ray sees.

Ray Tune schedules and nothing else: it places trials and notices when their processes die. What a
trial does and how it ended is in the store; Tune's own snapshots are never made. One fresh `Tuner`
for each invocation; a search algorithm of ours hands out trials by name. Workers stay warm: an
actor trains one trial after another, which costs milliseconds instead of the seconds that a new
process needs.

Trials start in the order of the road. One that is next and must wait for its place is not overtaken
by smaller ones, which could keep it from ever finding one; only a trial that no node could hold at
this moment is passed over.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import SearchAlgorithm

from illama.config import NUMERICS_VERSION
from orchestrator.errors import OrchestratorError, StoreError
from orchestrator.executors.base import Executor, ExecutorKind
from orchestrator.executors.ray.actors import (
    KilledForMemory,
    error_of,
    make_tune_understand,
    where_it_could_not_start,
)
from orchestrator.executors.ray.cluster import Cluster, leave_when_draining
from orchestrator.executors.ray.internals import count_no_callbacks, pending_actors
from orchestrator.executors.ray.span import CannotTrain, span_of
from orchestrator.outcomes import Outcome
from orchestrator.planning.capacity import demand
from orchestrator.running.processes import guard_this_process
from orchestrator.running.queue import TrialQueue
from orchestrator.store.files import write_whole
from orchestrator.trial import Resources, TrialSpec
from orchestrator.waiting import begun

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Experiment

_PATIENCE_SECONDS = 60.0
"""Seconds that trials wait for a node when none can hold them and nothing else is left to do."""
_ASK_SECONDS = 1.0
"""Seconds between requests to Ray for one more place while all known ones are taken: an answer
costs as much as a short trial.
"""

_KEPT_TRIALS = 100
"""Tune looks through all trials that it ever had, again and again; from so many on those that ended
are taken from it.
"""


def run_on_ray(queue: TrialQueue, address: str | None = None) -> None:
    """Train whatever the queue hands out; see `Executor`. `address` names a running cluster;
    without one, this machine is used.
    """
    begun("reaching the cluster" if address else "starting Ray")
    cluster = Cluster(address)
    begun("starting workers")
    try:
        if error := cluster.shortage(queue.waiting):
            raise error
        cluster.check_store(queue.store.root)
        searcher = _QueueSearch(queue, cluster)
        with TemporaryDirectory(prefix="orchestrator-tune-") as scratch:
            cluster.wait_for(_tuner(searcher, scratch).fit)
        if searcher.error:
            raise searcher.error
    finally:
        cluster.disconnect()


def _create(address: str | None) -> Executor:
    return partial(run_on_ray, address=address)


RAY = ExecutorKind(_create)


class _WarmWorker(tune.Trainable):
    """An actor that trains whole trials; its one step is one trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self._trial = config
        self._is_training = False
        guard_this_process()
        signal.signal(signal.SIGTERM, self._on_sigterm)
        threading.Thread(target=_leave_when_draining, name="drain", daemon=True).start()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trial = new_config
        return True

    def step(self) -> dict[str, Any]:
        from orchestrator.running import (
            worker,
        )  # only where trials run: the driver never needs torch

        path, session = Path(self._trial["path"]), self._trial["session"]
        others = None
        self._is_training = True
        try:
            others = span_of(path, session, self._trial["numerics_version"], self._trial["nodes"])
            outcome = worker.run_trial(path, session, others)
        except CannotTrain as error:
            return {"cannot_train": str(error), "node": error.node_id, "done": True}
        except StoreError as error:
            return {"error": f"{error} (on node {socket.gethostname()})", "done": True}
        finally:
            self._is_training = False
        if worker.leave.is_set() or (others and outcome in (None, Outcome.LOST)):
            # Places on several nodes go all at once. The trial's last word is in the store; this
            # process, on its way out, must not be given another.
            os._exit(0)
        if outcome is None:
            return {"done": True}
        return {"outcome": str(outcome), "done": True}

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        from orchestrator.running import worker

        worker.leave.set()
        if not self._is_training:
            os._exit(0)


def _leave_when_draining() -> None:
    from orchestrator.running import worker  # in a thread of its own, since that takes seconds

    leave_when_draining(worker.leave)


class _TuneTrial(Trial):
    """A trial of Tune without what Tune does for each: asking the cluster for the worker's class
    and the worker for metrics before it has any, statistics of its results, and a snapshot that
    nobody reads.
    """

    def __init__(
        self,
        experiment: "Experiment",
        config: dict[str, Any],
        resources: Resources,
        labels: dict[str, str],
    ) -> None:
        bundles = [demand(resources)] * resources.nodes
        where: dict[str, Any] = {"strategy": "STRICT_SPREAD"} if resources.nodes > 1 else {}
        where |= {"bundle_label_selector": [labels] * resources.nodes} if labels else {}
        super().__init__(
            experiment.run_identifier,
            config=config,
            storage=experiment.storage,
            placement_group_factory=tune.PlacementGroupFactory(bundles, **where),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            stub=True,  # the name of its class is not looked up either
        )

    def get_trainable_cls(self) -> type[tune.Trainable]:
        return _WarmWorker

    def set_ray_actor(self, ray_actor: Any) -> None:
        self.temporary_state.ray_actor = ray_actor

    def update_last_result(self, result: dict[str, Any]) -> None:
        self.run_metadata.last_result = result

    def get_json_state(self) -> tuple[str, str]:
        return "{}", "{}"


class _QueueSearch(SearchAlgorithm):
    """Offers Tune the queue's next trial whenever there may be room for one."""

    def __init__(self, queue: TrialQueue, cluster: Cluster) -> None:
        self._queue = queue
        self._cluster = cluster
        self._trials: dict[str, TrialSpec] = {}
        self._withdrawn: set[str] = set()
        self._stuck_since: float | None = None
        self._has_settled = False
        self._left_places = 0
        self._has_left_since_asked = False
        self._asked_at = -_ASK_SECONDS
        self.error: OrchestratorError | None = None

    def add_configurations(self, experiments: "list[Experiment]") -> None:  # type: ignore[override]  # of the forms that it takes
        self._experiment = experiments[0]

    def is_finished(self) -> bool:
        return self._queue.is_finished

    def next_trial(self) -> Trial | None:
        if not self._may_find_a_place():
            return None
        try:
            trial = self._queue.next(self._cluster.can_hold)
        except StoreError as error:
            self._give_up(error)
            trial = None
        if trial is None:
            self._lose_patience_where_nothing_fits()
            return None
        self._stuck_since = None
        path = str(self._queue.work_path(trial))
        config = {
            "path": path,
            "session": self._queue.session,
            "numerics_version": NUMERICS_VERSION,
        }
        config["nodes"] = trial.resources.nodes
        offered = _TuneTrial(self._experiment, config, trial.resources, self._cluster.placement)
        self._trials[offered.trial_id] = trial
        self._left_places = max(0, self._left_places - 1)
        self._has_settled = False
        return offered

    def _may_find_a_place(self) -> bool:
        """While a trial waits for a place no other is offered: it would come first where a worker
        is warm already.

        A trial that finds no warm worker has Tune make a placement group, only to throw it away
        when a worker becomes free first. So what trials leave is offered at once, and more is asked
        for only now and then.
        """
        if not self._trials:
            return True  # Tune does nothing else before it has one
        if not self._has_settled or self._pending_actors():
            return False
        if self._left_places:
            return True
        now = time.monotonic()
        if self._has_left_since_asked and now - self._asked_at < _ASK_SECONDS:
            return False
        self._asked_at, self._has_left_since_asked = now, False
        return True

    def settle(self, pending_actors: Callable[[], int]) -> None:
        """Give Tune no more trials than it can place. In each of its steps Tune asks for trials
        until there is none, and only then looks for a place for them.

        `pending_actors` tells how many workers it waits for.
        """
        self._pending_actors, self._has_settled = pending_actors, True

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        trial = self._trials.pop(trial_id)
        if trial_id in self._withdrawn:
            self._queue.give_back(trial)
            return
        if not self._pending_actors():  # else one that waits takes the place
            self._left_places += 1
        self._has_left_since_asked = True
        result = result or {}
        if "cannot_train" in result:
            self._cluster.leave_out(result["node"], result["cannot_train"])
            self._queue.give_back(trial)
            return
        if "error" in result:
            self._give_up(StoreError(result["error"]))
        outcome = Outcome(result["outcome"]) if "outcome" in result and not error else None
        self._queue.ended(trial, outcome)

    def worker_died(self, trial_id: str, error: Exception | None) -> None:
        """Keep what Ray says of a dead worker with the trial's files, as at the worker's own
        limits; a trial that never began costs nothing.
        """
        if place := where_it_could_not_start(error):
            self._cluster.leave_out(*place)
            self._withdrawn.add(trial_id)
        if isinstance(error, KilledForMemory):
            try:
                write_whole(
                    self._queue.memory_path(self._trials[trial_id]),
                    str(error).encode(),
                )
            except OSError as failure:
                self._give_up(StoreError(f"cannot write {failure.filename}: {failure.strerror}"))

    def withdraw_what_lost_its_node(self, controller: "TuneController") -> None:
        """Take back a trial that waits in Tune for a place that is gone: all others would wait
        behind it.
        """
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
        waited = time.monotonic() - self._stuck_since
        if self._cluster.may_recover and waited < _PATIENCE_SECONDS:
            return
        error = self._cluster.shortage(self._queue.waiting)
        if error:
            self._give_up(error)

    def _give_up(self, error: OrchestratorError) -> None:
        """Let what runs come to its end, and hand out no more."""
        self.error = error
        self._queue.stop()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its search algorithm; the queue has threads and open files behind it and
        stays here.
        """
        return {}


class _OneAtATime(FIFOScheduler):
    """The searcher has chosen already: looking through all trials of the sweep for one that waits
    would only take time.
    """

    def __init__(self, searcher: _QueueSearch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def choose_trial_to_run(self, tune_controller: "TuneController") -> None:
        self._searcher.withdraw_what_lost_its_node(tune_controller)
        self._searcher.settle(partial(pending_actors, tune_controller))
        trials = tune_controller.get_trials()  # type: ignore[no-untyped-call]
        if len(trials) > _KEPT_TRIALS:
            trials[:] = [trial for trial in trials if not trial.is_finished()] or trials[-1:]

    def on_trial_error(self, tune_controller: "TuneController", trial: Trial) -> None:
        self._searcher.worker_died(trial.trial_id, error_of(trial))


class _Silence(TrialProgressCallback):
    """A reporter that says nothing, in the place of Tune's own, which says of a trial that is taken
    back that it completed, and keeps all that ever were.
    """

    def on_trial_result(self, *arguments: Any, **named: Any) -> None:
        pass

    on_trial_error = on_trial_complete = on_trial_result


def _tuner(searcher: _QueueSearch, scratch: str) -> tune.Tuner:
    make_tune_understand()
    count_no_callbacks()
    return tune.Tuner(
        _WarmWorker,
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=_OneAtATime(searcher), reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            callbacks=[_Silence()],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_at_end=False, checkpoint_frequency=0
            ),
        ),
    )
