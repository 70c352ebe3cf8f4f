"""A lock that nobody waits for without a limit, and that says who holds it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from orchestrator.errors import StoreError

LOCK_SECONDS = 5.0
"""Patience in seconds. Work under a lock takes milliseconds: a holder that takes longer hangs."""
_LOOK_SECONDS = 0.02


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file `path`, made where it is missing. Raises `StoreError` where another
    process does not let go.

    The operating system forgets the lock of a process that dies. On a network share it holds
    between hosts as far as the share has locks; on one without, nothing is locked.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        _let_go(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end:
                held = f"{path} has been locked for {LOCK_SECONDS:.0f} s by {_holder(descriptor)}"
                hint = "let it continue (`kill -CONT`) or end it, and try again"
                raise StoreError(f"{held}; {hint}") from error
        except OSError:
            return  # a share without locks
        time.sleep(_LOOK_SECONDS)


def _let_go(descriptor: int) -> None:
    """Unlock by name: a process forked meanwhile has the file open as well, and would keep the
    lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        pass  # a share without locks
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Name who holds the lock, as far as known here: Linux lists all locks by the file's number."""
    number = f":{os.fstat(descriptor).st_ino}"
    try:
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pids = [int(line[4]) for line in lines if len(line) > 5 and line[5].endswith(number)]
        process = psutil.Process(pids[0])
        return f"process {process.pid} of this machine, which is {process.status()}"
    except (OSError, ValueError, IndexError, psutil.Error):
        return "another process"
