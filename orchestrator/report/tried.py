"""What searches tried: the metric over each setting that was looked for, a small drawing for each."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report.scale import Scale, scale_around
from orchestrator.report.words import setting_text
from orchestrator.spec.search_schema import SpaceSchema
from orchestrator.spec.search_space import Search, Tried
from orchestrator.trial import Outcome

_WIDTH, _HEIGHT = 240, 130
_LEFT, _BOTTOM, _TOP, _RIGHT = 34, 28, 6, 10
_TICKS = 3
_LONGEST_LABEL = 14
"""Characters."""


def search_figures(roadmap: Roadmap) -> str:
    """All searches on the same axis, so that they can be compared at a glance; empty without any result."""
    means = [
        point.mean
        for search in roadmap.searches
        for point in search.tried
        if point.mean is not None
    ]
    if not means:
        return ""
    values = scale_around(means)
    begun = [
        search for search in roadmap.searches if any(point.has_ended for point in search.tried)
    ]
    drawings = "".join(
        _drawing(search, key, values, roadmap.chosen_by)
        for search in begun
        for key in search.schema.space
    )
    text = (
        f"{roadmap.chosen_by} of each combination, the mean over the search's seeds. Green was chosen,"
        " and as the best of all flatters itself here; hollow did not train"
    )
    text += (
        ", grey was stopped early." if any(search.pruned for search in roadmap.searches) else "."
    )
    return f'<p class="lead">{escape(text)}</p><div class="curves">{drawings}</div>'


def _drawing(search: Search, key: str, values: Scale, metric: str) -> str:
    """At the bottom: points that did not train as they should, hollow, and those that were stopped early."""
    space = search.schema.space[key]
    places = _Places(space)
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(tick, values):.1f}" y2="{_y(tick, values):.1f}"/>'
        f'<text x="{_LEFT - 4}" y="{_y(tick, values) + 3:.1f}" text-anchor="end">{values.label(tick, _TICKS)}</text>'
        for tick in values.ticks(_TICKS)
    )
    labels = "".join(
        f'<text x="{places.x(value):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(_short(setting_text(value)))}</text>'
        for value in places.labelled
    )
    ended = sorted(
        (point for point in search.tried if point.has_ended),
        key=lambda point: point is search.chosen,
    )  # on top
    dots = "".join(
        _dot(point, places.x(point.values[key]), values, point is search.chosen) for point in ended
    )
    title = f"{search.title}: {metric} over {key}"
    return (
        f'<figure class="small"><figcaption>{escape(search.title)} <small>{escape(key)}</small></figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{grid}{labels}{dots}</svg></figure>"
    )


def _dot(point: Tried, x: float, values: Scale, is_chosen: bool) -> str:
    reached = point.outcome if point.mean is None else f"{point.mean:.4g}"
    reached += f" at epoch {point.pruned_at}" if point.outcome == Outcome.PRUNED else ""
    text = ", ".join(f"{key} {setting_text(value)}" for key, value in point.values.items())
    ended = (
        "pruned"
        if point.outcome == Outcome.PRUNED
        else "ill"
        if point.mean is None
        else "chosen"
        if is_chosen
        else ""
    )
    y = _HEIGHT - _BOTTOM + 6 if point.mean is None else _y(point.mean, values)
    title = f"<title>{escape(point.variant.name)}: {escape(text)}: {escape(reached)}</title>"
    return f'<circle class="{f"tried {ended}".strip()}" cx="{x:.1f}" cy="{y:.1f}" r="{5 if is_chosen else 3.5}">{title}</circle>'


class _Places:
    """Where the values of one setting stand from left to right: choices side by side, numbers by their size or its logarithm."""

    def __init__(self, space: SpaceSchema) -> None:
        self._space = space

    @property
    def labelled(self) -> Sequence[Any]:
        """The values to name below the axis."""
        if self._space.choices is not None:
            return self._space.choices
        low, high = self._number(self._space.low), self._number(self._space.high)
        middle = (low + high) / 2
        return [
            self._space.low,
            float(f"{math.exp(middle) if self._space.log else middle:.2g}"),
            self._space.high,
        ]

    def x(self, value: Any) -> float:
        """In the drawing."""
        if self._space.choices is not None:
            share = (self._space.choices.index(value) + 0.5) / len(self._space.choices)
        else:
            low, high = self._number(self._space.low), self._number(self._space.high)
            share = 0.06 + 0.88 * (self._number(value) - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def _number(self, value: Any) -> float:
        return math.log(value) if self._space.log else float(value)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _y(value: float, scale: Scale) -> float:
    return _HEIGHT - _BOTTOM - scale.percent(value) / 100 * (_HEIGHT - _BOTTOM - _TOP)
