"""A line that shows how far a command is, and disappears at its end. Commands that take less than
two seconds never show it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from orchestrator.cli.console import can_redraw
from orchestrator.waiting import heard_by

_PATIENCE_SECONDS = 1.5
"""Seconds before the line appears."""


class _IfCounted(ProgressColumn):
    """A column that is empty if the total is unknown."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__()
        self._column = column

    def render(self, task: Task) -> Text:
        """The column's own text, or none."""
        found = self._column(task) if task.total is not None else ""
        return found if isinstance(found, Text) else Text(str(found))


class _Line:
    """The line of one command."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)
        self._what = ""

    def hear(self, what: str, done: int, total: int) -> None:
        """A `Listener`."""
        if what == self._what:
            self._progress.update(self._task, completed=done)
            return
        self._what = what
        self._progress.reset(
            self._task, total=total or None, completed=done, description=escape(what)
        )


@contextmanager
def telling(console: Console, what: str) -> Iterator[None]:
    """Show on `console`, if it is a terminal, the progress that the work inside reports. The line
    begins as `what`.
    """
    if not can_redraw(console):
        yield
        return
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        _IfCounted(MofNCompleteColumn()),
        _IfCounted(TimeRemainingColumn(compact=True)),
        console=console,
        transient=True,
    )
    line = _Line(progress)
    line.hear(what, 0, 0)
    timer = Timer(_PATIENCE_SECONDS, progress.start)
    timer.start()
    try:
        with heard_by(line.hear):
            yield
    finally:
        timer.cancel()
        timer.join()
        progress.stop()
