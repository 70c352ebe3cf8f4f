"""The Pareto set of a search by several metrics, as small drawings: the sweep's metric over each
other one.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from orchestrator.report.plot import Box, Plot, PlotDot, x_ticks, y_ticks
from orchestrator.report.scale import Scale, scale_around
from orchestrator.report.words import point_text
from orchestrator.spec.goals import Goal, on_the_front
from orchestrator.spec.search_space import Search, Tried

_BOX = Box(margin_bottom=28)
_TICKS = 3


def fronts_of(search: Search, values: Scale, metric: str) -> Iterator[Plot]:
    """A drawing for each metric behind the first one; none where a search goes by one."""
    known = [point for point in search.tried if point.means]
    goals = search.schema.metric or []
    for goal in goals[1:] if known else []:
        yield _front(search, goals[0], goal, known, values)


def _front(search: Search, first: Goal, goal: Goal, known: Sequence[Tried], values: Scale) -> Plot:
    """The first metric upwards, another one to the right, and a line through what none beats in
    these two.
    """
    across = scale_around([point.means[goal.name] for point in known])
    gains = [[first.gain(p.means[first.name]), goal.gain(p.means[goal.name])] for p in known]
    front = sorted((known[i] for i in on_the_front(gains)), key=lambda p: p.means[goal.name])
    places = [(point.means[goal.name], point.means[first.name]) for point in front]
    return Plot(
        title=search.title,
        subtitle=f"{first.name} over {goal.name}",
        label=f"{search.title}: {first.name} over {goal.name}, and the Pareto set",
        box=_BOX,
        x_ticks=x_ticks(_BOX, across, _TICKS),
        y_ticks=y_ticks(_BOX, values, _TICKS),
        dots=[_dot(point, search, goal, across, values) for point in known],
        best=_BOX.points(_steps(places, goal), across, values),
    )


def _steps(places: Sequence[tuple[float, float]], goal: Goal) -> list[tuple[float, float]]:
    """The line below which nothing lies that is known: level until the next one is reached."""
    line = list(places[:1])
    for (x, y), (next_x, next_y) in pairwise(places):
        corner = (next_x, y) if goal.mode == "min" else (x, next_y)
        line += [corner, (next_x, next_y)]
    return line


def _dot(point: Tried, search: Search, goal: Goal, across: Scale, values: Scale) -> PlotDot:
    assert point.mean is not None
    is_chosen = point is search.chosen
    kind = "tried chosen" if is_chosen else "tried"
    x, y = _BOX.x(point.means[goal.name], across), _BOX.y(point.mean, values)
    return PlotDot(kind, x, y, 5 if is_chosen else 3.5, point_text(point))
