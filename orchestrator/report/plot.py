"""Small drawings in the page as data: where points and ticks are in a box of its own size."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.report.scale import Scale

Curve = Sequence[tuple[float, float]]
"""Epoch or iteration, and metric."""


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class PlotDot:
    """A point that tells what it is when it is pointed at."""

    kind: str
    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True)
class Box:
    """The drawing's size and the margins for its labels, in the unit of its `viewBox`."""

    width: int = 240
    height: int = 130
    margin_left: int = 36
    margin_right: int = 10
    margin_top: int = 6
    margin_bottom: int = 20

    @property
    def left(self) -> int:
        """The left end of the axes."""
        return self.margin_left

    @property
    def right(self) -> int:
        """The right end of the axes."""
        return self.width - self.margin_right

    @property
    def bottom(self) -> int:
        """The lower end of the vertical axis."""
        return self.height - self.margin_bottom

    @property
    def x_labels(self) -> int:
        """The line that labels below the axis stand on."""
        return self.height - 6

    def x(self, value: float, scale: Scale) -> float:
        """The place of a value from the left."""
        return self.left + scale.percent(value) / 100 * (self.right - self.left)

    def y(self, value: float, scale: Scale) -> float:
        """The place of a value from the top."""
        return self.bottom - scale.percent(value) / 100 * (self.bottom - self.margin_top)

    def points(self, curve: Curve, x: Scale, y: Scale) -> str:
        """The line through a curve, as SVG writes it."""
        return " ".join(f"{self.x(at, x):.1f},{self.y(value, y):.1f}" for at, value in curve)


@dataclass(frozen=True)
class Plot:
    """One small drawing."""

    title: str
    box: Box
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    kind: str = ""
    subtitle: str = ""
    label: str = ""
    curves: Sequence[tuple[int, str]] = ()
    """Points of each seed's line."""
    behind: Sequence[str] = ()
    """Points of pale lines behind them."""
    dots: Sequence[PlotDot] = field(default_factory=list)
    best: str = ""
    """Points of a line for the best so far."""


def ticks_of(scale: Scale, wanted: int) -> list[tuple[float, str]]:
    """Values and labels of an axis."""
    return [(tick, scale.label(tick, wanted)) for tick in scale.ticks(wanted)]


def x_ticks(box: Box, scale: Scale, wanted: int = 3) -> list[Tick]:
    """Labels below the drawing."""
    return [Tick(box.x(value, scale), label) for value, label in ticks_of(scale, wanted)]


def y_ticks(box: Box, scale: Scale, wanted: int = 5) -> list[Tick]:
    """Labels left of the drawing."""
    return [Tick(box.y(value, scale), label) for value, label in ticks_of(scale, wanted)]
