"""Consoles that keep the terminal while trials train in this process, whose descriptors then lead
to the trial's file.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console


@contextmanager
def kept_terminal(*consoles: Console) -> Iterator[None]:
    """Let each console write to a copy of the descriptor that it writes to now."""
    with ExitStack() as stack:
        for console in consoles:
            copy = os.fdopen(
                os.dup(console.file.fileno()), "w", encoding=console.encoding, errors="replace"
            )
            stack.enter_context(copy)
            stack.callback(setattr, console, "file", None)  # whatever `sys` has then
            console.file = copy
        yield
