"""The values that one setting is looked for among: choices, or numbers between two ends. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.fingerprint import canonical_json
from orchestrator.spec.search_schema import SpaceSchema

_FINEST = 1000
"""Numbers are rounded to about this part of what they range over: what is reported is what was
trained, and can be read.
"""


@dataclass(frozen=True)
class Choices:
    """A list of values."""

    values: Sequence[Any]

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.values)

    @property
    def listed(self) -> list[Any]:
        """Every value."""
        return list(self.values)

    def at(self, share: float) -> Any:
        """The value that has so large a share of them before it."""
        return self.values[int(share * len(self.values))]

    def has(self, value: Any) -> bool:
        """Tell whether it is one of them as a spec means it: `true` is not 1."""
        return canonical_json(value) in map(canonical_json, self.values)

    def encoded(self, value: Any) -> int:
        """Number of a value, for samplers that take no lists or mappings."""
        return self.values.index(value)

    def decoded(self, number: int) -> Any:
        """The inverse of `encoded`."""
        return self.values[number]


@dataclass(frozen=True)
class Numbers:
    """All numbers between two ends, or those at a distance of `step` from each other."""

    low: float
    high: float
    log: bool
    step: float | None
    is_whole: bool

    @property
    def count(self) -> int | None:
        """Number of values; None where they cannot be counted."""
        if self.step is None and not self.is_whole:
            return None
        return self._steps + 1

    @property
    def listed(self) -> list[Any]:
        """Every value; empty where they cannot be counted."""
        return [self._numbered(index) for index in range(self.count or 0)]

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest number that is tried; `step` may not reach the spec's own
        end.
        """
        if self.step is None:
            return self.low, self.high
        return self.low, _plain(self.low + self._steps * self.step)

    def at(self, share: float) -> Any:
        """The value that has so large a share of the range below it."""
        low, high = self.ends
        if self.log:
            return self.rounded(low * (high / low) ** share)
        if self.count:
            return self._numbered(int(share * self.count))
        return self.rounded(low + share * (high - low))

    def rounded(self, value: float) -> int | float:
        """A number as it is trained and shown."""
        if self.is_whole:
            return round(value)
        if self.step is not None:
            return _plain(value)
        size = self.high - self.low
        if self.log:
            size = min(value, size)
        digits = -math.floor(math.log10(size / _FINEST))
        return min(max(round(value, digits), self.low), self.high)

    def has(self, value: Any) -> bool:
        """Tell whether it is one of them."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / (self.step or math.inf)
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def encoded(self, value: Any) -> Any:
        """Number that a sampler is told."""
        return value

    def decoded(self, value: float) -> int | float:
        """Number that a sampler suggested, as it is trained."""
        return self.rounded(value)

    def _numbered(self, index: int) -> int | float:
        """The value with so many before it."""
        value = self.low + index * (self.step or 1)
        if self.is_whole:
            return round(value)
        return _plain(value)

    @property
    def _steps(self) -> int:
        """Steps from one end to the other."""
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9)


Domain = Choices | Numbers


def domain_of(space: SpaceSchema, *, is_whole: bool) -> Domain:
    """The values of a setting, which takes whole numbers alone with `is_whole`."""
    if space.choices is not None:
        return Choices(space.choices)
    assert space.low is not None
    assert space.high is not None
    return Numbers(space.low, space.high, space.log, space.step, is_whole)


def extremes_of(space: SpaceSchema) -> list[Any]:
    """The choices, or both ends, as whole numbers where they are: `2.0` is not a number of
    layers.
    """
    if space.choices is not None:
        return space.choices
    return [_as_written(end) for end in (space.low, space.high) if end is not None]


def _as_written(end: float) -> int | float:
    if end.is_integer():
        return int(end)
    return end


def _plain(value: float) -> float:
    """0.3 for 0.1 + 2 * 0.1."""
    return float(f"{value:.10g}")
