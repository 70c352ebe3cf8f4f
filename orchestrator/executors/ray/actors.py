"""Why Ray says that a worker died, in a form that Tune takes.

Tune (ray 2.60) knows the errors of actors and of tasks. Whatever else Ray raises for a worker, such as the end that its memory
monitor puts to one, would be the end of the sweep.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray import cloudpickle
from ray.air.execution._internal import RayActorManager, TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class KilledForMemory(RayActorError):
    """The worker's node ran low on memory, and Ray chose to end this worker."""

    def __str__(self) -> str:
        """The first of the monitor's many lines: which node, how much was used, and of what."""
        return "killed by Ray: " + self.error_msg.partition("\n")[0]


class _ActorManager(RayActorManager):
    """Tune's own, for all errors."""

    def _actor_start_failed(self, tracked_actor: TrackedActor, exception: Exception) -> None:
        super()._actor_start_failed(tracked_actor, _known_to_tune(exception))

    def _actor_task_failed(
        self, tracked_actor_task: TrackedActorTask, exception: Exception
    ) -> None:
        super()._actor_task_failed(tracked_actor_task, _known_to_tune(exception))


def _known_to_tune(error: Exception) -> Exception:
    if not isinstance(error, RayError) or isinstance(error, RayActorError | RayTaskError):
        return error
    kind = KilledForMemory if isinstance(error, OutOfMemoryError) else RayActorError
    return kind(error_msg=str(error))


def error_of(trial: "Trial") -> Exception | None:
    """What Tune was told when the trial's worker died; `Trial.get_pickled_error` looks where it is copied to later."""
    path = trial.pickled_error_file
    error: Exception | None = cloudpickle.loads(Path(path).read_bytes()) if path else None
    return error


def where_it_could_not_start(error: Exception | None) -> tuple[str, str] | None:
    """The id of the node, and what is wrong there, where a worker could not even be made; none for other errors."""
    if not isinstance(error, RayActorError) or not error.actor_init_failed:
        return None
    actor = ray._private.state.actors(error.actor_id)
    return actor["Address"][
        "NodeID"
    ], f"cannot start a worker: {str(error).strip().splitlines()[-1]}"


def make_tune_understand() -> None:
    """Let every `Tuner` of this process use it; Tune has no setting for it."""
    tune_controller.RayActorManager = _ActorManager  # type: ignore[attr-defined]  # imported there, and taken from there
