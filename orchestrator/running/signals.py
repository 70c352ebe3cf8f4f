"""Signals that end a process, and what they do to a sweep: everything is saved first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from orchestrator.running.queue import TrialQueue
from orchestrator.running.view import RunView
from orchestrator.store.lease import Lease


class StopAtOnce(KeyboardInterrupt):
    """The user asked twice; a plain `KeyboardInterrupt` may be raised by a trial's own code."""


@contextmanager
def graceful_stop(
    queue: TrialQueue, lease: Lease, interrupted: threading.Event, view: RunView
) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP let every worker save its checkpoint; a second one of the first
    two stops at once.

    Python gives signals to the main thread alone: a run in another thread leaves them as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = {_identity(descriptor) for descriptor in (1, 2) if os.isatty(descriptor)}

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            # the terminal is gone: one more word to it would raise, before anything is saved
            _lead_nowhere(terminals)
        if interrupted.is_set():
            if number == signal.SIGHUP:  # a shell that is closed says so, and then the kernel again
                return
            raise StopAtOnce
        interrupted.set()
        queue.stop()
        lease.ask_workers_to_stop()
        view.stopping(signal.Signals(number).name)

    stops = [signal.SIGINT, signal.SIGTERM]
    # SIGHUP says that the terminal was closed; nohup asks not to care
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        stops.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lead_nowhere(terminals: set[tuple[int, int]]) -> None:
    """Point every descriptor of these terminals, copies included, to where writing always works."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the one that has listed the folder is closed by now
            if _identity(descriptor) in terminals:
                os.dup2(nowhere, descriptor)


def _identity(descriptor: int) -> tuple[int, int]:
    about = os.fstat(descriptor)
    return about.st_dev, about.st_ino
