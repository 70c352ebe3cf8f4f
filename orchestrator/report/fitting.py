"""Tables that fit the terminal: what has no room in a line stands below it, and nothing is cut
off.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from textwrap import wrap

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.report.words import Column
from orchestrator.text import spelled

_GAP = 3
_LEAST = 20
"""Characters that a column needs whose cells may wrap."""
_SHORT = 10
"""Characters of a heading that is not cut into lines."""
_DECIDES = 3
"""The rank up to which a column says what was found."""
_HELD = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class FittedTable:
    """One line for each row where the terminal is wide enough."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str] = ()
    """The styles of the rows."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if options.ascii_only and not self._is_spelled:
            yield self.spelled
            return
        for headings in ([column.heading for column in self.columns], self._narrow_headings):
            if self._width(headings) <= options.max_width:
                yield self._plain(headings)
                return
        yield from self._stacked(options.max_width)

    @property
    def _is_spelled(self) -> bool:
        texts = [
            *(column.heading for column in self.columns),
            *(c for row in self.rows for c in row),
        ]
        return all(text == spelled(text) for text in texts)

    @property
    def spelled(self) -> "FittedTable":
        """The table in ASCII: spelled before it is laid out, so that columns stay in line."""
        columns = [
            replace(column, heading=spelled(column.heading), name=spelled(column.name))
            for column in self.columns
        ]
        rows = [[spelled(cell) for cell in row] for row in self.rows]
        return FittedTable(self.title, columns, rows, self.styles)

    @cached_property
    def _cell_widths(self) -> Sequence[int]:
        """Widths of columns whose headings have a line for each word where they need to."""
        least = [
            max(min(len(column.heading), _SHORT), *map(len, column.heading.split()))
            for column in self.columns
        ]
        return [
            max([width, *(len(row[index]) for row in self.rows)])
            for index, width in enumerate(least)
        ]

    @property
    def _narrow_headings(self) -> list[str]:
        return [
            "\n".join(wrap(c.heading, width))
            for c, width in zip(self.columns, self._cell_widths, strict=True)
        ]

    def _width(self, headings: Sequence[str]) -> int:
        """The width of all columns side by side."""
        widths = []
        for column, cells, heading in zip(self.columns, self._cell_widths, headings, strict=True):
            width = max(cells, *map(len, heading.split("\n")))
            widths.append(min(width, _LEAST) if column.wraps else width)
        return sum(widths) + _GAP * len(widths)

    def _plain(self, headings: Sequence[str]) -> Table:
        table = Table(
            title=Text(self.title), box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
        )
        for column, heading in zip(self.columns, headings, strict=True):
            table.add_column(
                Text(heading),
                justify="right" if column.is_number else "left",
                no_wrap=not column.wraps,
            )
        for row, style in self._styled_rows():
            table.add_row(*map(Text, row), style=style)
        return table

    def _stacked(self, width: int) -> Iterator[RenderableType]:
        """The columns that fit, and below each row the others."""
        kept, room = self._fitting(width), max(width - _GAP, _LEAST)
        widths = list(self._cell_widths)
        widths[kept[0]] = self._name_width(kept, width)
        yield Text(f"{self.title}\n", style="italic")
        yield from (Text(line, style="bold") for line in self._heading_lines(kept, widths))
        used = sum(widths[index] + _GAP for index in kept) - _GAP
        yield Text(" " + "─" * min(used, width - 1))
        for row, style in self._styled_rows():
            cells = {index: row[index] for index in kept}
            yield from (Text(line, style=style) for line in self._lines(cells, widths))
            below = [
                self._below(index, cell, room)
                for index, cell in enumerate(row)
                if index not in kept and cell
            ]
            for line in wrap(f"{_HELD}· ".join(below), room):
                yield Text(" " * _GAP + line.replace(_HELD, " "), style="dim")
        yield Text("")

    def _heading_lines(self, kept: Sequence[int], widths: Sequence[int]) -> Iterator[str]:
        headings = {index: self._narrow_headings[index].split("\n") for index in kept}
        name = self.columns[kept[0]].heading
        if len(name) > widths[kept[0]]:
            yield f" {name}"
            headings[kept[0]] = [""]
        height = max(map(len, headings.values()))
        for place in range(height):
            parts = {
                index: ([""] * (height - len(lines)) + lines)[place]
                for index, lines in headings.items()
            }
            yield from self._lines(parts, widths)

    def _styled_rows(self) -> Iterator[tuple[Sequence[str], str]]:
        return zip(self.rows, self.styles or [""] * len(self.rows), strict=True)

    def _lines(self, cells: Mapping[int, str], widths: Sequence[int]) -> Iterator[str]:
        """The cells side by side; a name that is longer than its column has a line of its own."""
        [(first, name), *others] = cells.items()
        if len(name) > widths[first]:
            yield f" {name}"
            name = ""
        parts = [name.ljust(widths[first])]
        parts += [
            cell.rjust(widths[i]) if self.columns[i].is_number else cell.ljust(widths[i])
            for i, cell in others
        ]
        if name or any(cell for _, cell in others):
            yield f" {(' ' * _GAP).join(parts)}".rstrip()

    def _below(self, index: int, cell: str, room: int) -> str:
        """A value under the line, by its name, and in one piece where that fits."""
        column = self.columns[index]
        text = cell if column.wraps else f"{column.name or column.heading}: {cell}"
        return text if column.wraps or len(text) > room - 2 else text.replace(" ", _HELD)

    def _fitting(self, width: int) -> list[int]:
        """Columns for lines of `width`. Those that may wrap leave first, then those that decide
        nothing, by rank. Then names move to lines of their own, and as few others leave as need to.
        """
        kept = [index for index, column in enumerate(self.columns) if not column.wraps]
        leaving = sorted(kept[1:], key=lambda index: self.columns[index].rank)
        while self._used(kept) > width:
            if not leaving or self.columns[leaving[-1]].rank <= _DECIDES:
                return [kept[0], *self._most(kept[1:], width - _GAP - 1)]
            kept.remove(leaving.pop())
        return kept

    def _most(self, kept: Sequence[int], width: int) -> Sequence[int]:
        """Choose as many of these columns as fit into `width`; what stays by its rank stays the
        longest.
        """
        for count in range(len(kept), 0, -1):
            fitting = [some for some in combinations(kept, count) if self._used(some) <= width]
            if fitting:
                return min(fitting, key=self._ranks)
        return []

    def _ranks(self, kept: Sequence[int]) -> tuple[int, int]:
        ranks = [self.columns[index].rank for index in kept]
        return -ranks.count(0), sum(ranks)

    def _used(self, kept: Sequence[int]) -> int:
        return sum(self._cell_widths[index] + _GAP for index in kept)

    def _name_width(self, kept: Sequence[int], width: int) -> int:
        """The room that other columns leave, or next to none where few names fit into that."""
        names = [len(row[kept[0]]) for row in self.rows]
        room = min(self._cell_widths[kept[0]], width - self._used(kept[1:]) - _GAP)
        is_worth_it = sum(name <= room for name in names) * 2 >= len(names)
        return max(room, 1) if is_worth_it else 1
