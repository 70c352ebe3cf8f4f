"""Axes: which range to show, where the ticks are, where a value lies. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_DECADES_ONLY = 3.0
"""A logarithmic axis of more decades than this has a tick at each power of ten, and no others."""
_MOST_LOG_TICKS = 9
_SAME_WINDOW = 1.6
"""Axes become one where it is at most so many times as long as the longest of them."""


@dataclass(frozen=True)
class Scale:
    """An axis, linear or logarithmic."""

    low: float
    high: float
    is_log: bool = False
    """True if equal ratios are equally long; both ends are then above 0."""

    def percent(self, value: float) -> float:
        """Place of `value` from 0 at the low end to 100; values outside are put at the ends."""
        inside = min(max(value, self.low), self.high)
        low, high, place = map(self._position, (self.low, self.high, inside))
        return 100 * (place - low) / (high - low)

    def has(self, value: float) -> bool:
        """Tell whether `value` is on the axis."""
        return self.low <= value <= self.high

    def ticks(self, wanted: int = 8) -> list[float]:
        """Return about `wanted` round values on the axis."""
        if self.is_log:
            return self._log_ticks(wanted)
        step = _round_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def label(self, value: float, wanted: int = 8) -> str:
        """A tick's label, with as many decimals as the ticks need."""
        if self.is_log:
            return f"{value:g}"
        step = _round_step((self.high - self.low) / wanted)
        return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"

    @property
    def beginning(self) -> str:
        """The low end in full, where a tick's label has no more decimals than ticks need."""
        if self.is_log:
            return f"{self.low:.3g}"
        digits = 3 - math.floor(math.log10(self.high - self.low))
        return f"{round(self.low, digits):.12g}"

    def _position(self, value: float) -> float:
        return math.log10(value) if self.is_log else value

    def _log_ticks(self, wanted: int) -> list[float]:
        """Powers of ten, with 2 and 5 times them on a short axis."""
        decades = math.log10(self.high / self.low)
        factors = (1,) if decades > _DECADES_ONLY else (1, 2, 5)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        ticks = [
            factor * 10.0**power
            for power in range(first, last + 1)
            for factor in factors
            if self.low * (1 - 1e-9) <= factor * 10.0**power <= self.high * (1 + 1e-9)
        ]
        every = max(1, math.ceil(len(ticks) / min(wanted, _MOST_LOG_TICKS)))
        return ticks[::every]


def scale_around(
    values: Sequence[float],
    margin: float = 0.06,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Scale:
    """An axis that holds all values with a margin on both sides, its ends round numbers within
    `limits`.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * margin or max(abs(high) * 0.05, 0.5)
    step = _round_step((high - low + 2 * room) / 20)
    low, high = math.floor((low - room) / step) * step, math.ceil((high + room) / step) * step
    return Scale(max(low, limits[0]), min(high, limits[1]))


def log_scale_around(values: Sequence[float]) -> Scale:
    """A logarithmic axis that holds all values, which are above 0, with a little room."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.04 * (high - low), 0.05)
    return Scale(10 ** (low - room), 10 ** (high + room), is_log=True)


def alike(scales: Sequence[Scale], most: float = math.inf) -> list[Scale]:
    """Axes of one length, so that equal differences are equally long: axes that nearly coincide
    become one, and the others are made as long as the longest, about their own middles, within 0
    if they were above it, and `most`.
    """
    longest = max(scale.high - scale.low for scale in scales)
    merged = _merged(scales, _SAME_WINDOW * longest)
    step = _round_step(max(scale.high - scale.low for scale in merged.values()) / 20)
    ends = {
        scale: (math.floor(found.low / step + 1e-9), math.ceil(found.high / step - 1e-9))
        for scale, found in merged.items()
    }
    span = max(high - low for low, high in ends.values())
    found = []
    for scale in scales:
        low, high = ends[scale]
        begin = low - (span - (high - low)) // 2
        if most < math.inf:
            begin = min(begin, math.floor(most / step + 1e-9) - span)
        if low >= 0:
            begin = max(begin, 0)
        found.append(Scale(round(begin * step, 12), round((begin + span) * step, 12)))
    return found


def _merged(scales: Sequence[Scale], longest: float) -> dict[Scale, Scale]:
    """Map each axis to the one that takes its place, which is no longer than `longest`."""
    groups: list[list[Scale]] = []
    for scale in sorted(scales, key=lambda one: (one.low, one.high)):
        if groups and max(one.high for one in [*groups[-1], scale]) - groups[-1][0].low <= longest:
            groups[-1].append(scale)
        else:
            groups.append([scale])
    return {
        scale: Scale(group[0].low, max(one.high for one in group))
        for group in groups
        for scale in group
    }


def _round_step(size: float) -> float:
    """The 1, 2 or 5 times a power of ten next above `size`."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= size * (1 - 1e-9))
