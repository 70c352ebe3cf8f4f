"""The processes that a trial starts end with it, however it ends.

One that is left behind (a loader that hangs, a server for an environment) holds memory and GPUs.
Worse, a fork inherits the connections by which others see that the worker lives: as long as it
runs, nobody would notice that the worker is gone.

A worker that ends by itself looks for what is left among its children. Where it is killed, or at
its time limit, a guard does: a small process of its own, which was started before anything of the
trial ran.
"""

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

_SET_CHILD_SUBREAPER = 36
"""The option of Linux' prctl by which a child whose parent ends becomes ours instead of init's."""
_GRACE_SECONDS = 2.0
"""Seconds between being asked to end and being ended."""
_SHARED = (
    "multiprocessing.resource_tracker",
    "multiprocessing.forkserver",
    "torch/_inductor/compile_worker",
)
"""Commands of processes that Python and torch start once and use for all trials of a process."""

_GUARD = """
import os, signal, sys, time
worker = int(sys.argv[1])
known = {}
def fields(pid):
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
def remember(pid):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in map(int, file.read().split()):
                if child != os.getpid() and child not in seen:
                    seen.add(child)
                    known[child] = fields(child)[19]
                    try:
                        remember(child)
                    except OSError:
                        pass
def end(pid, born=None):
    try:
        if pid != os.getpid() and (born is None or fields(pid)[19] == born):
            os.kill(pid, signal.SIGKILL)
            return True
    except OSError:
        return False
looked = 0.0
while os.getppid() == worker:
    if time.monotonic() - looked > 0.5:
        looked, seen = time.monotonic(), set()
        try:
            remember(worker)
        except OSError:
            pass
    time.sleep(0.05)
for _ in range(20):
    found = [end(pid, born) for pid, born in known.items()]
    known = {}
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and int(fields(pid)[3]) == worker and fields(pid)[0] != b"Z":
                found.append(end(int(pid)))
        except OSError:
            pass
    if not any(found):
        break
    time.sleep(0.05)
"""
"""Waits until its parent is gone, then ends all of its session, and what it remembers of those that
left it.
"""

_guards: set[int] = set()


def guard_this_process() -> None:
    """Let all that this process starts from now on end with it. For processes that do nothing but
    train; Linux only.
    """
    if _guards or not os.path.exists("/proc/self/stat"):
        return
    with suppress(PermissionError):  # it leads a session, or a group, already
        os.setsid()
    _adopt_orphans(True)
    command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
    guard = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _guards.add(guard.pid)


@contextmanager
def children_end() -> Iterator[None]:
    """Whatever processes are started inside, and not waited for, have ended behind it."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    _adopt_orphans(True)
    try:
        yield
    finally:
        if _left(before):
            gc.collect()  # a loader that nobody holds any more ends its workers itself
            _end(_left(before))
        if not _guards:
            _adopt_orphans(False)


def _left(before: set[int]) -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [
        child
        for child in children
        if child.pid not in before and child.pid not in _guards and not _is_shared(child)
    ]


def _is_shared(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(shared in command for shared in _SHARED)


def _end(processes: list[psutil.Process]) -> None:
    with _deaths_are_expected():
        for process in processes:
            with suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=_GRACE_SECONDS)
        for process in alive:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=_GRACE_SECONDS)


@contextmanager
def _deaths_are_expected() -> Iterator[None]:
    """Torch raises in the main thread where a loader's worker is killed; the training that it would
    tell is over.
    """
    torch = sys.modules.get("torch")
    handler = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGCHLD)
    if handler is not None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        look = getattr(getattr(torch, "_C", None), "_error_if_any_worker_fails", None)
        with suppress(RuntimeError):
            if look:
                look()
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)


def _adopt_orphans(wanted: bool) -> None:
    """Tell whether children of a child that ends become ours; nothing on systems that know no such
    thing.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)
