"""Executors: what one has to do, and those that are known by name.

To add one, write a file with an `ExecutorKind` and one line in `BUILT_IN`. Another package offers its own in the entry points
group `orchestrator.executors`, as plugins of submitit do:

    [project.entry-points."orchestrator.executors"]
    slurm = "my_package.slurm:SLURM"
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol

from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.running.queue import TrialQueue

GROUP = "orchestrator.executors"
"""Entry points group of executors that other packages bring."""


class Executor(Protocol):
    """Trains whatever the queue hands out, and returns when the queue is finished.

    - `queue.next(fits)` hands out a trial that `fits`, with its directory ready; None where there is nothing to hand out now.
      Ask again until `queue.is_finished`: results may ask for more trials, and lost ones are handed out again.
    - Whatever process trains it calls `orchestrator.running.worker.run_trial(path, queue.session)` with
      `path = queue.store.directory(trial).path`, and gets an `Outcome`.
    - Each trial that was handed out is answered once: `queue.ended(trial, outcome)`, with None where its process died without
      a word, or `queue.give_back(trial)` where it never began.
    - All methods but `queue.stop` are called from one thread.
    - An interrupt stops the queue, and workers see from the driver's lease that they are to save and leave: the executor
      only has to wait for them. An exception that passes through it must leave no worker behind.
    - Where trials do not run on this machine, the executor makes sure that their nodes see the store.
    """

    def __call__(self, queue: TrialQueue) -> None:
        """Raises `StoreError` where a worker cannot write its trial, `ClusterError` where trials cannot run at all."""


@dataclass(frozen=True)
class ExecutorKind:
    """An executor that can be asked for by name."""

    create: Callable[[str | None], Executor]
    """Makes one for the cluster at an address, None for this machine. Raises `UsageError` where it takes no address."""
    trains_elsewhere: bool = True
    """Whether no trial trains in the driver's own process."""


BUILT_IN: Mapping[str, str] = {
    "ray": "orchestrator.executors.ray.tune:RAY",
    "local": "orchestrator.executors.local:LOCAL",
}
"""`module:object` by name, spelled as an entry point; imported when it is asked for."""


def executor_names() -> list[str]:
    """Names that `--executor` takes: ours, and those of installed packages."""
    return [*BUILT_IN, *(point.name for point in entry_points(group=GROUP))]


def executor_kind(name: str) -> ExecutorKind:
    """The executor of that name. Raises `UsageError` where there is none, or where it cannot be imported."""
    place = BUILT_IN.get(name)
    if place is None:
        found = {point.name: point.value for point in entry_points(group=GROUP)}
        place = found.get(name)
    if place is None:
        raise UsageError(
            f"there is no executor '{name}'{did_you_mean_one_of(name, executor_names())}"
        )
    module, _, attribute = place.partition(":")
    try:
        kind = getattr(import_module(module), attribute, None)
    except ImportError as error:
        hint = "install what it needs, or add --executor local"
        raise UsageError(f"executor {name} cannot be imported ({error}); {hint}") from error
    if not isinstance(kind, ExecutorKind):
        raise UsageError(f"executor {name}: {place} is no ExecutorKind")
    return kind


def executor_named(name: str, address: str | None = None) -> Executor:
    """An executor by its name, for the cluster at `address`. Raises `UsageError`."""
    return executor_kind(name).create(address)
