"""Trials on every core and node that Ray sees. The only file that imports ray.

Ray Tune schedules and nothing else: it places trials and notices when their processes die. What a trial does and how it ended
is in the store; Tune's own snapshots are never read. One fresh `Tuner` for each invocation; a searcher of ours hands out
trials by name. Workers stay warm: an actor trains one trial after another, which costs milliseconds instead of the seconds
that a new process needs.
"""

import logging
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

# Ray reads these when it is imported. Tune's own logs, its chdir and its handler of Ctrl-C would all come on top of ours.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_COLOR_PREFIX", "0")

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.errors import ClusterError, StoreError
from orchestrator.queue import TrialQueue
from orchestrator.trial import Outcome, TrialSpec

_OBJECT_STORE_BYTES = 80 * 1024**2
"""Trials exchange nothing through Ray's object store; this is about the least that Ray accepts."""
_KNOCK_SECONDS = 10.0


def run_on_ray(queue: TrialQueue, address: str | None = None) -> None:
    """Train whatever the queue hands out; see `Executor`. `address` names a running cluster; without one, this machine is
    used.
    """
    _connect(address)
    try:
        _refuse_what_never_fits(queue, address)
        searcher = _QueueSearcher(queue)
        with TemporaryDirectory(prefix="orchestrator-tune-") as scratch:
            _tuner(searcher, scratch).fit()
        if searcher.error:
            raise StoreError(searcher.error)
    finally:
        ray.shutdown()


class _WarmWorker(tune.Trainable):
    """An actor that trains whole trials; its one step is one trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self._trial = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._trial = new_config
        return True

    def step(self) -> dict[str, Any]:
        from orchestrator.worker import run_trial  # only where trials run: the driver never needs torch

        try:
            outcome = run_trial(Path(self._trial["path"]), self._trial["session"])
        except StoreError as error:
            return {"error": str(error), "done": True}
        return {"outcome": str(outcome), "done": True}


class _QueueSearcher(Searcher):
    """Offers Tune the queue's next trial whenever it has room for one."""

    def __init__(self, queue: TrialQueue) -> None:
        super().__init__(metric="outcome", mode="max")
        self._queue = queue
        self._trials: dict[str, TrialSpec] = {}
        self.error: str | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a string
        try:
            trial = self._queue.next()
        except StoreError as error:
            self._give_up(str(error))
            trial = None
        if trial is None:
            # with nothing running, "not now" would make Tune wait for ten minutes
            return Searcher.FINISHED if self._queue.is_finished else None
        self._trials[trial_id] = trial
        return {
            "path": str(self._queue.store.directory(trial).path),
            "session": self._queue.session,
            "cpus": trial.resources.cpus,
            "gpus": trial.resources.gpus,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._trials.pop(trial_id)
        result = result or {}
        if "error" in result:
            self._give_up(result["error"])
        outcome = Outcome(result["outcome"]) if "outcome" in result and not error else None
        self._queue.ended(trial, outcome)

    def _give_up(self, error: str) -> None:
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


def _tuner(searcher: _QueueSearcher, scratch: str) -> tune.Tuner:
    trainable = tune.with_resources(
        _WarmWorker, lambda config: tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
        ),
    )


def _connect(address: str | None) -> None:
    local = address is None
    try:
        _knock(address)
        ray.init(
            address="local" if local else address,
            include_dashboard=False if local else None,
            object_store_memory=_OBJECT_STORE_BYTES if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        # Tune logs a traceback of its own for every dead process; what it means for the trial is in the store and on the screen
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = "a Ray cluster on this machine" if local else f"the Ray cluster at {address}"
        raise ClusterError(f"cannot reach {where}: {' '.join(str(error).split())}") from error


def _knock(address: str | None) -> None:
    """Raise `OSError` at once where nobody listens any more: Ray itself would try for minutes, and then end the process."""
    if address == "auto":
        last_started = Path(gettempdir(), "ray", "ray_current_cluster")  # where `ray start` leaves the address for `auto` to find
        address = os.environ.get("RAY_ADDRESS") or (last_started.read_text() if last_started.exists() else None)
    host, _, port = (address or "").strip().removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _refuse_what_never_fits(queue: TrialQueue, address: str | None) -> None:
    if address is not None:  # a cluster may grow
        return
    have = ray.cluster_resources()  # type: ignore[no-untyped-call]
    for trial in queue.waiting:
        for kind, wanted in (("CPU", trial.resources.cpus), ("GPU", trial.resources.gpus)):
            if wanted > have.get(kind, 0):
                message = f"trial {trial.name} asks for {wanted:g} {kind}s, this machine has {have.get(kind, 0):g}"
                raise ClusterError(f"{message}; lower 'resources' in the spec, or name a larger cluster with --address")
