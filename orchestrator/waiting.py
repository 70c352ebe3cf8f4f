"""Progress of long work, told to whoever listens: the command line, or nobody.

What works does not know who hears it: `counted_off(trials, "reading trials")` in place of `trials`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[str, int, int], None]
"""Hears what is done, how much of it, and how much there is in all; 0 in all where nobody knows."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
Item = TypeVar("Item")


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Tell `listener` of what goes on inside, in this thread."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def begun(what: str, done: int = 0, total: int = 0) -> None:
    """Say what is done next or, where there is something to count, how far it is."""
    listener = _listener.get()
    if listener:
        listener(what, done, total)


def counted_off(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items one by one; how many have been taken is told."""
    listener, total = _listener.get(), len(items)
    for number, item in enumerate(items):
        if listener:
            listener(what, number, total)
        yield item
    if listener:
        listener(what, total, total)
