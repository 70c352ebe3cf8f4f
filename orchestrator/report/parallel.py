"""A search at once: an axis for each setting and one for the metric, a line for each
combination.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.places import Places
from orchestrator.report.plot import Tick
from orchestrator.report.scale import Scale
from orchestrator.report.words import setting_text
from orchestrator.spec.search_space import Search, Tried

_NOT_ASKED = -0.03
"""Place below all values."""
_WIDTH, _HEIGHT, _SIDE, _TOP, _BOTTOM = 900, 230, 70, 26, 14


@dataclass(frozen=True)
class ParallelAxis:
    """A setting, or the metric."""

    name: str
    x: float
    ticks: Sequence[Tick]


@dataclass(frozen=True)
class ParallelLine:
    """One combination."""

    kind: str
    points: str
    title: str


@dataclass(frozen=True)
class Parallel:
    """The drawing of one search."""

    title: str
    axes: Sequence[ParallelAxis]
    lines: Sequence[ParallelLine]
    width: int = _WIDTH
    height: int = _HEIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def parallel_of(search: Search, values: Scale, metric: str) -> Parallel:
    """Combinations that trained to the end; the chosen one is drawn last."""
    keys = list(search.schema.space)
    step = (_WIDTH - 2 * _SIDE) / len(keys)
    places = [Places(search.schema.space[key]) for key in keys]
    axes = [
        ParallelAxis(
            key,
            _SIDE + index * step,
            _ticks(place, search, key),
        )
        for index, (key, place) in enumerate(zip(keys, places, strict=True))
    ]
    ticks = [
        Tick(_y(values.percent(tick) / 100), values.label(tick, 5)) for tick in values.ticks(5)
    ]
    axes.append(ParallelAxis(metric, _WIDTH - _SIDE, ticks))
    finished = [point for point in search.tried if point.mean is not None]
    finished.sort(key=lambda point: point is search.chosen)
    lines = [_line(point, search, places, axes, values) for point in finished]
    return Parallel(search.title, axes, lines)


def _line(
    point: Tried,
    search: Search,
    places: Sequence[Places],
    axes: Sequence[ParallelAxis],
    values: Scale,
) -> ParallelLine:
    assert point.mean is not None
    shares = [
        place.share(point.values[key]) if key in point.values else _NOT_ASKED
        for key, place in zip(search.schema.space, places, strict=True)
    ]
    shares.append(values.percent(point.mean) / 100)
    points = " ".join(
        f"{axis.x:.1f},{_y(share):.1f}" for axis, share in zip(axes, shares, strict=True)
    )
    settings = ", ".join(f"{key} {setting_text(value)}" for key, value in point.values.items())
    kind = "chosen" if point is search.chosen else ""
    return ParallelLine(kind, points, f"{settings}: {point.mean:.4g}")


def _ticks(place: Places, search: Search, key: str) -> list[Tick]:
    """The values below each other, and a place for combinations that did not look for the
    setting.
    """
    ticks = [Tick(_y(place.share(one)), setting_text(one)) for one in place.labelled]
    return [*ticks, Tick(_y(_NOT_ASKED), "–")] if search.schema.space[key].when else ticks


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)
