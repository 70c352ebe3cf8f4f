"""Measures of a sweep's finished networks: what the spec asks for and the store lacks."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.driver import Job, known_sweep, mirror_of
from orchestrator.errors import UsageError
from orchestrator.planning.measurements import Asked, asked_of
from orchestrator.running.measure_queue import MeasureQueue
from orchestrator.running.signals import graceful_stop
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.lease import Lease
from orchestrator.store.store import Store
from orchestrator.trial import Outcome, Resources, TrialSpec

Progress = Callable[[int, int, str], None]
"""Takes how many measurements are over, how many there are, and the name of one that begins."""


@dataclass(frozen=True)
class Measured:
    """How an invocation of `measure_sweep` ended."""

    asked: int
    """Measurements that there are networks for."""
    taken: int
    """Of these, now."""
    failures: Mapping[str, str]
    """Why measurements failed, now or before, by measure and trial."""
    interrupted: bool


def measurements_of(
    spec: SweepSpec, store: Store, job: Job | None = None
) -> tuple[SweepSpec, list[Asked]]:
    """The spec with what searches found, and every measurement of the networks that are there."""
    only, seeds = (job.only, job.seeds) if job else ((), ())
    spec, trials = known_sweep(spec, store, only, seeds)
    return spec, asked_of(spec, trials, Store(store.root).record)


def measure_sweep(job: Job, console: Any, progress: Progress = lambda *_: None) -> Measured:
    """Take the measurements that are missing; with `job.retry_failed` those that failed, too.

    Raises `UsageError` where the spec asks for none, `SweepInUse`, `StoreError`, `ClusterError`.
    """
    spec, store = job.spec, job.store
    if not spec.schema.measure:
        message = f"{spec.name} asks for no measure: give it `measure: [calibration]`"
        raise UsageError(f"{message}, see sweeps/README.md")
    store.prepare(spec.name)
    interrupted = threading.Event()
    with Lease(store.sweep_path(spec.name)) as lease:
        store.submit(spec.name, spec.content, spec.code)
        spec, asked = measurements_of(spec, store, job)
        due = [_at_home(one) for one in asked if one.is_due(retry_failed=job.retry_failed)]
        if due:
            counter = _Counter(due, progress)
            limit = spec.schema.max_concurrent
            queue = MeasureQueue(due, store, lease.session, [counter], limit)
            counter.queue = queue
            with graceful_stop(queue, lease, interrupted, console):
                job.executor(queue)
            if job.tracking_uri:
                mirror_of(job.spec, store, job.tracking_uri).sync()
    _, asked = measurements_of(job.spec, store, job)
    taken = len(due) - sum(one.is_due(retry_failed=False) for one in asked)
    return Measured(len(asked), max(0, taken), failures_of(asked), interrupted.is_set())


def failures_of(asked: list[Asked]) -> dict[str, str]:
    """Why measurements failed, by measure and trial."""
    return {
        f"{one.label} of {one.trial.name}": one.known.cause or "it failed"
        for one in asked
        if one.known is not None and one.has_failed
    }


def counts_of(asked: list[Asked]) -> dict[str, Counter[str]]:
    """How many measurements are new, done and failed, by measure."""
    found: dict[str, Counter[str]] = {}
    for one in asked:
        state = "done" if one.is_done else "failed" if one.has_failed else "new"
        found.setdefault(one.label, Counter())[state] += 1
    return found


def _at_home(asked: Asked) -> Asked:
    """As a worker takes it: the folder of the images by its whole path, the device that it has."""
    from illama.config import data_directory

    trial, resources = asked.trial, replace(asked.trial.resources, nodes=1)
    runtime = trial.runtime.model_copy(
        update={
            "data_dir": data_directory(trial.runtime.data_dir).resolve(),
            "device": _device(trial, resources),
        }
    )
    return replace(
        asked,
        trial=replace(trial, resources=resources),
        measurement=replace(asked.measurement, runtime=runtime),
    )


def _device(trial: TrialSpec, resources: Resources) -> str:
    if trial.runtime.device != "auto":
        return trial.runtime.device
    return "cuda" if resources.gpus > 0 else "cpu"


class _Counter:
    """Tells `progress` what becomes of the measurements."""

    def __init__(self, due: list[Asked], progress: Progress) -> None:
        self.queue: MeasureQueue | None = None
        self._over, self._count, self._progress = 0, len(due), progress

    def started(self, trial: TrialSpec) -> None:
        """A measurement begins."""
        asked = self.queue.asked(trial) if self.queue else None
        name = f"{asked.label} of {trial.name}" if asked else trial.name
        self._progress(self._over, self._count, name)

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """A measurement is over, or goes again."""
        self._over += outcome is not Outcome.LOST

    def finished(self) -> None:
        """Nothing runs any more."""
