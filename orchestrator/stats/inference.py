"""Means, effects of single differences by seed, and corrected p-values. Pure; scipy does the
distributions.

Why a t-test and not an exact sign-flip test by default: flipping the signs of n paired differences
cannot give a p-value below 2 / 2^n, so with the seeds that people can afford (3: 0.25, 5: 0.06, 8:
0.008) it says "not decided" whatever was measured, the more so after a correction over many
comparisons. The paired t-test can decide with 3 seeds; its price is the assumption that differences
are roughly normal. `benchmarks/calibration.py` measures what that price is. A spec may declare the
other test (`metric.test`), and where all differences are the same, so that there is no t, the
sign-flip test takes over.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from orchestrator.stats.effect_test import PAIRED, EffectTest
from orchestrator.stats.sign_flips import ROUNDING, sign_flip_p_value, smallest_sign_flip_p

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
LEVEL = 0.05
"""A difference is decided where its corrected p-value is below this."""


@dataclass(frozen=True)
class Summary:
    """Mean and spread of one variant over its seeds."""

    mean: float
    std: float | None
    """Sample standard deviation; none with a single seed."""
    ci95: tuple[float, float] | None
    """Student's interval of the mean; none with a single seed, or where all values are the same."""


@dataclass(frozen=True)
class Effect:
    """The difference between two variants."""

    mean: float
    ci95: tuple[float, float] | None
    """Interval of the mean difference, for this effect alone; none with a single seed or without
    spread, and with few seeds where signs are flipped."""
    p_value: float | None
    """Two-sided p-value of `test`; none with a single seed."""
    pairs: int
    """Seeds that both variants have; of independent samples, of the smaller one."""
    std: float | None = None
    """Sample standard deviation of a difference; none with a single seed."""
    differences: tuple[float, ...] = field(default=(), repr=False)
    """Differences that it is the mean of, one for each seed; empty for independent samples."""
    test: EffectTest = PAIRED
    standard_error: float = 0.0
    """The standard error of the mean difference; 0 without spread."""
    freedom: float = 0.0
    """Degrees of freedom of `std`."""
    least_p: float = 1.0
    """The two-sided p-value of the most extreme of all ways to exchange the two variants."""
    correlation: float | None = None
    """Pearson's, over the seeds that both variants have; none with fewer than three."""

    @cached_property
    def sign_flip_p(self) -> float | None:
        """p-value of the exact sign-flip test; none with a single pair or independent samples."""
        if len(self.differences) < 2:
            return None
        return sign_flip_p_value(self.differences)


def summarise(values: Sequence[float]) -> Summary | None:
    """Mean, spread and interval; none without values."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) == 1:
        return Summary(mean, None, None)
    std = stdev(values)
    if is_flat(std, magnitude_of(values)):  # nothing is known about the spread
        return Summary(mean, 0.0, None)
    half = float(half_width(np.asarray(values)))
    return Summary(mean, std, (mean - half, mean + half))


def magnitude_of(*groups: Sequence[float]) -> float:
    """The largest absolute value: rounding is relative to it."""
    return max((abs(value) for values in groups for value in values), default=0.0)


def is_flat(std: float, magnitude: float) -> bool:
    """Tell whether a spread is no more than what rounding leaves of equal values."""
    return std <= ROUNDING * magnitude


def effect_of(
    differences: Sequence[float],
    magnitude: float = 1.0,
    test: EffectTest = PAIRED,
    confidence: float = CONFIDENCE,
) -> Effect | None:
    """The effect that one difference for each seed shows; none without differences.

    `magnitude` is that of the values that were subtracted: what is left of equal ones is relative
    to it.
    """
    if not differences:
        return None
    mean, count = fmean(differences), len(differences)
    effect = Effect(mean, None, None, count, differences=tuple(differences), test=test)
    if count == 1:
        return effect
    std = stdev(differences)
    least_p = smallest_sign_flip_p(count)
    if is_flat(std, max(magnitude, abs(mean))):
        p_value = 1.0 if abs(mean) <= ROUNDING * magnitude else least_p
        return replace(effect, p_value=p_value, std=0.0, freedom=count - 1, least_p=least_p)
    array = np.asarray(differences)
    interval: tuple[float, float] | None
    if test.judge:
        p_value, interval = test.judge(differences, confidence)
    else:
        p_value = float(paired_p_values(array, magnitude))
        half = float(half_width(array, confidence))
        interval = (mean - half, mean + half)
    return replace(
        effect,
        ci95=interval,
        p_value=p_value,
        std=std,
        standard_error=std / math.sqrt(count),
        freedom=count - 1,
        least_p=least_p,
    )


def without_spread(effect: Effect) -> Effect:
    """The difference alone, where nothing is known of its variation."""
    return Effect(effect.mean, None, None, effect.pairs, test=effect.test)


def paired_effect(
    values: Mapping[int, float],
    versus: Mapping[int, float],
    test: EffectTest = PAIRED,
    confidence: float = CONFIDENCE,
) -> Effect | None:
    """`values` minus `versus` over the seeds that both have; none where they share no seed."""
    seeds = sorted(values.keys() & versus.keys())
    here, there = [values[seed] for seed in seeds], [versus[seed] for seed in seeds]
    differences = [one - other for one, other in zip(here, there, strict=True)]
    effect = effect_of(differences, magnitude_of(here, there), test, confidence)
    if effect is None or len(seeds) < 3:
        return effect
    spreads = stdev(here), stdev(there)
    if is_flat(spreads[0], magnitude_of(here)) or is_flat(spreads[1], magnitude_of(there)):
        return effect
    correlation = float(np.corrcoef(here, there)[0, 1])
    return replace(effect, correlation=correlation)


def sequential_effect(
    differences: Mapping[int, float],
    looks: Sequence[int],
    ended: Collection[int] | None = None,
    magnitude: float = 1.0,
) -> Effect | None:
    """The effect of differences by seed that are looked at more than once: at the first 3 seeds,
    then at 6, then at 12, say.

    The p-value is the smallest of all looks so far times the number of looks that are planned, and
    the interval has the confidence that Bonferroni asks for: whenever one stops, for whatever
    reason, the error rate is kept. A look is at the seeds below its number, also where some of them
    came to nothing, and it counts once all of them are in `ended`; without that, once there is any
    seed beyond the look before it.
    """
    confidence = 1 - (1 - CONFIDENCE) / len(looks)
    plain = effect_of(
        [differences[seed] for seed in sorted(differences)], magnitude, confidence=confidence
    )
    if plain is None or plain.std is None:
        return plain

    def p_of(look: int) -> float | None:
        part = [differences[seed] for seed in sorted(differences) if seed < look]
        effect = effect_of(part, magnitude)
        return effect.p_value if effect else None

    return replace(
        plain, p_value=p_at_looks(p_of, looks, counting_looks(differences, looks, ended))
    )


def counting_looks(
    seeds: Collection[int], looks: Sequence[int], ended: Collection[int] | None = None
) -> list[int]:
    """The looks that have taken place: see `sequential_effect`."""
    if ended is not None:
        return [look for look in looks if set(range(look)) <= set(ended)]
    before = (0, *looks)
    return [look for look, last in zip(looks, before, strict=False) if max(seeds) >= last]


def p_at_looks(
    p_of: Callable[[int], float | None], planned: Sequence[int], taken: Sequence[int]
) -> float | None:
    """The smallest p-value of the looks taken, times the number of looks planned (Bonferroni)."""
    found = [p for look in taken if (p := p_of(look)) is not None]
    if not found:
        return None
    return min(1.0, len(planned) * min(found))


def paired_p_values(differences: Floats, magnitude: float = 1.0) -> Floats:
    """Two-sided p-values of `differences`, whose last axis runs over at least two seeds.

    By the paired t-test; `magnitude` as in `effect_of`. Differences that are all the same, as two
    accuracies on few images may well have, have no t: there by the exact sign-flip test, which for
    n equal differences gives 2 / 2^n, and 1 where they are all 0.
    """
    from scipy.special import stdtr  # the part of scipy that imports fast

    count = differences.shape[-1]
    mean, std = differences.mean(-1), differences.std(-1, ddof=1)
    has_no_spread = std <= ROUNDING * np.maximum(magnitude, abs(mean))
    t = mean / (np.where(has_no_spread, 1.0, std) / math.sqrt(count))
    flat_p = np.where(abs(mean) <= ROUNDING * magnitude, 1.0, smallest_sign_flip_p(count))
    return np.asarray(np.where(has_no_spread, flat_p, 2.0 * stdtr(count - 1, -abs(t))))


def half_width(values: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Half of Student's interval of the mean over the last axis, of at least two values."""
    from scipy.special import stdtrit

    count = values.shape[-1]
    quantile = float(stdtrit(count - 1, (1 + confidence) / 2))
    return np.asarray(quantile * values.std(-1, ddof=1) / math.sqrt(count))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over those that are there (Holm 1979); controls the chance of any
    false finding.

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
