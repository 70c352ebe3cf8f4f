"""Pictures of what was measured, as small SVG files without text of anybody else in them."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from illama.measures.calibration import Reliability

_WIDTH, _HEIGHT = 3.2, 2.4
"""Inches."""
_BLUE, _ORANGE, _GREY = "#2563a8", "#c2570c", "#8a8f98"
_COLOURS = (_BLUE, _ORANGE, "#2f8f5b", "#8d4bab", _GREY, "#b0273f")


def reliability_diagram(found: "Reliability", ece: float) -> str:
    """Accuracy over confidence, a bar for each bin, its shade the share of images."""
    bins = len(found.counts)
    figure, axes = _figure(f"ECE {ece:.4f}", "confidence", "accuracy")
    centres = (np.arange(bins) + 0.5) / bins
    share = found.counts / max(1, found.counts.max())
    for centre, height, shade in zip(centres, found.accuracy, share, strict=True):
        axes.bar(centre, height, 0.9 / bins, color=_BLUE, alpha=0.25 + 0.75 * shade)
    axes.plot([0, 1], [0, 1], "--", color=_GREY, linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return _svg(figure)


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    across: str,
    up: str,
) -> str:
    """A line for each of `series`, which is (x values, y values) by its name in the legend."""
    figure, axes = _figure(title, across, up)
    for index, (name, (x, y)) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        axes.plot(x, y, marker="o", markersize=2.5, linewidth=1.2, color=colour, label=name)
    if len(series) > 1:
        axes.legend(fontsize=6, frameon=False)
    return _svg(figure)


def heat_map(values: npt.NDArray[Any], title: str, across: str, up: str) -> str:
    """Numbers of a matrix as shades, with each written where there are few. values:
    (rows, columns).
    """
    figure, axes = _figure(title, across, up)
    drawn = axes.imshow(values, cmap="viridis", aspect="auto")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)  # rows and columns are counted
    if values.size <= 64:
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value < middle else "black"
            axes.text(
                column, row, f"{value:.3g}", ha="center", va="center", fontsize=6, color=colour
            )
    figure.colorbar(drawn).ax.tick_params(labelsize=6)
    return _svg(figure)


def surface(values: npt.NDArray[Any], half_width: float, title: str) -> str:
    """Contours of a function on a square around the origin. values: (points, points)."""
    figure, axes = _figure(title, "first direction", "second direction")
    places = np.linspace(-half_width, half_width, len(values))
    drawn = axes.contourf(places, places, values, levels=12, cmap="viridis")
    axes.plot(0, 0, "x", color="white")
    figure.colorbar(drawn).ax.tick_params(labelsize=6)
    return _svg(figure)


def _figure(title: str, across: str, up: str) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(across, fontsize=7)
    axes.set_ylabel(up, fontsize=7)
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: "Figure") -> str:
    from matplotlib import rc_context

    target = io.StringIO()
    with rc_context({"svg.hashsalt": "measure", "svg.fonttype": "none"}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()
