"""Names of Ray that no release promises to keep, all in this file, each with what it is for.

A test holds `PRIVATE` against the installed release. Where a name is gone, a public way that is
slower or knows less takes over, and says so once: a cluster has the Ray that it has.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

_log = logging.getLogger(__name__)

PRIVATE: Mapping[str, str] = {
    "ray._private.state.state.get_draining_nodes": "a worker saves before its node is taken away",
    "ray._private.state.actors": "a node where no worker can start gets no more trials",
    "ray._private.worker.global_worker": "an autoscaler of version 1 is recognised",
    "ray._private.worker._worker_logs_enabled": "a worker that dies prints no page of its own",
    "ray._private.ray_constants.ENABLE_RAY_CLUSTER": (
        "a Ray of our own listens to this machine alone"
    ),
    "ray._raylet.GcsClient": "a server that is not Ray's is noticed before Ray waits for it",
    "ray.air._internal.usage.tag_callbacks": "Tune imports no MLflow before the first trial",
    "ray.air.execution._internal.RayActorManager._actor_start_failed": "Tune survives every error",
    "ray.air.execution._internal.RayActorManager._actor_task_failed": "Tune survives every error",
    "ray.air.execution._internal.RayActorManager.num_pending_actors": "one trial waits at a time",
    "ray.tune.execution.tune_controller.RayActorManager": "Tune takes our manager of actors",
    "ray.tune.experiment.Trial.pickled_error_file": "why a worker died stays with its trial",
    "ray.tune.experiment.Trial.get_json_state": "Tune makes no snapshot of a trial",
    "ray.tune.experiment.Trial.set_ray_actor": "Tune asks no worker for metrics that it has not",
    "ray.tune.experiment.Trial.update_last_result": "Tune keeps no statistics of results",
}
"""Uses of each private name, or undocumented attribute."""


@cache
def _say(loss: str) -> None:
    """Warn once of what this release of Ray lacks."""
    _log.warning("Ray %s has changed inside: %s", ray.__version__, loss)


_ASK = """
import sys
from ray._raylet import GcsClient
print("asking", flush=True)
GcsClient(address=sys.argv[1])
"""


def answers(address: str, seconds: float) -> bool:
    """Tell whether a cluster's head says a word within so many seconds.

    A process of its own asks: nothing but its end stops one that waits for a server that is not
    Ray's. What the word is, a refusal among them, is left to `ray.init`, which explains it.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _ASK, address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()  # however long the import of Ray takes: it is no fault of the head
        try:
            asking.wait(seconds)
        except subprocess.TimeoutExpired:
            asking.kill()
            return False
    return True


def draining_nodes() -> set[str]:
    """Ids of the nodes that will soon be taken away; none where Ray does not tell."""
    try:
        return set(ray._private.state.state.get_draining_nodes())
    except AttributeError:
        _say("a node that is preempted is noticed only when it is gone")
        return set()


def node_of_actor(actor_id: str) -> str | None:
    """Id of the node that an actor was placed on; None where Ray does not tell."""
    try:
        node: str = ray._private.state.actors(actor_id)["Address"]["NodeID"]
    except (AttributeError, KeyError):
        _say("a node where no worker can start is not left out")
        return None
    return node


def autoscaler_report() -> dict[str, Any]:
    """Return what an autoscaler of version 1 says of itself; empty where there is none."""
    try:
        gcs = ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]
        status = gcs.internal_kv_get(b"__autoscaling_status", None)
    except AttributeError:
        _say("an autoscaler of version 1 is not recognised")
        return {}
    report: dict[str, Any] = json.loads(status or "{}").get("autoscaler_report", {})
    return report


def silence_dead_workers() -> None:
    """Keep Ray from printing a page for every process that died: what it means is on the screen
    already.
    """
    ray._private.worker._worker_logs_enabled = False


def listen_to_this_machine_alone(wanted: bool) -> None:
    """Have Ray's processes in this one listen on the loopback interface, as they do on other
    systems than Linux.
    """
    if not hasattr(ray._private.ray_constants, "ENABLE_RAY_CLUSTER"):
        _say("its processes may listen on the network; a token keeps others out")
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = not wanted


def count_no_callbacks() -> None:
    """Keep Tune from counting whose callbacks it was given: to tell, it imports MLflow and Weights
    & Biases, which takes seconds before the first trial, and ours are neither's.
    """
    from ray.air._internal import usage

    if not hasattr(usage, "tag_callbacks"):
        _say("the first trial may wait until MLflow is imported")
    usage.tag_callbacks = lambda callbacks: False


def pending_actors(controller: "TuneController") -> int:
    """Count the workers that Tune has asked for and not got."""
    try:
        return int(controller._actor_manager.num_pending_actors)
    except AttributeError:
        _say("trials that wait are counted one by one")
        live = controller.get_live_trials()  # type: ignore[no-untyped-call]
        return sum(trial.status == "PENDING" for trial in live)


def translate_errors(translate: Callable[[Exception], Exception]) -> None:
    """Let every `Tuner` of this process be told of each death by `translate` of it; Tune has no
    setting for that.
    """
    try:
        from ray.air.execution._internal import RayActorManager
        from ray.tune.execution import tune_controller
    except ImportError:
        _say("a worker that it ends for its memory may be the end of the sweep")
        return

    class Translating(RayActorManager):
        """Tune's own, for all errors."""

        def _actor_start_failed(self, tracked_actor: Any, exception: Exception) -> None:
            super()._actor_start_failed(tracked_actor, translate(exception))

        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            super()._actor_task_failed(tracked_actor_task, translate(exception))

    # imported there, and taken from there
    tune_controller.RayActorManager = Translating  # type: ignore[attr-defined]
