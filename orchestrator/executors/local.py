"""One trial after the other on this machine: for debugging, and for machines without Ray.

In this process, so that a debugger sees it; a trial with a limit in one of its own, which can be ended without ending the sweep.
"""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.running.queue import TrialQueue
from orchestrator.trial import Outcome, Resources


def run_locally(queue: TrialQueue) -> None:
    """Train whatever the queue hands out; see `Executor`."""
    for wide in queue.waiting:
        if wide.resources.nodes > 1:
            needs = f"trial {wide.name} asks for {wide.resources.nodes} nodes, and --executor local has one"
            raise UsageError(
                f"{needs}; use --executor ray with --address, or lower resources.nodes"
            )
    while not queue.is_finished:
        trial = queue.next()
        if trial is None:  # others may be trained by another sweep of the store just now
            continue
        path = queue.store.directory(trial).path
        run = _run_apart if _has_limit(trial.resources) else _run
        queue.ended(trial, run(path, queue.session))


def _has_limit(resources: Resources) -> bool:
    return resources.time_limit is not None or resources.memory is not None


def _run(path: Path, session: str) -> Outcome | None:
    from orchestrator.running.worker import (
        run_trial,
    )  # torch takes seconds to import, and only training needs it

    return run_trial(path, session)


def _run_apart(path: Path, session: str) -> Outcome | None:
    """None where the process died without a word."""
    fresh = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(1, fresh, initializer=_leave_interrupts_to_the_driver) as process:
        try:
            return process.submit(_run, path, session).result()
        except BrokenProcessPool:
            return None


def _leave_interrupts_to_the_driver() -> None:
    """Ctrl-C reaches every process of a terminal; the driver's lease says what is to be done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
