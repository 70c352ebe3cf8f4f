"""One trial after the other on this machine: for debugging, and for machines without Ray.

In this process, so that a debugger sees it; a trial with a limit in one of its own, which can be
ended without ending the sweep.
"""

import multiprocessing
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError, UsageError
from orchestrator.executors.base import Executor, ExecutorKind
from orchestrator.outcomes import Outcome
from orchestrator.running.processes import guard_this_process
from orchestrator.running.queue import TrialQueue
from orchestrator.trial import Resources
from orchestrator.waiting import begun

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def run_locally(queue: TrialQueue) -> None:
    """Train whatever the queue hands out; see `Executor`."""
    for wide in queue.waiting:
        if wide.resources.nodes > 1:
            needs = (
                f"trial {wide.name} needs {wide.resources.nodes} nodes, but --executor local "
                "has one"
            )
            raise UsageError(
                f"{needs}; use --executor ray with --address, or lower resources.nodes"
            )
    begun("loading the training")
    while not queue.is_finished:
        trial = queue.next()
        if trial is None:  # others may be trained by another sweep of the store just now
            continue
        path = queue.work_path(trial)
        run = _run_apart if _has_limit(trial.resources) else _run
        queue.ended(trial, run(path, queue.session))


def _create(address: str | None) -> Executor:
    if address is not None:
        uses = "--address names a Ray cluster, but --executor local uses none"
        raise UsageError(f"{uses}; leave one of them out")
    return run_locally


LOCAL = ExecutorKind(_create, trains_elsewhere=False)


def _has_limit(resources: Resources) -> bool:
    return resources.time_limit is not None or resources.memory is not None


def _run(path: Path, session: str) -> Outcome | None:
    from orchestrator.running.worker import (
        run_trial,
    )  # torch takes seconds to import, and only training needs it

    return run_trial(path, session)


def _run_apart(path: Path, session: str) -> Outcome | None:
    """Run a trial in a process of its own and return its ending; None where the process died
    without a word.

    That it died is seen from the process: whatever the trial has forked may hold the connection
    open for as long as it likes.
    """
    fresh = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    receiver, sender = fresh.Pipe(duplex=False)
    process = fresh.Process(target=_work, args=(path, session, sender), name="trial")
    process.start()
    sender.close()
    try:
        process.join()
        said = receiver.recv() if receiver.poll() else None
    except EOFError:
        said = None
    finally:
        if process.is_alive():  # the user does not wait for it any more
            process.kill()
        receiver.close()
    if isinstance(said, StoreError):
        raise said
    return said


def _work(path: Path, session: str, sender: "Connection") -> None:
    # Ctrl-C reaches every process of a terminal; the driver's lease says what is to be done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard_this_process()
    try:
        sender.send(_run(path, session))
    except StoreError as error:
        sender.send(error)
