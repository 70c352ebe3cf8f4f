"""Silence of a running trial: how long it has logged nothing, printed nothing and saved nothing."""

import math
import os
import time
from collections.abc import Callable
from itertools import pairwise

from orchestrator.store.trial_directory import TrialDirectory

_SIGNS = (
    *("attempts.jsonl", "metrics.jsonl", "output.log", "checkpoint.pt"),
    *("checkpoint", "artifacts"),
)
_LEAST_SECONDS = 60.0
"""Silence that is worth a word where nothing tells how long a trial is silent when all is well."""
_TIMES = 3.0
"""Times the longest pause between two of its own evaluations."""


def silent_seconds(directory: TrialDirectory, now: Callable[[], float] = time.time) -> float:
    """Seconds since the trial last showed output or progress, by the clocks of the store's
    files.
    """
    times = []
    for name in _SIGNS:
        try:
            times.append(os.stat(directory.path / name).st_mtime)
        except OSError:
            continue
    return max(0.0, now() - max(times, default=math.inf))


def is_unusual(directory: TrialDirectory, seconds: float) -> bool:
    """Tell whether the trial is silent for longer than it has been between its evaluations so
    far.
    """
    if seconds < _LEAST_SECONDS:
        return False
    times = [line["time"] for line in directory.metrics()]
    longest = max((later - earlier for earlier, later in pairwise(times)), default=0.0)
    return seconds > _TIMES * longest
