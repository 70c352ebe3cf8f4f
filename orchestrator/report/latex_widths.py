"""Widths of the columns of a LaTeX table, measured in the letters of an article.

A column is at least as wide as its longest piece that no line may break in, so that no box is
overfull; columns that do not fit a line go on in another table.
"""

import math
import re
from collections.abc import Sequence

from orchestrator.report.words import Column

LINE = 345.0
"""Points of a line in an article of one column at 10 pt: the shortest line that a table has to
fit.
"""
SEPARATION = 2.0
"""Points on each side of a column."""
_SLACK = 1.0
"""Points beside the longest piece."""
_MOST = 105.0
"""Points from which a cell has several lines."""
_UNBROKEN = 16
"""Letters from which a piece may be broken anywhere."""
_FILLED = 1.3
"""Room that broken lines take for what stands in them, about."""
_LINES = 50
"""Lines of a table on a page, with room for its caption and notes."""
_EM = 8.0
_WIDTHS = {
    2.4: "il!',.:;[]`|",
    2.6: "fj-I ",
    3.2: "rt()s",
    3.7: "cez?†",
    4.1: '0123456789ago"$*/J\\{}',
    4.4: "kqvxybdhnpuS",
    4.9: "ZL",
    5.6: "FEPB",
    6.2: "wCTRAHNUVXYDKOQ&+=@_G^~",
    6.6: "m#%Δ<>±×−-≈↑↓",
    _EM: "MW→└",
    11.0: "…",
}
"""Points of Computer Modern at 7 pt, which is wider than its likes, and of what stands in the
place of other signs.
"""
_POINTS = {letter: points for points, letters in _WIDTHS.items() for letter in letters}


def pieces(text: str) -> list[str]:
    """The parts of a cell that no line breaks in: it does so at spaces, after an underscore or a
    slash, and anywhere in what is long.
    """
    words = re.findall(r"[^\s_/]*[_/]|[^\s_/]+", text.replace("└ ", "└"))
    return [
        word[start : start + _UNBROKEN]
        for word in words
        for start in range(0, max(len(word), 1), _UNBROKEN)
    ]


def points_of(text: str) -> float:
    """Points of a text on one line."""
    return sum(_POINTS.get(letter, _EM) for letter in text)


def parted(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[list[int]]:
    """Places of the columns of each table: as many as have room, and the first in all of them."""
    least = _least(columns, rows)
    parts = [[0]]
    for place in range(1, len(columns)):
        if _used([least[one] for one in [*parts[-1], place]]) > LINE and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(place)
    return parts


def shares(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[float]:
    """Parts of a line for each column: what it cannot do without; of the rest numbers have what
    they want, and then texts, which are easier to read in several lines.
    """
    widths = _least(columns, rows)
    full = [min(max(map(points_of, texts)) + _SLACK, _MOST) for texts in _texts(columns, rows)]
    for is_number in (True, False):
        wanted = [
            max(0.0, most - width) if column.is_number == is_number else 0.0
            for column, width, most in zip(columns, widths, full, strict=True)
        ]
        spare = max(0.0, LINE - _used(widths))
        part = min(1.0, spare / sum(wanted)) if any(wanted) else 0.0
        widths = [width + part * more for width, more in zip(widths, wanted, strict=True)]
    return [width / LINE for width in widths]


def _least(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[float]:
    return [
        max((points_of(piece) for text in texts for piece in pieces(text)), default=0.0) + _SLACK
        for texts in _texts(columns, rows)
    ]


def _texts(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[head.heading, *(row[place] for row in rows)] for place, head in enumerate(columns)]


def _used(widths: Sequence[float]) -> float:
    return sum(widths) + 2 * SEPARATION * len(widths)


def pages(
    columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> list[Sequence[Sequence[str]]]:
    """The rows of each table: as many as have room on a page, counting cells of several lines."""
    widths = [LINE * share for share in shares(columns, rows)]
    found: list[list[Sequence[str]]] = [[]]
    lines = 0
    for row in rows:
        height = max(_height(cell, width) for cell, width in zip(row, widths, strict=True))
        if found[-1] and lines + height > _LINES:
            found.append([])
            lines = 0
        found[-1].append(row)
        lines += height
    return list(found)


def _height(cell: str, width: float) -> int:
    """Lines of a cell."""
    if points_of(cell) <= width:
        return 1
    return math.ceil(_FILLED * points_of(cell) / width)
