"""Sizes of the roadmap's picture: columns as wide as their widest text, regimes side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.report.figure import SYMBOLS, FigureRow, RoadmapFigure
from orchestrator.report.lettering import widest

GAP = 0.12
"""Inches between columns."""
_NARROW = 5.0
"""Inches below which the changes under the names are left out: a column of a paper."""
_MOST_LABELS = 0.36
"""Share of the width that names may take before their middles are left out."""
_NARROW_LABELS = 0.24
"""The share of the labels' column where there would be no room for an axis."""
_MOST_VERSUS = 0.14
"""Share that names behind vs may take before their middles are left out."""
_LEAST_AXIS = 1.0
"""Inches that a panel's axis needs; below this the column of published values goes."""
_DENSE_FROM = 40
"""Steps from which a row has one line of text."""
_TALL_ROW = 0.3
"""Inches of a row from which dots have their full size."""


@dataclass(frozen=True)
class Sizes:
    """Sizes in inches, fonts in points: never below 7, whatever the width."""

    width: float
    size: float
    small: float
    row: float
    labels: float
    value: float
    effect: float
    reference: float
    panels: int
    """Regimes beside each other."""
    shows_changes: bool

    @property
    def columns(self) -> float:
        """Right of an axis, with the gaps."""
        return sum(width + GAP for width in (self.value, self.effect, self.reference) if width)

    @property
    def axis(self) -> float:
        """Length of one axis."""
        left = self.width - self.labels - 2 * GAP
        return left / self.panels - self.columns - GAP

    def left_of(self, column: int) -> float:
        """The left end of a panel's axis, from the figure's left edge."""
        return 2 * GAP + self.labels + column * (self.axis + self.columns + GAP)

    @property
    def marker(self) -> float:
        """Points across the dot of a seed."""
        return 3.6 if self.row > _TALL_ROW else 2.6


def measured(figures: Sequence[RoadmapFigure], width: float) -> Sizes:
    """Columns as wide as their widest text; regimes beside each other where there is room."""
    rows = [row for figure in figures for row in figure.rows]
    is_dense = max(len(figure.rows) for figure in figures) > _DENSE_FROM
    size = 7.0 if width < _NARROW else min(9.0, max(7.5, width))
    small = max(7.0, size - 1.5)
    shows_changes = width >= _NARROW and not is_dense and any(row.change for row in rows)
    names = widest([row.label for row in rows], size, "bold")
    changes = widest([change_of(row) for row in rows], small) if shows_changes else 0.0
    sizes = Sizes(
        width=width,
        size=size,
        small=small,
        row=_row_height(size, small, shows_changes),
        labels=min(max(names, changes), _MOST_LABELS * width),
        value=widest([row.value for row in rows], size, "bold"),
        effect=_effect_width(rows, size, small, _MOST_VERSUS * width, shows_changes),
        reference=widest([reference_of(row) for row in rows], size),
        panels=1,
        shows_changes=shows_changes,
    )
    return _with_panels(sizes, figures)


def _effect_width(
    rows: Sequence[FigureRow], size: float, small: float, most: float, is_below: bool
) -> float:
    """Room for the effects, and below or beside them for what they are compared with."""
    effects = widest([effect_of(row) for row in rows], size, "bold")
    versus = min(widest([versus_of(row) for row in rows], small), most)
    if is_below:
        return max(effects, versus)
    return effects + versus + (0.5 * GAP if versus else 0.0)


def _row_height(size: float, small: float, shows_changes: bool) -> float:
    lines = size + small if shows_changes else size
    return 1.55 * lines / 72 + 0.06


def _with_panels(sizes: Sizes, figures: Sequence[RoadmapFigure]) -> Sizes:
    """Place as many regimes beside each other as have room; for that, changes may be left out."""
    rows = [row for figure in figures for row in figure.rows]
    names = widest([row.label for row in rows], sizes.size, "bold")
    plain = replace(
        sizes,
        shows_changes=False,
        labels=min(names, sizes.labels),
        row=_row_height(sizes.size, sizes.small, False),
        effect=_effect_width(rows, sizes.size, sizes.small, _MOST_VERSUS * sizes.width, False),
    )
    has_same_steps = len({tuple(row.name for row in figure.rows) for figure in figures}) == 1
    count = len(figures) if has_same_steps else 1
    lines = dict.fromkeys(math.ceil(count / panels) for panels in range(count, 1, -1))
    for panels in (math.ceil(count / of) for of in lines if of < count):  # lines of equal length
        for candidate in (sizes, plain):
            beside = replace(candidate, panels=panels)
            if beside.axis >= _LEAST_AXIS:
                return beside
    return _with_room(sizes)


def _with_room(sizes: Sizes) -> Sizes:
    """Leave an axis to see something on: published values go first, then parts of names, then the
    means, which are also where the bars end.
    """
    least = min(_LEAST_AXIS, 0.25 * sizes.width)
    narrow = min(sizes.labels, _NARROW_LABELS * sizes.width)
    if sizes.axis < least:
        sizes = replace(sizes, reference=0.0)
    if sizes.axis < least:
        sizes = replace(sizes, labels=narrow)
    return sizes if sizes.axis >= least else replace(sizes, value=0.0)


def change_of(row: FigureRow) -> str:
    """Say what was changed, and how trials ended that are not in the mean."""
    return " · ".join(filter(None, (row.change, row.remark)))


def effect_of(row: FigureRow) -> str:
    """The effect behind the shape of what may be said of it."""
    return f"{SYMBOLS[row.tone]} {row.effect}" if row.tone else ""


def versus_of(row: FigureRow) -> str:
    """The step that the effect is compared with, where the row says it."""
    return f"vs {row.versus}" if row.versus else ""


def reference_of(row: FigureRow) -> str:
    """The published value."""
    return "" if row.reference is None else f"◆ {row.reference:g}"
