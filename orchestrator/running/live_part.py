"""The lines that a terminal draws again and again while trials run: never more than fit on it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.text import without_middle

_WIDE = 100
"""Columns of a terminal from which running trials have a bar, where their names leave room."""
_BAR_WIDTH = 20
_SHORTEST_NAME = 16
_GAP = 2
_SPARE_LINES = 2
"""Lines that the rest of the terminal keeps at least: one that ended, and the cursor's."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs."""

    name: str
    reached: str
    value: str
    duration: str
    share: float
    """Part of it that is done, from 0 to 1."""


@dataclass(frozen=True)
class LivePart:
    """Content of the live part: what is done, what runs and how far it is, when it will be over."""

    counts: str
    times: str
    running: Sequence[RunningTrial]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The summary, and a line for each trial that runs, as many as there is room for."""
        width, height = options.size
        summary = Text(f"{self.counts} | {self.times}", style="bold")
        if len(summary) > width:
            summary = Text(f"{self.counts}\n{self.times}", style="bold")
        room = height - _SPARE_LINES - len(summary.wrap(console, width))
        shown = self.running
        if len(shown) > room:
            shown = shown[: max(0, room - 1)]
        yield summary
        if shown:
            yield _table(shown, width)
        if room > 0 and len(shown) < len(self.running):
            yield Text(f"and {len(self.running) - len(shown):,} more", style="dim")


def _table(running: Sequence[RunningTrial], width: int) -> Table:
    """Names keep their ends, by whose seeds they are told apart; what there is no room for goes:
    first the bar, then how long it has run, then the metric.
    """
    longest = max(len(one.name) for one in running)
    columns = [[one.reached for one in running]]
    room = width - _width(columns[0])
    for column in ([one.value for one in running], [one.duration for one in running]):
        if room - _width(column) < min(_SHORTEST_NAME, longest):
            break
        columns.append(column)
        room -= _width(column)
    has_bar = width >= _WIDE and room - _BAR_WIDTH - _GAP >= longest
    table = Table.grid(padding=(0, _GAP))
    for place, one in enumerate(running):
        name = without_middle(one.name, max(1, room))
        bar = [ProgressBar(total=1.0, completed=one.share, width=_BAR_WIDTH)] if has_bar else []
        texts = [Text(column[place], no_wrap=True) for column in columns]
        table.add_row(Text(name, no_wrap=True), *bar, *texts)
    return table


def _width(column: Sequence[str]) -> int:
    return max(map(len, column)) + _GAP
