"""Small drawings of what searches tried: the metric over each setting that was looked for, the best
so far over the combinations in order, and a table of all combinations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.metrics import best_by
from orchestrator.outcomes import Outcome
from orchestrator.planning.studies import importances
from orchestrator.report.parallel import Parallel, parallel_of
from orchestrator.report.pareto import fronts_of
from orchestrator.report.places import Places
from orchestrator.report.plot import Box, Plot, PlotDot, Tick, x_ticks, y_ticks
from orchestrator.report.scale import Scale, scale_around
from orchestrator.report.tables import TableData, TableRow
from orchestrator.report.words import Column, condition_text, figure_text, setting_text
from orchestrator.spec.search_space import Search, Tried
from orchestrator.text import cell, cut

_BOX = Box(margin_bottom=28)
_TICKS = 3
_LONGEST_LABEL = 14
"""Characters."""
_ROUGH_BELOW = 40
"""Combinations that finished, below which the importance of settings is called rough."""


@dataclass(frozen=True)
class Importance:
    """Shares of the metric's variance over the space that each setting explains, largest first."""

    title: str
    shares: Sequence[tuple[str, float]]
    finished: int
    """Combinations that it is worked out from."""

    @property
    def is_rough(self) -> bool:
        """True if other combinations might well say otherwise."""
        return self.finished < _ROUGH_BELOW


@dataclass(frozen=True)
class SearchDrawings:
    """All searches on the same axis, so that they can be compared at a glance."""

    text: str
    plots: Sequence[Plot]
    parallels: Sequence[Parallel]
    importances: Sequence["Importance"]
    table: TableData


def search_drawings(roadmap: Roadmap) -> SearchDrawings | None:
    """The drawings of the searches that have begun; None without any result."""
    means = [
        point.mean
        for search in roadmap.searches
        for point in search.tried
        if point.mean is not None
    ]
    if not means:
        return None
    values = scale_around(means)
    begun = [
        search for search in roadmap.searches if any(point.has_ended for point in search.tried)
    ]
    metric = roadmap.chosen_by
    plots = [plot for search in begun for plot in _plots(search, values, roadmap)]
    parallels = [parallel_of(search, values, metric) for search in begun]
    weighed = [_importance(search) for search in begun]
    known = [importance for importance in weighed if importance.shares]
    text = _explanation(begun, metric)
    return SearchDrawings(text, plots, parallels, known, _table(begun, metric))


def _plots(search: Search, values: Scale, roadmap: Roadmap) -> Iterator[Plot]:
    for key in search.schema.space:
        yield _over_setting(search, key, values, roadmap.chosen_by)
    yield _history(search, values, roadmap)
    yield from fronts_of(search, values, roadmap.chosen_by)


def _explanation(searches: Sequence[Search], metric: str) -> str:
    """Words below the drawings: what the dots are, and what their colours mean."""
    text = (
        f"{metric} of each combination, mean over the search's seeds. Green: the chosen one, "
        "which looks better here than it is because it was selected. Hollow: did not train"
    )
    if any(search.pruned for search in searches):
        text += ". Grey: pruned"
    text += "."
    if any(search.front for search in searches):
        text += (
            " The stepped line is the Pareto set: combinations that no other one beats in all "
            "metrics of the search."
        )
    return text


def _importance(search: Search) -> Importance:
    finished = sum(point.mean is not None for point in search.tried)
    return Importance(search.title, list(importances(search).items()), finished)


def _table(searches: Sequence[Search], metric: str) -> TableData:
    """Every combination that has ended, in order; what others leave to chance is blank."""
    keys = list(dict.fromkeys(key for search in searches for key in search.schema.space))
    goals = list(dict.fromkeys(goal for search in searches for goal in _further(search)))
    heads = [
        Column("search"),
        Column("trial", is_number=True),
        *(Column(key, is_number=True) for key in keys),
        Column(metric, is_number=True),
        *(Column(name, is_number=True) for name in goals),
        *([Column("Pareto set")] if goals else []),
        Column("outcome"),
        Column("train s", is_number=True),
    ]
    rows = [
        TableRow(_cells(search, place, point, keys, goals))
        for search in searches
        for place, point in enumerate(search.tried, 1)
        if point.has_ended
    ]
    return TableData("Combinations tried", heads, rows)


def _further(search: Search) -> list[str]:
    """Names of the metrics that a search goes by beside the sweep's."""
    return [goal.name for goal in (search.schema.metric or [])[1:]]


def _cells(
    search: Search, place: int, point: Tried, keys: Sequence[str], goals: Sequence[str]
) -> list[str]:
    settings = [setting_text(point.values[key]) if key in point.values else "" for key in keys]
    reached = [figure_text(point.means[name]) if name in point.means else "" for name in goals]
    is_on_front = any(point is other for other in search.front)
    outcome = "chosen" if point is search.chosen else point.outcome.replace("_", " ")
    return [
        search.title,
        f"{place}",
        *settings,
        cell(point.mean, ".4g"),
        *reached,
        *([("yes" if is_on_front else "")] if goals else []),
        outcome,
        f"{point.seconds:.1f}",
    ]


def _over_setting(search: Search, key: str, values: Scale, metric: str) -> Plot:
    """The points along the bottom: points that did not train as they should, and those that were
    stopped. Combinations that did not look for the setting are not in it.
    """
    places = Places(search.schema.space[key])
    labels = [Tick(_x(places.share(one)), _short(setting_text(one))) for one in places.labelled]
    ended = sorted(
        (point for point in search.tried if point.has_ended and key in point.values),
        key=lambda point: point is search.chosen,
    )  # on top
    return Plot(
        title=search.title,
        subtitle=f"{key} {condition_text(search, key)}".strip(),
        label=f"{search.title}: {metric} over {key}",
        box=_BOX,
        x_ticks=labels,
        y_ticks=y_ticks(_BOX, values, _TICKS),
        dots=[_dot(point, _x(places.share(point.values[key])), values, search) for point in ended],
    )


def _history(search: Search, values: Scale, roadmap: Roadmap) -> Plot:
    """Every combination in order, and a line for the best so far."""
    ended = [point for point in search.tried if point.has_ended]
    order = Scale(0.0, max(len(ended), 2) + 0.5)
    best: list[tuple[float, float]] = []
    for place, point in enumerate(ended, 1):
        if point.mean is None:
            continue
        before = [value for _, value in best[-1:]]
        best += [(float(place), value) for value in before]
        best.append((float(place), best_by(roadmap.mode)([*before, point.mean])))
    if best:
        best.append((order.high, best[-1][1]))
    dots = [
        _dot(point, _BOX.x(place, order), values, search) for place, point in enumerate(ended, 1)
    ]
    return Plot(
        title=search.title,
        subtitle="in order, best so far",
        label=f"{search.title}: {roadmap.chosen_by} of the combinations in order",
        box=_BOX,
        x_ticks=x_ticks(_BOX, order),
        y_ticks=y_ticks(_BOX, values, _TICKS),
        dots=dots,
        best=_BOX.points(best, order, values),
    )


def _dot(point: Tried, x: float, values: Scale, search: Search) -> PlotDot:
    is_chosen = point is search.chosen
    y = _BOX.bottom + 6.0 if point.mean is None else _BOX.y(point.mean, values)
    text = ", ".join(f"{key} {setting_text(value)}" for key, value in point.values.items())
    title = f"{point.variant.name}: {text}: {reached_text(point)}"
    kind = f"tried {_end(point, is_chosen)}".strip()
    return PlotDot(kind, x, y, 5 if is_chosen else 3.5, title)


def reached_text(point: Tried) -> str:
    """The mean that a combination reached, or how it ended."""
    reached = cell(point.mean, ".4g") or point.outcome
    if point.outcome != Outcome.PRUNED:
        return reached
    return f"{reached} at {point.variant.config.unit} {point.pruned_at}"


def _end(point: Tried, is_chosen: bool) -> str:
    if point.outcome == Outcome.PRUNED:
        return "pruned"
    if point.mean is None:
        return "ill"
    return "chosen" if is_chosen else ""


def _x(share: float) -> float:
    return _BOX.left + share * (_BOX.right - _BOX.left)


def _short(text: str) -> str:
    return cut(text, _LONGEST_LABEL)
