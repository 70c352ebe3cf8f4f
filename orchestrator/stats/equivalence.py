"""Equivalence of two variants, and the chance that one of them beats the other. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from orchestrator.stats.inference import Effect


def equivalence_p_value(effect: Effect, matters: float | None) -> float | None:
    """The larger p-value of two one-sided tests (Schuirmann 1987): that the difference is above
    -`matters`, and below it.

    Small where the difference is shown to lie between both. None with a single seed, or where
    nothing says what matters. By t, or by
    the effect's own test. Without spread every difference lies on the
    same side of both ends, and the most extreme of all exchanges says how sure that is.
    """
    if effect.std is None or matters is None:
        return None
    if effect.std == 0:
        return effect.least_p / 2 if abs(effect.mean) < matters else 1.0
    p_of_greater = effect.test.p_of_greater
    if p_of_greater:
        return max(
            p_of_greater([matters + one for one in effect.differences]),
            p_of_greater([matters - one for one in effect.differences]),
        )
    from scipy.special import stdtr

    distance = (matters - abs(effect.mean)) / effect.standard_error
    return float(stdtr(effect.freedom, -distance))


def probability_of_improvement(here: Sequence[float], there: Sequence[float]) -> float | None:
    """Share of all pairs of one value of each in which `here` is larger, ties by half; none without
    values.

    It estimates the chance that a new seed of one beats a new seed of the other.
    """
    if not here or not there:
        return None
    ordered = sorted(there)
    twice = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in here)
    return twice / 2 / (len(here) * len(there))
