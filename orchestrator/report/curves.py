"""Learning curves: the metric over the epochs, a small drawing for each step with a line for each
seed, and the figures themselves for the page's script, which lays two steps over each other.

Of a user's own training, which may have no epochs, over the iterations.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.analysis.roadmap import Roadmap, StepRow
from orchestrator.report.plot import Box, Curve, Plot, x_ticks, y_ticks
from orchestrator.report.scale import Scale, scale_around
from orchestrator.store.store import TrialDirectory

_BOX = Box(height=120, margin_bottom=18)
_LATE = 1 / 3
"""Share of the epochs after which values count for the vertical axis: the first ones, far from all
later ones, would leave these no room.
"""
_MOST_NUMBERS = 60_000
"""Points in the page's data; longer curves are thinned for it."""
_FEWEST = 12
"""Points that a curve keeps."""
Curves = Mapping[int, Curve]
"""The curves of a variant, by seed."""


@dataclass(frozen=True)
class CurvesOfRegime:
    """The steps of one regime, on the same axes."""

    regime: str
    plots: Sequence[Plot]


@dataclass(frozen=True)
class CurvesOfMetric:
    """All drawings of one metric."""

    metric: str
    is_open: bool
    regimes: Sequence[CurvesOfRegime]


def read_curves(row: StepRow, metrics: Sequence[str]) -> dict[str, dict[int, Curve]]:
    """The curves of every trial of the row that has begun, by metric and seed."""
    curves: dict[str, dict[int, Curve]] = {metric: {} for metric in metrics}
    for seed, path in sorted(row.paths.items()):
        lines = list(TrialDirectory(Path(path)).metrics())
        for metric in metrics:
            points = [
                (float(line["metrics"].get("epoch", line["iteration"])), value)
                for line in lines
                if (value := line["metrics"].get(metric)) is not None
            ]
            if points:
                curves[metric][seed] = points
    return curves


class LearningCurves:
    """The curves of all steps of a road, read once."""

    def __init__(self, roadmap: Roadmap) -> None:
        self._metrics = list(dict.fromkeys((roadmap.metric, *roadmap.also)))
        self._rows = list(roadmap.rows)
        self._read = [read_curves(row, self._metrics) for row in self._rows]

    def drawings(self) -> list[CurvesOfMetric]:
        """The small drawings, metric by metric; metrics without any curve are left out."""
        drawn = [
            CurvesOfMetric(metric, place == 0, self._of_metric(metric))
            for place, metric in enumerate(self._metrics)
        ]
        return [one for one in drawn if one.regimes]

    def data(self) -> str:
        """The curves as JSON that can stand in a page; empty without any."""
        found = {
            metric: {
                row.variant.label: curves[metric]
                for row, curves in zip(self._rows, self._read, strict=True)
                if curves[metric]
            }
            for metric in self._metrics
        }
        all_curves = [c for steps in found.values() for of in steps.values() for c in of.values()]
        if not all_curves:
            return ""
        most = max(_FEWEST, _MOST_NUMBERS // len(all_curves))
        shown: dict[str, Any] = {
            metric: {
                label: {seed: _thinned(curve, most) for seed, curve in curves.items()}
                for label, curves in steps.items()
            }
            for metric, steps in found.items()
            if steps
        }
        text = json.dumps(shown, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace("&", "\\u0026")

    def _of_metric(self, metric: str) -> list[CurvesOfRegime]:
        regimes = dict.fromkeys(row.variant.regime for row in self._rows)
        drawn = [CurvesOfRegime(regime, self._of_regime(metric, regime)) for regime in regimes]
        return [one for one in drawn if one.plots]

    def _of_regime(self, metric: str, regime: str) -> list[Plot]:
        found = [
            (row, curves[metric])
            for row, curves in zip(self._rows, self._read, strict=True)
            if row.variant.regime == regime
        ]
        points = [point for _, of in found for curve in of.values() for point in curve]
        if not points:
            return []
        epochs = Scale(0.0, max(max(epoch for epoch, _ in points), 1.0))
        late = [value for epoch, value in points if epoch >= _LATE * epochs.high]
        values = scale_around(late or [value for _, value in points])
        behind = found[0][1]
        return [
            _plot(row, curves, behind if row.variant.follows else {}, epochs, values)
            for row, curves in found
            if curves
        ]


def _plot(row: StepRow, curves: Curves, behind: Curves, epochs: Scale, values: Scale) -> Plot:
    kinds = ["side"] * row.variant.side + ["sick"] * row.is_sick
    return Plot(
        title=f"{'└ ' * row.variant.side}{row.variant.name}",
        box=_BOX,
        x_ticks=x_ticks(_BOX, epochs),
        y_ticks=y_ticks(_BOX, values),
        kind=" ".join(kinds),
        curves=[(seed, _BOX.points(curve, epochs, values)) for seed, curve in curves.items()],
        behind=[_BOX.points(curve, epochs, values) for curve in behind.values()],
    )


def _thinned(curve: Curve, most: int) -> list[tuple[float, float]]:
    """The curve with at most so many points, its first and last among them."""
    count = len(curve)
    if count > most:
        places = dict.fromkeys(round(place * (count - 1) / (most - 1)) for place in range(most))
        curve = [curve[place] for place in places]
    return [(float(f"{epoch:.6g}"), float(f"{value:.6g}")) for epoch, value in curve]
