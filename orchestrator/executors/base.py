"""Executors: what one has to do, and those that are known by name.

To add one, write a file with an `ExecutorKind` and one line in `EXECUTORS`; another package names
its own in the entry points group `orchestrator.executors` (see `orchestrator.plugins`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.plugins import Registry
from orchestrator.running.queue import TrialQueue


class Executor(Protocol):
    """Trains whatever the queue hands out, and returns when the queue is finished.

    - `queue.next(fits)` hands out a trial that `fits`, with its directory ready; None where there
      is nothing to hand out now. Ask again until `queue.is_finished`: results may ask for more
      trials, and lost ones are handed out again.
    - Whatever process trains it calls `run_trial(path, queue.session)` of
      `orchestrator.running.worker` with `path = queue.store.directory(trial).path`, and gets an
      `Outcome`.
    - Each trial that was handed out is answered once: `queue.ended(trial, outcome)`, with None
      where its process died without a word, or `queue.give_back(trial)` where it never began.
    - All methods but `queue.stop` are called from one thread.
    - An interrupt stops the queue (`queue.is_stopping`), and workers see from the driver's lease
      that they are to save and leave: the executor only has to wait for them. An exception that
      passes through it must leave no worker behind.
    - Where trials do not run on this machine, the executor makes sure that their nodes see the
      store.
    """

    def __call__(self, queue: TrialQueue) -> None:
        """Raises `StoreError` where a worker cannot write its trial, `ClusterError` where trials
        cannot run at all.
        """


@dataclass(frozen=True)
class ExecutorKind:
    """An executor that can be asked for by name."""

    create: Callable[[str | None], Executor]
    """Makes one for the cluster at an address, None for this machine. Raises `UsageError` where it
    takes no address.
    """
    trains_elsewhere: bool = True
    """True if no trial trains in the driver's own process."""


EXECUTORS = Registry(
    "executor",
    ExecutorKind,
    {
        "ray": "orchestrator.executors.ray.tune:RAY",
        "local": "orchestrator.executors.local:LOCAL",
        "submitit": "orchestrator.executors.jobs:JOBS",
    },
    group="orchestrator.executors",
)
"""Names that `--executor` takes."""
