"""One regime of the roadmap's picture: an axis with its bars, intervals, dots and columns of
text.
"""

from collections.abc import Sequence
from typing import Any

from orchestrator.report.figure import FigureRow, RoadmapFigure
from orchestrator.report.lettering import fitted, text_width
from orchestrator.report.sizes import GAP, Sizes, change_of, effect_of, reference_of, versus_of

BAR, SIDE, INK, SOFT, WARN, REFERENCE, GRID, DOT = (
    "#7d9dd6",
    "#4c78c9",
    "#1b1f24",
    "#59636f",
    "#8a5100",
    "#8b3fb0",
    "#e3e7ec",
    "#16294d",
)
TONES = {"better": "#12784a", "worse": "#b3322c", "equivalent": SOFT, "open": SOFT}
_DECIDED = ("better", "worse")
_LANE = 0.125
"""Distance between the lanes of a row's dots, so that equal values stay apart."""


class Panel:
    """One regime's axis with its columns."""

    def __init__(self, ax: Any, figure: RoadmapFigure, sizes: Sizes, left: float) -> None:
        from matplotlib.transforms import blended_transform_factory

        self._ax = ax
        self._figure = figure
        self._rows = list(enumerate(figure.rows))
        self._sizes = sizes
        self._left = left
        inches = ax.get_figure().dpi_scale_trans
        self._beside = blended_transform_factory(inches, ax.transData)
        """Inches from the left edge of the figure, and rows from the top."""

    def draw(self, *, with_labels: bool) -> None:
        """All of it."""
        self._draw_axis()
        self._draw_bars()
        self._draw_dots()
        self._draw_intervals()
        self._draw_references()
        for place, row in self._rows:
            self._draw_word(place, row)
            self._draw_columns(place, row)
            if with_labels:
                self._draw_label(place, row)

    def _draw_axis(self) -> None:
        ax, axis, sizes = self._ax, self._figure.axis, self._sizes
        if axis.is_log:
            ax.set_xscale("log")
        wanted, ticks = self._ticks() if self._figure.has_axis else (2, [])
        ax.set_xlim(axis.low, axis.high)
        ax.set_ylim(len(self._rows) - 0.5, -0.5)
        ax.set_yticks([])
        ax.set_xticks(ticks, [axis.label(tick, wanted) for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.tick_params(axis="x", labelsize=sizes.size, color=SOFT, labelcolor=INK, length=3)
        room = sizes.axis + sizes.columns
        title = fitted(self._title, room, sizes.size)
        ax.set_xlabel(title, color=SOFT, fontsize=sizes.size, loc="left")
        if self._figure.regime:
            size = sizes.size + 0.5
            ax.set_title(self._figure.regime, fontsize=size, fontweight="bold", loc="left", pad=4)
        ax.grid(axis="x", color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        baseline = self._figure.baseline
        if baseline is not None and axis.has(baseline):
            ax.axvline(baseline, color=SOFT, linestyle=(0, (4, 3)), linewidth=1, zorder=1)

    def _ticks(self) -> tuple[int, list[float]]:
        """The ticks of the axis: as many as have room for their labels."""
        axis, sizes = self._figure.axis, self._sizes
        for wanted in range(8, 1, -1):
            ticks = axis.ticks(wanted)
            room = sum(text_width(f"{axis.label(tick, wanted)}00", sizes.size) for tick in ticks)
            if room <= sizes.axis:
                return wanted, ticks
        return 2, axis.ticks(2)[:1]

    @property
    def _title(self) -> str:
        scale = ", logarithmic" if self._figure.axis.is_log else ""
        return f"{self._figure.metric} ({self._figure.direction}{scale})"

    def _draw_bars(self) -> None:
        """Means; of side steps an outline, of controls a dashed one, of collapses a hatched stub
        that stands for no length.
        """
        styles: dict[str, dict[str, Any]] = {
            "main": {"color": BAR},
            "side": {"facecolor": "white", "edgecolor": SIDE},
            "control": {"facecolor": "none", "edgecolor": SIDE, "linestyle": (0, (3, 2))},
        }
        low = self._figure.axis.low
        for kind, style in styles.items():
            bars = [
                (place, max(row.mean, low) - low)
                for place, row in self._rows
                if row.kind == kind and row.mean is not None and not row.is_hatched
            ]
            if bars:
                places, lengths = zip(*bars, strict=True)
                self._ax.barh(places, lengths, left=low, height=0.62, linewidth=1, **style)
                self._draw_breaks(places)
        stubs = [place for place, row in self._rows if row.is_hatched]
        if stubs:
            end = self._at(0.06)
            style = {"facecolor": "none", "edgecolor": WARN, "hatch": "/////", "linewidth": 0.8}
            self._ax.barh(stubs, end - low, left=low, height=0.62, **style)

    def _draw_breaks(self, places: Sequence[int]) -> None:
        """A slanted gap across each bar of an axis that does not begin at 0."""
        if not self._figure.is_broken:
            return
        left = self._left + 0.06
        for place in places:
            xs, ys = (left, left + 0.05), (place + 0.36, place - 0.36)
            style = {"transform": self._beside, "solid_capstyle": "butt", "clip_on": False}
            self._ax.plot(xs, ys, color="white", linewidth=3.0, zorder=3, **style)

    def _draw_dots(self) -> None:
        """A dot for each seed; a ring for those that did not finish."""
        styles = {
            True: {"markerfacecolor": DOT, "markeredgecolor": "white", "markeredgewidth": 0.6},
            False: {"markerfacecolor": "white", "markeredgecolor": WARN, "markeredgewidth": 1.1},
        }
        for is_well, style in styles.items():
            dots = [
                (dot.value, place + _LANE * dot.lane)
                for place, row in self._rows
                for dot in row.dots
                if dot.is_well == is_well and self._figure.axis.has(dot.value)
            ]
            if dots:
                xs, ys = zip(*dots, strict=True)
                self._ax.plot(
                    xs, ys, "o", markersize=self._sizes.marker, zorder=4, clip_on=False, **style
                )

    def _draw_intervals(self) -> None:
        """Draw intervals above the dots, so that none is hidden; an end off the axis has no cap."""
        axis = self._figure.axis
        found = [(place, row.interval) for place, row in self._rows if row.interval]
        if not found:
            return
        lows = [max(interval[0], axis.low) for _, interval in found]
        highs = [min(interval[1], axis.high) for _, interval in found]
        places = [place for place, _ in found]
        self._ax.hlines(places, lows, highs, color="white", linewidth=2.6, zorder=5)
        self._ax.hlines(places, lows, highs, color=INK, linewidth=1.3, zorder=6)
        caps = [(end, place) for place, ends in found for end in ends if axis.has(end)]
        if caps:
            xs, ys = zip(*caps, strict=True)
            style = {"markersize": 1.9 * self._sizes.marker, "markeredgewidth": 1.3, "zorder": 6}
            self._ax.plot(xs, ys, "|", color=INK, **style)

    def _draw_references(self) -> None:
        if not self._figure.shows_references:
            return
        marks = [(row.reference, place) for place, row in self._rows if row.reference is not None]
        if marks:
            xs, ys = zip(*marks, strict=True)
            style = {"markeredgecolor": "white", "markeredgewidth": 0.6, "zorder": 7}
            style["markersize"] = 1.4 * self._sizes.marker
            self._ax.plot(xs, ys, "D", color=REFERENCE, **style)

    def _draw_word(self, place: int, row: FigureRow) -> None:
        if not row.word:
            return
        share = 0.06 if row.is_hatched else 0.0
        room = self._sizes.axis * (1 - share) - 0.1
        word = fitted(row.word, room, self._sizes.size)
        at = self._left + share * self._sizes.axis + 0.06
        color = WARN if row.is_sick or row.is_hatched else SOFT
        self._text(at, place, word, color, bbox={"facecolor": "white", "pad": 0.8, "linewidth": 0})

    def _draw_columns(self, place: int, row: FigureRow) -> None:
        sizes = self._sizes
        right = self._left + sizes.axis
        if sizes.value:
            right += GAP + sizes.value
            self._text(right, place, row.value, INK, ha="right", fontweight="bold")
        if row.tone:
            self._draw_effect(right + GAP, place, row)
        right += GAP + sizes.effect if sizes.effect else 0.0
        if sizes.reference and row.reference is not None:
            self._text(right + GAP, place, reference_of(row), REFERENCE)

    def _draw_effect(self, left: float, place: int, row: FigureRow) -> None:
        """The effect, and what it is compared with below it, or beside it where rows are low."""
        sizes = self._sizes
        weight = "bold" if row.tone in _DECIDED else "normal"
        effect, versus = effect_of(row), versus_of(row)
        is_below = sizes.shows_changes and bool(versus)
        color = TONES[row.tone]
        self._text(left, place - (0.21 if is_below else 0), effect, color, fontweight=weight)
        if is_below:
            text = fitted(versus, sizes.effect, sizes.small)
            self._text(left, place + 0.23, text, SOFT, fontsize=sizes.small)
        elif versus:
            used = text_width(effect, sizes.size, weight) + 0.5 * GAP
            text = fitted(versus, sizes.effect - used, sizes.small)
            self._text(left + used, place, text, SOFT, fontsize=sizes.small)

    def _draw_label(self, place: int, row: FigureRow) -> None:
        """The name above its change, in two sizes, left of the axis."""
        sizes = self._sizes
        weight = "bold" if row.kind == "main" else "normal"
        name = fitted(row.label, sizes.labels, sizes.size, weight)
        change = fitted(change_of(row), sizes.labels, sizes.small)
        has_change = sizes.shows_changes and bool(change)
        right = GAP + sizes.labels
        style = {"ha": "right", "fontweight": weight}
        self._text(right, place - (0.21 if has_change else 0), name, INK, **style)
        if has_change:
            color = WARN if row.remark else SOFT
            size = sizes.small
            self._text(right, place + 0.23, change, color, ha="right", fontsize=size)

    def _text(self, inches: float, place: float, text: str, color: str, **style: Any) -> None:
        usual = {"va": "center", "clip_on": False, "fontsize": self._sizes.size, "zorder": 8}
        self._ax.text(inches, place, text, color=color, transform=self._beside, **usual | style)

    def _at(self, share: float) -> float:
        """The value at this share of the axis."""
        axis = self._figure.axis
        if axis.is_log:
            return float(axis.low * (axis.high / axis.low) ** share)
        return axis.low + share * (axis.high - axis.low)
