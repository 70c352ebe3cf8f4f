"""Command that a spec calls when its sweep has ended."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MOST_SECONDS = 600.0
"""Seconds after which the command is ended."""
_STDERR = 2
"""Our own stdout may be JSON for a program."""


def call(words: Sequence[str], folder: Path) -> str | None:
    """Run a command in `folder`; what it prints goes to stderr. Returns what went wrong, in a
    sentence.
    """
    first, *others = words
    if first in ("python", "python3"):
        first = sys.executable
    try:
        done = subprocess.run(
            [first, *others],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            timeout=MOST_SECONDS,
            check=False,
        )
    except OSError as error:
        return f"on_finish: cannot start {words[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"on_finish: {words[0]} took more than {MOST_SECONDS:.0f} s and was ended"
    if done.returncode:
        return f"on_finish: {words[0]} ended with exit code {done.returncode}"
    return None
