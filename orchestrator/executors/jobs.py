"""A job of a queue for each trial, through submitit: Slurm where a queue prefers many small jobs to
one large one.

`--address` may name submitit's kind of queue and its options: `slurm?partition=gpu&time=720`, or
`local` for processes of this machine. Needs `pip install submitit`, and the store on a disk that
all nodes mount.
"""

import math
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl

import submitit

from orchestrator.errors import ClusterError, UsageError
from orchestrator.executors.base import Executor, ExecutorKind
from orchestrator.outcomes import Outcome
from orchestrator.running.processes import guard_this_process
from orchestrator.running.queue import TrialQueue
from orchestrator.trial import Resources, TrialSpec

MOST_JOBS = 200
"""Jobs that are in the queue at a time; a spec's `max_concurrent` may say fewer."""
_LOOK_SECONDS = 1.0
_MINUTES = 24 * 60
"""Time of a job whose trial has no `resources.time_limit` and whose address says none."""
_SPARE_MINUTES = 5
"""Minutes for starting Python, and for what a trial writes when it ends."""
_FOLDER = "jobs"
"""Below the sweep's folder: submitit's scripts, logs and results."""


def run_in_jobs(queue: TrialQueue, address: str | None = None) -> None:
    """Train whatever the queue hands out; see `Executor`."""
    cluster, options = _queue_and_options(address)
    for trial in queue.waiting:
        _refuse(trial.resources)
    jobs: dict[str, tuple[TrialSpec, submitit.Job[Any]]] = {}
    try:
        while not queue.is_finished:
            following = queue.next() if len(jobs) < MOST_JOBS else None
            if following:
                job = _submitted(queue, following, cluster, options)
                jobs[following.fingerprint] = following, job
                continue
            _answer_for_those_that_ended(queue, jobs)
            if queue.is_stopping:
                _give_back_what_has_not_begun(queue, jobs)
            time.sleep(0 if queue.is_finished else _LOOK_SECONDS)
    finally:
        for _, job in jobs.values():  # nothing is left behind where an exception passes
            job.cancel(check=False)


def _create(address: str | None) -> Executor:
    _queue_and_options(address)
    return partial(run_in_jobs, address=address)


JOBS = ExecutorKind(_create)


def _queue_and_options(address: str | None) -> tuple[str | None, Mapping[str, int | str]]:
    """Kind of queue, None for the one that submitit finds, and options of it. Raises
    `UsageError`.
    """
    name, _, query = (address or "").partition("?")
    if name not in ("", "slurm", "local"):
        raise UsageError(
            f"--address is {address}, but --executor submitit takes slurm or local, with options "
            "such as slurm?partition=gpu&time=720"
        )
    pairs = dict(parse_qsl(query))
    return name or None, {
        f"slurm_{key}": int(value) if value.isdigit() else value for key, value in pairs.items()
    }


def _refuse(resources: Resources) -> None:
    """Raises `UsageError` for what a job of one trial cannot have."""
    if resources.nodes > 1:
        raise UsageError(
            f"a trial needs {resources.nodes} nodes, but --executor submitit gives each trial one: "
            "use --executor ray with --address, or lower resources.nodes"
        )
    if not float(resources.gpus).is_integer():
        raise UsageError(
            f"a trial needs {resources.gpus:g} GPUs, but a job gets whole GPUs: change "
            "resources.gpus, or share GPUs with --executor ray"
        )


def _submitted(
    queue: TrialQueue, trial: TrialSpec, cluster: str | None, options: Mapping[str, int | str]
) -> "submitit.Job[Any]":
    """The job of a trial. Raises `UsageError` for options that are none, `ClusterError` where the
    queue does not take it.
    """
    resources = trial.resources
    folder = queue.store.sweep_path(trial.sweep) / _FOLDER
    limit = resources.time_limit
    wanted: dict[str, Any] = {
        "name": trial.name,
        "cpus_per_task": max(1, math.ceil(resources.cpus)),
        "timeout_min": _MINUTES if limit is None else math.ceil(limit / 60) + _SPARE_MINUTES,
        **({"gpus_per_node": int(resources.gpus)} if resources.gpus else {}),
        **({"mem_gb": resources.memory} if resources.memory else {}),
    }
    if "slurm_time" in options:
        del wanted["timeout_min"]
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
        executor.update_parameters(**wanted, **options)
        return executor.submit(work, str(queue.work_path(trial)), queue.session)
    except (NameError, TypeError, ValueError) as error:
        raise UsageError(f"submitit does not take an option of --address: {error}") from error
    except (RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise ClusterError(f"the job of {trial.name} cannot be submitted: {error}") from error


def work(path: str, session: str) -> str | None:
    """Train a trial, in its job; returns its outcome, None where another process of it died."""
    from orchestrator.running import worker  # torch takes seconds

    def save_and_leave(number: int, frame: FrameType | None) -> None:
        worker.leave.set()

    for number in (signal.SIGTERM, signal.SIGUSR2):  # preempted, or near the end of the job's time
        signal.signal(number, save_and_leave)
    guard_this_process()
    outcome = worker.run_trial(Path(path), session)
    return outcome and outcome.value


def _answer_for_those_that_ended(
    queue: TrialQueue, jobs: dict[str, tuple[TrialSpec, "submitit.Job[Any]"]]
) -> None:
    for fingerprint, (trial, job) in list(jobs.items()):
        if job.done():
            del jobs[fingerprint]
            queue.ended(trial, _outcome_of(trial, job))


def _outcome_of(trial: TrialSpec, job: "submitit.Job[Any]") -> Outcome | None:
    """Return the job's outcome; None where its process died without a word. Raises `ClusterError`
    for what it raised: whatever the training raises is an outcome.
    """
    error = job.exception()
    if error is None:
        said = job.result()
        return Outcome(said) if said else None
    if not isinstance(error, submitit.core.utils.FailedJobError):
        return None
    last = [line for line in str(error).splitlines() if line.strip()][-1].strip()
    raise ClusterError(
        f"the job of {trial.name} cannot train: {last}; all of it: {job.paths.stderr}"
    )


def _give_back_what_has_not_begun(
    queue: TrialQueue, jobs: dict[str, tuple[TrialSpec, "submitit.Job[Any]"]]
) -> None:
    """Cancel jobs that wait in the queue: what runs hears of it by the lease, and saves."""
    for fingerprint, (trial, job) in list(jobs.items()):
        if not queue.has_begun(trial):
            job.cancel(check=False)
            del jobs[fingerprint]
            queue.give_back(trial)
