"""Decimals that a figure needs, so that neither its spread nor what is decided is rounded away."""

import math
from collections.abc import Sequence

from orchestrator.metrics import METRICS, decimals_of
from orchestrator.stats.inference import Effect, Summary

_MOST = 10
"""More decimals than this beside a usual number would say nothing."""
_LARGE = 1e7
"""Values from this one on have so many digits that those before the point are rounded, too."""
_SMALL = 1e-4
"""Below this a usual number of decimals shows nothing."""


def decimals_of_values(metric: str, values: Sequence[float], summary: Summary | None) -> int:
    """Decimals of a value and its spread: the metric's usual ones, and two digits of the spread.

    Negative ones round before the point.
    """
    usual = decimals_of(metric, values)
    largest = max(map(abs, values), default=0.0)
    if metric not in METRICS and largest >= _LARGE:
        usual = 3 - _exponent(largest)
    if 0 < largest < _SMALL:
        usual = max(usual, 3 - _exponent(largest))
    if summary is None or not summary.std:
        return usual
    return max(usual, _two_digits(summary.std))


def decimals_of_effect(effect: Effect | None, usual: int) -> int:
    """Decimals of a difference: two digits of half its interval, and an end that is not 0 is not
    shown as 0.
    """
    if effect is None:
        return usual
    if effect.ci95 is None:
        if effect.mean != 0 and round(effect.mean, usual) == 0:
            return _two_digits(abs(effect.mean))
        return usual
    low, high = effect.ci95
    decimals = max(usual, _two_digits((high - low) / 2))
    for _ in range(_MOST):
        if not any(end != 0 and round(end, decimals) == 0 for end in effect.ci95):
            break
        decimals += 1
    return decimals


def _two_digits(size: float) -> int:
    if size <= 0:
        return 0
    return 1 - _exponent(size)


def _exponent(size: float) -> int:
    return math.floor(math.log10(size))
