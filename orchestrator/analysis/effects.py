"""Difference between two variants as the report has it: what was measured, and what may be said of
it.
"""

from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.stats.inference import LEVEL, Effect
from orchestrator.stats.power import Prospect, Ranged
from orchestrator.stats.rates import Rate, Rates

Verdict = Literal["better", "worse", "equivalent", "open"]
"""Claim about a tested comparison.

`better` and `worse`: there is a difference in that direction, by the corrected p-value; of rates,
fewer or more trials that did not train as they should. `equivalent`: the difference is smaller than
what matters, by two one-sided tests that are corrected over the family on their own; it says so
even where a difference is found. `open`: neither can be said.
"""
Sides = frozenset[tuple[str, ...]]
"""Fingerprints of the trials on each side of a comparison; one alone where a thing is compared with
itself.
"""


@dataclass(frozen=True)
class StepEffect:
    """Difference to another variant, and to which."""

    effect: Effect | None
    """Difference of the means; none where no trial to compare trained to the end."""
    versus: str
    adjusted_p_value: float | None = None
    """p-value that decides: corrected over the report's family. None where nothing is tested."""
    caveat: str = ""
    """Caveat that a reader must know before believing it."""
    decimals: int = 2
    """Decimals shown in reports."""
    p_value: float | None = None
    """p-value that stands for the comparison in the family, before correction: of the means, or
    of the rates. None while trials are still to come."""
    rates: Rates | None = None
    """Shares of trials that did not train as they should; None where all did."""
    to_come: tuple[int, int] | None = None
    """Seeds that both sides have so far, and of how many, while some are still to come."""
    sides: Sides = frozenset()
    """The trials that it compares, of either side; empty for an average over cells."""
    equivalence: float | None = None
    """p-value of being smaller than what matters, with its price for looks, before correction."""
    improvement: float | None = None
    """Chance that a new seed of this variant beats a new one of the other, as the seeds show it."""
    verdict: Verdict | None = None
    """Decision of the test; None where nothing is tested."""
    detectable: Ranged | None = None
    prospect: Prospect | None = None

    @property
    def mean(self) -> float | None:
        """Difference of the means; None without one."""
        return self.effect.mean if self.effect else None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Interval of the difference; None without one."""
        return self.effect.ci95 if self.effect else None

    @property
    def pairs(self) -> int:
        """Seeds that both variants have; 0 without a difference."""
        return self.effect.pairs if self.effect else 0

    @property
    def is_decided(self) -> bool:
        """True if a difference is found."""
        return self.adjusted_p_value is not None and self.adjusted_p_value < LEVEL

    @property
    def is_of_itself(self) -> bool:
        """True if both sides are the same trials, so that there is nothing to compare."""
        return len(self.sides) == 1


def better_or_worse(difference: float, mode: str) -> Literal["better", "worse"]:
    """Direction of a difference: `mode` tells whether a metric is better high (`max`) or low."""
    if (difference > 0) == (mode == "max"):
        return "better"
    return "worse"


def effect_to_json(delta: StepEffect | None) -> dict[str, Any] | None:
    """The form of an effect in `report --format json`; `p_value` is corrected and decides."""
    if delta is None:
        return None
    effect, prospect = delta.effect, delta.prospect
    return {
        "mean": delta.mean,
        "ci95": delta.ci95,
        "p_value": delta.adjusted_p_value,
        "versus": delta.versus,
        "p_value_uncorrected": delta.p_value,
        "p_value_sign_flip": effect and effect.sign_flip_p,
        "pairs": delta.pairs,
        "std": effect and effect.std,
        "test": test_name(delta),
        "verdict": delta.verdict,
        "correlation": effect and effect.correlation,
        "rates": rates_to_json(delta.rates),
        "detectable": delta.detectable and delta.detectable.to_json(),
        "power_at_matters": prospect and prospect.power.to_json(),
        "seeds_for_matters": prospect and list(prospect.seeds),
        "equivalence_p_value_uncorrected": delta.equivalence,
        "probability_of_improvement": delta.improvement,
        "caveat": delta.caveat,
    }


def test_name(delta: StepEffect) -> str | None:
    """Name of the test of a difference, or `fisher` where Fisher's exact test took their place."""
    if delta.rates:
        return "fisher"
    if delta.effect is None:
        return None
    return delta.effect.test.name


def rates_to_json(rates: Rates | None) -> dict[str, Any] | None:
    """The form of two rates in `report --format json`."""
    if rates is None:
        return None
    return {
        "here": _rate_to_json(rates.here),
        "there": _rate_to_json(rates.there),
        "p_value_uncorrected": rates.p_value,
    }


def _rate_to_json(rate: Rate) -> dict[str, Any]:
    return {"bad": rate.bad, "of": rate.of, "ci95": list(rate.ci95)}
