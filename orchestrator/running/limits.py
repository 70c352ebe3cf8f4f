"""Limits of one attempt: seconds and memory. A process that goes over is ended from outside of
whatever it is stuck in.

That a process cannot end a trial by halves is what the store is for: it leaves a note about why,
and whoever looks at the trial's files next finds it (`TrialDirectory.vanished`).
"""

import faulthandler
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from orchestrator.running.processes import children_end
from orchestrator.store.files import write_whole
from orchestrator.store.store import TrialDirectory
from orchestrator.trial import Resources

SAMPLE_SECONDS = 0.05
"""Seconds between looks at the memory: a core fills about 0.2 GB in that time, by so much a trial
may go over.
"""
_CHILDREN_EVERY = 20
"""Samples: finding the processes that a trial has started takes longer than looking at them."""


@contextmanager
def limits(resources: Resources, directory: TrialDirectory) -> Iterator[None]:
    """Hold what runs inside to its limits; the processes that it started end with it, at the
    latest.
    """
    directory.memory_path.unlink(missing_ok=True)
    with (
        _time_limit(resources.time_limit, directory),
        memory_limit(resources.memory, directory),
        children_end(),
    ):
        yield


@contextmanager
def _time_limit(seconds: float | None, directory: TrialDirectory) -> Iterator[None]:
    """The interpreter's own watchdog needs no lock of it; it leaves the stacks of all threads
    behind.
    """
    directory.stack_path.unlink(missing_ok=True)
    if seconds is None:
        yield
        return
    with directory.stack_path.open("wb") as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    directory.stack_path.unlink()


@contextmanager
def memory_limit(gigabytes: float | None, directory: TrialDirectory) -> Iterator[None]:
    """Hold this process and its children to it.

    A thread that samples: limits of the operating system count addresses, of which CUDA and threads
    reserve far more than they use.
    """
    if gigabytes is None:
        yield
        return
    done = threading.Event()
    watch = threading.Thread(
        target=_watch_memory, args=(gigabytes * 1e9, directory, done), name="memory", daemon=True
    )
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch_memory(limit: float, directory: TrialDirectory, done: threading.Event) -> None:
    me, sample = psutil.Process(), 0
    children: list[psutil.Process] = []
    while not done.wait(SAMPLE_SECONDS):
        if sample % _CHILDREN_EVERY == 0:
            children = me.children(recursive=True)
        sample += 1
        used = me.memory_info().rss + sum(map(_resident_bytes, children))
        if used > limit:
            _end_process(
                f"it used {used / 1e9:.2f} GB of memory, more than its limit of {limit / 1e9:.2f} "
                "GB",
                directory,
                children,
            )


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def _end_process(note: str, directory: TrialDirectory, children: list[psutil.Process]) -> None:
    try:
        write_whole(directory.memory_path, note.encode())
    finally:
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        os._exit(1)
