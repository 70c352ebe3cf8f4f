"""Power of so many seeds: the differences they detect, and the seeds that a difference which
matters needs. Pure.

Everything here is about a t-test at the level that Bonferroni's correction asks for over the
report's family, so that what is promised holds for the comparison that is hardest to show. A spread
that was measured with few seeds is itself uncertain, and too small more often than not. So a figure
is an average over what the true spread may be: a difference of the size that is told is found by 8
of 10 sweeps, whatever the spread turned out to be in the sweep that told it. (Taking out the bias
of the spread alone would give 67 % with three seeds.) Each figure comes with the range that an 80 %
interval of the spread gives.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import numpy as np

from orchestrator.stats.inference import LEVEL, Effect, Floats

POWER = 0.8
"""Chance to find a difference that is there."""
SEEDS_LIMIT = 200
"""More seeds than this are not worth a number."""
_RANGE = 0.8
"""Confidence of the interval of a spread."""
_POINTS = 40
"""Quantiles of the spread that an average is taken over."""


@dataclass(frozen=True)
class Ranged:
    """A figure that rests on a measured spread, and what it may be as well."""

    value: float
    range: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """The form in `report --format json`."""
        return {"value": self.value, "range": list(self.range)}


@dataclass(frozen=True)
class Prospect:
    """Chance to find a difference that is just large enough to matter."""

    power: Ranged
    seeds: tuple[int | None, int | None]
    """Seeds that find it in 8 of 10 sweeps, from the lower to the upper end of the spread; none
    for more than `SEEDS_LIMIT`."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a difference, as one pair of variants shows it."""

    std: float
    """Sample standard deviation."""
    freedom: float
    """Degrees of freedom that it has."""
    seeds: int
    """Seeds that it was measured with."""

    @property
    def likely(self) -> float:
        """The spread without the bias that a sample standard deviation has (c4)."""
        ratio = math.exp(math.lgamma((self.freedom + 1) / 2) - math.lgamma(self.freedom / 2))
        return self.std / (math.sqrt(2 / self.freedom) * ratio)

    @property
    def range(self) -> tuple[float, float]:
        """The chi-square interval that holds the true one in 8 of 10 cases."""
        from scipy.special import chdtri

        tail = (1 - _RANGE) / 2
        scaled = self.std * math.sqrt(self.freedom)
        low, high = chdtri(self.freedom, tail), chdtri(self.freedom, 1 - tail)
        return scaled / math.sqrt(low), scaled / math.sqrt(high)

    def freedom_of(self, seeds: int) -> float:
        """Degrees of freedom that so many seeds would have."""
        return self.freedom * (seeds - 1) / (self.seeds - 1)


def spread_of(effect: Effect) -> Spread | None:
    """Return what an effect says of the spread; None without spread, and where signs are flipped
    instead of taking a t.
    """
    if not effect.std or effect.test.judge:
        return None
    return Spread(effect.std, effect.freedom, effect.pairs)


def detectable(spread: Spread, seeds: int, comparisons: int) -> Ranged:
    """The true difference that `seeds` find in 8 of 10 sweeps where as many `comparisons` share the
    error.
    """
    freedom, level = spread.freedom_of(seeds), LEVEL / comparisons
    unit = _in_stds(freedom, seeds, level)
    low, high = spread.range
    likely = spread.std * _averaged_noncentrality(spread.freedom, freedom, level) / seeds**0.5
    return Ranged(likely, (low * unit, high * unit))


def prospect(spread: Spread, matters: float, seeds: int, comparisons: int) -> Prospect:
    """Predict how a true difference of `matters` would fare."""
    low, high = spread.range
    freedom, level = spread.freedom_of(seeds), LEVEL / comparisons

    def power(std: float) -> float:
        return float(_power(freedom, matters * math.sqrt(seeds) / std, level))

    def needed(std: float) -> int | None:
        return seeds_needed(matters / std, spread, level)

    likely = _averaged_power(spread.freedom, freedom, matters * seeds**0.5 / spread.std, level)
    found = Ranged(likely, (power(high), power(low)))
    return Prospect(found, (needed(low), needed(high)))


def seeds_needed(in_stds: float, spread: Spread, level: float) -> int | None:
    """The fewest seeds that find a difference, in units of the true spread; none where
    `SEEDS_LIMIT` are too few.
    """

    def suffice(seeds: int) -> bool:
        return _in_stds(spread.freedom_of(seeds), seeds, level) <= in_stds

    if not suffice(SEEDS_LIMIT):
        return None
    low, high = 2, SEEDS_LIMIT
    while low < high:
        middle = (low + high) // 2
        if suffice(middle):
            high = middle
        else:
            low = middle + 1
    return low


def detectable_difference(std: float, seeds: int, comparisons: int = 1) -> float | None:
    """The smallest true difference that a paired t-test finds in 8 of 10 sweeps, where the true
    spread is known; none with a single seed.

    `std` is the standard deviation of the paired differences, in the metric's unit, as is the
    result.
    """
    return None if seeds < 2 else std * _in_stds(seeds - 1, seeds, LEVEL / comparisons)


def typical_spread(effects: Sequence[Effect]) -> Ranged | None:
    """The median spread of the effects that have three pairs or more and differ at all, and the
    range of all their spreads.

    The median: one step that limps, with ten times the spread of the others, says nothing about the
    rest. The range goes from the lower end of the steadiest step to the upper end of the one that
    spreads most.
    """
    spreads = [spread for effect in effects if effect.pairs >= 3 and (spread := spread_of(effect))]
    if not spreads:
        return None
    ranges = [spread.range for spread in spreads]
    return Ranged(
        median(spread.likely for spread in spreads),
        (min(low for low, _ in ranges), max(high for _, high in ranges)),
    )


def _in_stds(freedom: float, seeds: int, level: float) -> float:
    return _noncentrality(freedom, level) / math.sqrt(seeds)


@cache
def _noncentrality(freedom: float, level: float) -> float:
    """The noncentrality of the t distribution that the test finds in 8 of 10 cases."""
    return _found_in_8_of_10(lambda middle: float(_power(freedom, middle, level)))


@cache
def _averaged_noncentrality(measured: float, freedom: float, level: float) -> float:
    """The noncentrality that 8 of 10 sweeps find on average, in units of a spread measured with so
    many degrees of freedom.
    """
    return _found_in_8_of_10(lambda middle: _averaged_power(measured, freedom, middle, level))


def _averaged_power(measured: float, freedom: float, in_spreads: float, level: float) -> float:
    """Chance to find a difference, averaged over how far a measured spread may be from the true
    one.
    """
    return float(np.mean(_power(freedom, in_spreads * _ratios(measured), level)))


@cache
def _ratios(freedom: float) -> Floats:
    """Quantiles of a sample's standard deviation in units of the true one."""
    from scipy.special import chdtri

    shares = (np.arange(_POINTS) + 0.5) / _POINTS
    return np.asarray(np.sqrt(chdtri(freedom, 1 - shares) / freedom))


def _found_in_8_of_10(power_at: Callable[[float], float]) -> float:
    """The place where an increasing function reaches `POWER`, by bisection."""
    low, high = 0.0, 1.0
    while power_at(high) < POWER:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        if power_at(middle) < POWER:
            low = middle
        else:
            high = middle
    return high


def _power(freedom: float, noncentrality: float | Floats, level: float) -> Floats:
    """Chance to find a difference in its own direction."""
    from scipy.special import nctdtr

    return np.asarray(1 - nctdtr(freedom, noncentrality, _critical(freedom, level)))


@cache
def _critical(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - level / 2))
