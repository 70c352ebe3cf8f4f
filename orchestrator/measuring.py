"""Measures of a sweep's finished networks: what the spec asks for and the store lacks."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from illama.config import data_directory
from orchestrator.driver import Job, tracker_of
from orchestrator.errors import UsageError, counted
from orchestrator.planning.measurements import Asked, asked_of
from orchestrator.planning.survey import survey
from orchestrator.running.measure_queue import MeasureQueue
from orchestrator.running.signals import graceful_stop
from orchestrator.running.view import RunView, Silent
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.lease import Lease
from orchestrator.store.store import Store
from orchestrator.tracking.base import tracker_kind
from orchestrator.trial import Resources, TrialSpec


@dataclass(frozen=True)
class Measured:
    """Result of an invocation of `measure_sweep`."""

    asked: int
    """Measurements that there are networks for."""
    taken: int
    """Measurements among them that were taken now and have their numbers."""
    failures: Mapping[str, str]
    """Reasons why measurements failed, now or before, by measure and trial."""
    interrupted: bool


def measurements_of(
    spec: SweepSpec, store: Store, job: Job | None = None
) -> tuple[SweepSpec, list[Asked]]:
    """The spec with what searches found, and every measurement of the networks that are there."""
    snapshot = survey(spec, store, job.choice) if job else survey(spec, store)
    return snapshot.spec, asked_of(snapshot)


def measure_sweep(job: Job, view: RunView | None = None) -> Measured:
    """Take the measurements that are missing; with `job.retry_failed` those that failed, too.

    `view` shows it, by default nobody. Raises `UsageError` where the spec asks for none,
    `SweepInUse`, `StoreError`, `ClusterError`, `TrackingError`.
    """
    spec, store, view = job.spec, job.store, view or Silent()
    if not spec.schema.measure:
        message = f"{spec.name} has no measures: add some, such as `measure: [calibration]`"
        raise UsageError(f"{message}; see sweeps/README.md")
    store.prepare(spec.name)
    interrupted = threading.Event()
    with Lease(store.sweep_path(spec.name)) as lease:
        store.submit(spec.name, spec.content, spec.code)
        with view.waiting("reading the store"):
            _, asked = measurements_of(spec, store, job)
        due = [_at_home(one) for one in asked if one.is_due(retry_failed=job.retry_failed)]
        if due:
            queue = MeasureQueue(due, store, lease.session, (), spec.schema.max_concurrent)
            with (
                view.waiting(f"making {counted(len(due), 'measurement')} of trained networks"),
                graceful_stop(queue, lease, interrupted, view),
            ):
                job.executor(queue)
            if job.tracking_uri:
                title = tracker_kind(job.tracking_uri).title
                with view.waiting(f"updating {title}"):
                    tracker_of(survey(spec, store), store, job.tracking_uri).sync()
    _, asked = measurements_of(spec, store, job)
    tried = {one.measurement.fingerprint for one in due}
    taken = sum(one.measurement.fingerprint in tried for one in asked if _is_taken(one))
    ending = Measured(len(asked), taken, failures_of(asked), interrupted.is_set())
    for name, cause in ending.failures.items():
        view.warn(f"{name} failed: {cause}")
    return ending


def _is_taken(asked: Asked) -> bool:
    return not asked.has_failed and not asked.is_due(retry_failed=False)


def failures_of(asked: list[Asked]) -> dict[str, str]:
    """Return the reasons why measurements failed, by measure and trial."""
    return {
        f"{one.label} of {one.trial.name}": one.known.cause or "it failed"
        for one in asked
        if one.known is not None and one.has_failed
    }


def _at_home(asked: Asked) -> Asked:
    """The configuration as a worker takes it: the folder of the images by its whole path, the
    device that it has.
    """
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
    return resources.device
