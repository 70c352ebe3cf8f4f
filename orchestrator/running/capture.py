"""Whatever a trial prints goes to its `output.log`: through Python, through C, and from the
processes that it starts.

The descriptors of stdout and stderr lead to the file itself while it trains, and not to a pipe that
somebody would have to read: a library that prints while it holds the interpreter's lock cannot get
stuck, and a process that is killed loses nothing.
"""

import ctypes
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from orchestrator.store.output_log import OutputLog
from orchestrator.store.trial_directory import TrialDirectory

_LOOK_SECONDS = 1.0
"""Seconds between looks at the size of the file."""
_STREAMS = ("stdout", "stderr")
"""Names in `sys` of the streams with the descriptors 1 and 2."""


@contextmanager
def captured(
    directory: TrialDirectory, attempt: int, is_newest: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """Send what is printed inside to the trial's file; warnings that another trial has had are
    shown again.

    Only where the attempt `is_newest` is anything cut out of the file: a later one appends to it as
    well. Raises `OSError` where the file cannot be written.
    """
    log = OutputLog(directory.output_path, attempt, socket.gethostname())
    done = threading.Event()
    watch = threading.Thread(
        target=_keep_short, args=(log, done, is_newest), name="output", daemon=True
    )
    try:
        with _redirected(log.descriptor), warnings.catch_warnings(), _no_debugger():
            watch.start()
            yield
    finally:
        done.set()
        watch.join()
        with suppress(OSError):  # it is tidied up, no more: what was printed is there
            log.close(tidies=is_newest())


def _keep_short(log: OutputLog, done: threading.Event, is_newest: Callable[[], bool]) -> None:
    while not done.wait(_LOOK_SECONDS):
        with suppress(OSError):  # a full disk: the trial itself will hear of it
            if log.is_long and is_newest():
                log.shorten()


@contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    _flush()
    before: list[Any] = [getattr(sys, name) for name in _STREAMS]
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number, name in enumerate(_STREAMS, start=1):
            os.dup2(descriptor, number)
            setattr(sys, name, _stream(number))
        yield
    finally:
        _flush()
        for number, (name, stream) in enumerate(zip(_STREAMS, before, strict=True), start=1):
            setattr(sys, name, stream)
            os.dup2(kept[number - 1], number)
            os.close(kept[number - 1])


def _stream(number: int) -> TextIO:
    """A line at a time, whatever stood there before: a notebook's stream, or a view that redraws
    itself.
    """
    return open(
        number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _flush() -> None:
    """Flush what Python and C hold back: it belongs to where it was printed."""
    for name in _STREAMS:
        with suppress(OSError, ValueError, AttributeError):  # closed, full, or there is none
            getattr(sys, name).flush()
    ctypes.CDLL(None).fflush(None)


@contextmanager
def _no_debugger() -> Iterator[None]:
    """Let `breakpoint()` fail at once: a prompt that nobody sees would wait for ever."""
    before = sys.breakpointhook
    if before is sys.__breakpointhook__ and os.environ.get("PYTHONBREAKPOINT") is None:
        sys.breakpointhook = _refuse_breakpoint
    try:
        yield
    finally:
        sys.breakpointhook = before


def _refuse_breakpoint(*arguments: object, **named: object) -> NoReturn:
    raise RuntimeError(
        "breakpoint() in a trial that runs in the background; "
        "use `orchestrator debug`, which runs one trial in the foreground"
    )
