"""How much can so many seeds show? Detectable differences before a sweep, and the seeds that an undecided step still needs. Pure.

Everything here is about the paired t-test at the level that Holm's correction asks of the smallest of `steps` p-values, so that
what is promised holds for the step that is hardest to show.
"""

import math
from collections.abc import Sequence
from functools import cache
from statistics import median

from orchestrator.stats.inference import LEVEL, Effect

POWER = 0.8
"""Chance to find a difference that is there."""
SEEDS_LIMIT = 200
"""More seeds than this are not worth a number."""


def detectable_difference(std: float, seeds: int, steps: int = 1) -> float | None:
    """The smallest true difference that is found in 8 of 10 sweeps; none with a single seed.

    `std` is the standard deviation of the paired differences, in the metric's unit, as is the result.
    """
    return None if seeds < 2 else std * _detectable_in_stds(seeds, steps)


def seeds_needed(difference: float, std: float, steps: int = 1) -> int | None:
    """The fewest seeds that find a true `difference` in 8 of 10 sweeps; none where `SEEDS_LIMIT` are too few.

    What was measured is not what is true: a guide for the next run, not a promise. Without any spread it is the number from which
    on as many equal differences are significant by sign flips.
    """
    if difference == 0:
        return None
    if std == 0:
        return 1 + math.ceil(math.log2(steps / LEVEL))
    wanted = abs(difference) / std
    if _detectable_in_stds(SEEDS_LIMIT, steps) > wanted:
        return None
    low, high = 2, SEEDS_LIMIT
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _detectable_in_stds(middle, steps) <= wanted else (middle + 1, high)
        )
    return low


def typical_std(effects: Sequence[Effect]) -> float | None:
    """The median spread of the effects' paired differences, of those that have three pairs or more and differ at all.

    The median: one step that limps, with ten times the spread of the others, says nothing about the rest.
    """
    spreads = [effect.std for effect in effects if effect.std and effect.pairs >= 3]
    return median(spreads) if spreads else None


@cache
def _detectable_in_stds(seeds: int, steps: int) -> float:
    """Of the paired t-test, by bisection on the noncentral t distribution."""
    from scipy.special import nctdtr, stdtrit

    freedom = seeds - 1
    critical = float(stdtrit(freedom, 1 - LEVEL / (2 * steps)))
    low, high = 0.0, 2 * (critical + 10)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high)
            if 1 - float(nctdtr(freedom, middle, critical)) < POWER
            else (low, middle)
        )
    return high / math.sqrt(seeds)
