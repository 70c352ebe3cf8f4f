"""Reasons that Ray gives for the death of a worker, in a form that Tune takes.

Tune (ray 2.60) knows the errors of actors and of tasks. Whatever else Ray raises for a worker, such
as the end that its memory monitor puts to one, would be the end of the sweep.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from orchestrator.executors.ray import internals

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class KilledForMemory(RayActorError):
    """The worker's node ran low on memory, and Ray chose to end this worker."""

    def __str__(self) -> str:
        """The first of the monitor's many lines: which node, how much was used, and of what."""
        return "killed by Ray: " + self.error_msg.partition("\n")[0]


def _known_to_tune(error: Exception) -> Exception:
    if not isinstance(error, RayError) or isinstance(error, RayActorError | RayTaskError):
        return error
    kind = KilledForMemory if isinstance(error, OutOfMemoryError) else RayActorError
    return kind(error_msg=str(error))


def error_of(trial: "Trial") -> Exception | None:
    """Return what Tune was told when the trial's worker died; `Trial.get_pickled_error` looks where
    it is copied to later.
    """
    path = trial.pickled_error_file
    error: Exception | None = cloudpickle.loads(Path(path).read_bytes()) if path else None
    return error


def where_it_could_not_start(error: Exception | None) -> tuple[str, str] | None:
    """The id of the node, and what is wrong there, where a worker could not even be made; none for
    other errors.
    """
    if not isinstance(error, RayActorError) or not error.actor_init_failed:
        return None
    node_id = internals.node_of_actor(error.actor_id)
    if node_id is None:
        return None
    return node_id, f"cannot start a worker: {str(error).strip().splitlines()[-1]}"


def make_tune_understand() -> None:
    """Let every `Tuner` of this process know all of Ray's errors."""
    internals.translate_errors(_known_to_tune)
