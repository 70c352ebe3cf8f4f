"""Parts of a test of a difference between two variants. The tests are listed in `registry`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.stats.inference import Effect

Interval = tuple[float, float]


@dataclass(frozen=True)
class EffectTest:
    """Test of a difference. Without any of the functions it is the paired t-test."""

    name: str
    """The test's name, as a spec's `metric.test` has it."""
    title: str
    """Name of the test and what it assumes, for a sentence of the report."""
    kind: str = "t-tests"
    """Name of such tests, in the plural."""
    judge: Callable[[Sequence[float], float], tuple[float, Interval | None]] | None = None
    """Takes differences by seed and a confidence; returns the two-sided p-value and the interval.
    None for the t-test of them."""
    p_of_greater: Callable[[Sequence[float]], float] | None = None
    """One-sided p-value that differences are above 0; None where a t says it."""
    between: "Callable[[Sequence[float], Sequence[float], float], Effect | None] | None" = None
    """Takes two independent samples and a confidence; None for a test of differences by seed."""


PAIRED = EffectTest("paired", "paired t-tests (seed-paired differences, assumed roughly normal)")
