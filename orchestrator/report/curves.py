"""Learning curves: the metric over the epochs, a small drawing for each step with a line for each seed.

Of somebody's own training, which may have no epochs, over the iterations.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from orchestrator.analysis.roadmap import Roadmap, StepRow
from orchestrator.report.scale import Scale, scale_around
from orchestrator.store.store import TrialDirectory

Curve = Sequence[tuple[float, float]]
"""Epoch and metric."""

_WIDTH, _HEIGHT = 240, 120
_LEFT, _BOTTOM, _TOP, _RIGHT = 34, 18, 6, 10


def read_curves(row: StepRow, metric: str) -> dict[int, Curve]:
    """The curve of every trial of the row that has begun, by seed."""
    curves: dict[int, Curve] = {}
    for seed, path in sorted(row.paths.items()):
        lines = TrialDirectory(Path(path)).metrics()
        found = [
            (line["metrics"].get("epoch", line["iteration"]), line["metrics"].get(metric))
            for line in lines
        ]
        points = [(float(epoch), value) for epoch, value in found if value is not None]
        if points:
            curves[seed] = points
    return curves


def learning_curves(roadmap: Roadmap, metric: str) -> str:
    """All steps on the same axes, regime by regime, so that they can be compared at a glance; empty without any curve."""
    parts = []
    for regime in dict.fromkeys(row.variant.regime for row in roadmap.rows):
        rows = [row for row in roadmap.rows if row.variant.regime == regime]
        curves = {row.variant.name: read_curves(row, metric) for row in rows}
        points = [
            point for of_row in curves.values() for curve in of_row.values() for point in curve
        ]
        if not points:
            continue
        epochs = Scale(0.0, max(max(epoch for epoch, _ in points), 1.0))
        values = scale_around([value for _, value in points])
        behind = curves[rows[0].variant.name]
        drawings = [
            _drawing(row, curves[row.variant.name], behind, epochs, values)
            for row in rows
            if curves[row.variant.name]
        ]
        title = f"<h3>{escape(regime)}</h3>" if regime else ""
        parts.append(f'{title}<div class="curves">{"".join(drawings)}</div>')
    return "\n".join(parts)


def _drawing(
    row: StepRow, curves: dict[int, Curve], behind: dict[int, Curve], epochs: Scale, values: Scale
) -> str:
    ticks = values.ticks(5)
    lines = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(tick, values):.1f}" y2="{_y(tick, values):.1f}"/>'
        f'<text x="{_LEFT - 4}" y="{_y(tick, values) + 3:.1f}" text-anchor="end">{values.label(tick, 5)}</text>'
        for tick in ticks
    )
    labels = "".join(
        f'<text x="{_x(tick, epochs):.1f}" y="{_HEIGHT - 5}" text-anchor="middle">{epochs.label(tick, 3)}</text>'
        for tick in epochs.ticks(3)
    )
    shadows = (
        "".join(_line(curve, epochs, values, "shadow") for curve in behind.values())
        if row.variant.follows
        else ""
    )
    own = "".join(
        _line(curve, epochs, values, "curve", f"seed {seed}") for seed, curve in curves.items()
    )
    kinds = " side" * row.variant.side + " sick" * row.is_sick
    return (
        f'<figure class="small{kinds}"><figcaption>{"└ " * row.variant.side}{escape(row.variant.name)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="learning curves of {escape(row.variant.name)}">'
        f"{lines}{labels}{shadows}{own}</svg></figure>"
    )


def _line(curve: Curve, epochs: Scale, values: Scale, kind: str, title: str = "") -> str:
    points = " ".join(f"{_x(epoch, epochs):.1f},{_y(value, values):.1f}" for epoch, value in curve)
    return f'<polyline class="{kind}" points="{points}">{f"<title>{title}</title>" if title else ""}</polyline>'


def _x(epoch: float, scale: Scale) -> float:
    return _LEFT + scale.percent(epoch) / 100 * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, scale: Scale) -> float:
    return _HEIGHT - _BOTTOM - scale.percent(value) / 100 * (_HEIGHT - _BOTTOM - _TOP)
