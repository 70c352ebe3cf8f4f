"""Means, paired effects and corrected p-values. Pure; scipy does the distributions.

Why a t-test and not an exact sign-flip test: flipping the signs of n paired differences cannot give a p-value below 2 / 2^n, so
with the seeds that people can afford (3: 0.25, 5: 0.06, 8: 0.008) it says "not decided" whatever was measured, the more so after
a correction over ten steps. The paired t-test can decide with 3 seeds; its price is the assumption that differences are roughly
normal. `benchmarks/calibration.py` measures what that price is: the rate of false findings stays at most nominal for normal,
heavy-tailed, skewed and coarsely rounded metrics; it does not where one of two steps is both far more spread and skewed. Both
p-values are in the JSON report, and where all differences are the same, so that there is no t, the sign-flip test takes over.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
LEVEL = 0.05
"""A step is decided where its corrected p-value is below this."""
_ROUNDING = 1e-9
"""Relative size of what is left of two equal values after floating-point arithmetic."""
_EXACT_FLIPS = 16
"""Up to this many pairs all 2^n flips are looked at."""


@dataclass(frozen=True)
class Summary:
    """Of one variant over its seeds."""

    mean: float
    std: float | None
    """Sample standard deviation; none with a single seed."""
    ci95: tuple[float, float] | None
    """Student's interval of the mean; none with a single seed, or where all values are the same."""


@dataclass(frozen=True)
class Effect:
    """The difference between two variants, paired by seed."""

    mean: float
    ci95: tuple[float, float] | None
    """Student's interval of the mean difference, for this effect alone; none with a single pair or without spread."""
    p_value: float | None
    """Two-sided: the paired t-test's, or, without spread, the sign-flip test's; none with a single pair."""
    pairs: int
    std: float | None = None
    """Sample standard deviation of the differences; none with a single pair."""
    differences: tuple[float, ...] = field(default=(), repr=False)
    """What it is the mean of, one for each pair."""

    @cached_property
    def sign_flip_p(self) -> float | None:
        """Of the exact sign-flip test; none with a single pair."""
        return sign_flip_p_value(self.differences) if len(self.differences) > 1 else None


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean, spread and interval; none without values."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Summary(mean, None, None)
    std = stdev(values)
    if std <= _ROUNDING * max(1.0, abs(mean)):  # all the same: nothing is known about the spread
        return Summary(mean, 0.0, None)
    half = float(half_width(np.asarray(values)))
    return Summary(mean, std, (mean - half, mean + half))


def paired_effect(values: Mapping[int, float], versus: Mapping[int, float]) -> Effect | None:
    """`values` minus `versus` over the seeds that both have; none where they share no seed."""
    return effect_of(
        [values[seed] - versus[seed] for seed in sorted(values.keys() & versus.keys())]
    )


def effect_of(differences: Sequence[float]) -> Effect | None:
    """The effect that one difference for each seed shows; none without differences."""
    summary = summarise(differences)
    if summary is None:
        return None
    if len(differences) == 1:
        return Effect(summary.mean, None, None, 1, differences=tuple(differences))
    array = np.asarray(differences)
    p_value = float(paired_p_values(array))
    return Effect(
        summary.mean, summary.ci95, p_value, len(differences), summary.std, tuple(differences)
    )


def sequential_effect(differences: Mapping[int, float], looks: Sequence[int]) -> Effect | None:
    """The effect of differences by seed that are looked at more than once: at the first 3 seeds, then at 6, then at 12, say.

    The p-value is the smallest of all looks so far times the number of looks that are planned, and the interval has the
    confidence that Bonferroni asks for: whenever one stops, for whatever reason, the error rate is kept.
    """
    plain = effect_of([differences[seed] for seed in sorted(differences)])
    if plain is None or plain.std is None:
        return plain
    of_looks = [
        [differences[seed] for seed in sorted(differences) if seed < look]
        for look in looks
        if look <= max(differences) + 1
    ]
    p_values = [float(paired_p_values(np.asarray(part))) for part in of_looks if len(part) > 1]
    p_value = min(1.0, len(looks) * min(p_values)) if p_values else None
    half = float(half_width(np.asarray([*differences.values()]), 1 - (1 - CONFIDENCE) / len(looks)))
    interval = (plain.mean - half, plain.mean + half) if plain.std else None
    return replace(plain, p_value=p_value, ci95=interval)


def paired_p_values(differences: Floats) -> Floats:
    """Two-sided p-values of `differences`, whose last axis runs over at least two seeds.

    The paired t-test's. Differences that are all the same, as two accuracies on few images may well have, have no t: there the
    exact sign-flip test's, which for n equal differences is 2 / 2^n, and 1 where they are all 0.
    """
    from scipy.special import stdtr  # the part of scipy that imports fast

    count = differences.shape[-1]
    mean, std = differences.mean(-1), differences.std(-1, ddof=1)
    is_flat = std <= _ROUNDING * np.maximum(1.0, abs(mean))
    t = mean / (np.where(is_flat, 1.0, std) / math.sqrt(count))
    flat_p = np.where(abs(mean) <= _ROUNDING, 1.0, smallest_sign_flip_p(count))
    return np.asarray(np.where(is_flat, flat_p, 2.0 * stdtr(count - 1, -abs(t))))


def half_width(values: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Half of Student's interval of the mean over the last axis, of at least two values."""
    from scipy.special import stdtrit

    count = values.shape[-1]
    quantile = float(stdtrit(count - 1, (1 + confidence) / 2))
    return np.asarray(quantile * values.std(-1, ddof=1) / math.sqrt(count))


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Share of the 2^n ways to flip the differences' signs that give a mean at least as far from 0; n at least 1.

    Exact where exchanging the two variants changes nothing in distribution. Beyond 16 pairs 65,536 flips are drawn, always the
    same ones.
    """
    array, count = np.asarray(differences, dtype=np.float64), len(differences)
    if count <= _EXACT_FLIPS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(_at_least(abs((1 - 2 * patterns) @ array), abs(array.sum()))))
    return float(
        (1 + np.sum(_at_least(abs(_drawn_signs(count) @ array), abs(array.sum()))))
        / 2**_EXACT_FLIPS
    )


@lru_cache(1)  # tens of megabytes; the steps of a sweep mostly have the same number of seeds
def _drawn_signs(count: int) -> Floats:
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(2**_EXACT_FLIPS - 1, count))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over those that are there (Holm 1979); controls the chance of any false finding.

    scipy has Benjamini-Hochberg only, which controls another rate.
    """
    present = [(index, p) for index, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    if present:
        corrected = holm_adjusted(np.array([p for _, p in present]))
        for (index, _), p in zip(present, corrected, strict=True):
            adjusted[index] = float(p)
    return adjusted


def holm_adjusted(p_values: Floats) -> Floats:
    """Holm's correction along the last axis."""
    count = p_values.shape[-1]
    order = np.argsort(p_values, axis=-1, kind="stable")
    scaled = np.minimum(1.0, np.take_along_axis(p_values, order, -1) * (count - np.arange(count)))
    result: Floats = np.empty_like(scaled)
    np.put_along_axis(result, order, np.maximum.accumulate(scaled, axis=-1), -1)
    return result


def smallest_sign_flip_p(seeds: int) -> float:
    """The least two-sided p-value that an exact sign-flip test of that many pairs can give."""
    return min(1.0, math.ldexp(2.0, -seeds))


def _at_least(sums: Floats, observed: Any) -> Any:
    """Whether sums reach the observed one, equal ones with what rounding leaves of them."""
    return sums >= observed - _ROUNDING * max(1.0, observed)
