"""Difference between two independent samples: Welch's t-test, which does not take their spreads to
be the same. Pure.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from orchestrator.stats.effect_test import EffectTest
from orchestrator.stats.inference import CONFIDENCE, Effect, is_flat, magnitude_of


def welch_effect(
    here: Sequence[float], there: Sequence[float], confidence: float = CONFIDENCE
) -> Effect | None:
    """Mean of `here` minus mean of `there`; none where one of them has no values.

    Where neither sample has any spread there is no t. The exact permutation test takes over, as the
    sign-flip test does for pairs.
    """
    from scipy.special import stdtr, stdtrit

    if not here or not there:
        return None
    mean, smaller = fmean(here) - fmean(there), min(len(here), len(there))
    if smaller == 1:
        return Effect(mean, None, None, smaller, test=WELCH)
    least_p = min(1.0, 2 / math.comb(len(here) + len(there), len(here)))
    magnitude = magnitude_of(here, there)
    variances = [_variance(sample, magnitude) / len(sample) for sample in (here, there)]
    if not any(variances):
        p_value = 1.0 if is_flat(abs(mean), magnitude) else least_p
        freedom = float(smaller - 1)
        return Effect(
            mean, None, p_value, smaller, 0.0, test=WELCH, freedom=freedom, least_p=least_p
        )
    error = math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (len(sample) - 1)
        for variance, sample in zip(variances, (here, there), strict=True)
    )
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Effect(
        mean,
        (mean - half, mean + half),
        2 * float(stdtr(freedom, -abs(mean / error))),
        smaller,
        error * math.sqrt(smaller),
        test=WELCH,
        standard_error=error,
        freedom=freedom,
        least_p=least_p,
    )


def _variance(sample: Sequence[float], magnitude: float) -> float:
    std = stdev(sample)
    if is_flat(std, magnitude):
        return 0.0
    return std**2


WELCH = EffectTest(
    "welch",
    "Welch's t-tests (seeds of the two steps as independent samples, assumed roughly normal)",
    between=welch_effect,
)
