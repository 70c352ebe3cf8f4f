"""Axes: which range to show, where the ticks are, where a value lies. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear axis."""

    low: float
    high: float

    def percent(self, value: float) -> float:
        """Where `value` lies, from 0 at the low end to 100; values outside are put at the ends."""
        return 100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def has(self, value: float) -> bool:
        """Whether `value` is on the axis."""
        return self.low <= value <= self.high

    def ticks(self, wanted: int = 8) -> list[float]:
        """About so many round values on the axis."""
        step = _round_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def label(self, value: float, wanted: int = 8) -> str:
        """A tick's label, with as many decimals as the ticks need."""
        step = _round_step((self.high - self.low) / wanted)
        return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def scale_around(
    values: Sequence[float],
    margin: float = 0.06,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Scale:
    """An axis that holds all values with a margin on both sides, its ends round numbers, and within `limits`."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * margin or max(abs(high) * 0.05, 0.5)
    step = _round_step((high - low + 2 * room) / 20)
    low, high = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    return Scale(max(low, limits[0]), min(high, limits[1]))


def _round_step(size: float) -> float:
    """The 1, 2 or 5 times a power of ten next above `size`."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * (1 - 1e-9))
