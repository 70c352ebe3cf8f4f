"""The consoles of the command line, on standard output and on standard error.

What a command shows is a view: an output that takes no more, because its reader went away or its
disk is full, ends no sweep.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orchestrator.report import WIDTH
from orchestrator.text import SPELLED, printable, spelled


class Output(Console):
    """A console for text of anybody: no control character of it reaches the terminal, and `:100:`
    stays what it is.

    Falls silent where nothing can be written any more.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, emoji=False)
        self.lost: OSError | None = None
        """Error that kept something from being written; a reader that went away is none."""

    @property
    def size(self) -> ConsoleDimensions:
        """Size of the terminal that it writes to, whatever the descriptors 0 to 2 lead to now."""
        known = super().size
        if not self.file.isatty():
            return known
        terminal = os.get_terminal_size(self.file.fileno())
        asked = [os.environ.get(name, "") for name in ("COLUMNS", "LINES")]
        width, height = (
            int(text) if text.isdigit() else found
            for text, found in zip(asked, terminal, strict=True)
        )
        return ConsoleDimensions(
            self._width or width or known.width, self._height or height or known.height
        )

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Rich's own, all text made printable, and spelled before it is fitted to the width."""
        if isinstance(renderable, Text) and not self._has_signs:
            renderable = _spelled(renderable)
        for segment in super().render(renderable, options):
            is_text = not segment.control
            yield segment._replace(text=self._shown(segment.text)) if is_text else segment

    def write(self, content: str | bytes) -> None:
        """Write what is meant for a file or a program: as it is, and bytes whatever the
        encoding.
        """
        with self._as_far_as_it_goes():
            if isinstance(content, str):
                self.file.write(content)
            else:
                sys.stdout.buffer.write(content)
            self.file.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what was printed."""
        with self._as_far_as_it_goes():
            super().__exit__(kind, error, trace)

    def on_broken_pipe(self) -> None:
        """Say nothing more, as in `orchestrator run ... | head`."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    @contextmanager
    def _as_far_as_it_goes(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self.on_broken_pipe()
        except OSError as error:
            self.lost = error
            self.on_broken_pipe()

    def _shown(self, text: str) -> str:
        text = printable(text)
        return text if self._has_signs else spelled(text)

    @property
    def _has_signs(self) -> bool:
        return self.encoding.startswith("utf")


def _spelled(text: Text) -> Text:
    """The text with each of our signs in ASCII, its styles kept."""
    for sign, spelling in SPELLED.items():
        if sign in text.plain:
            text = text.blank_copy(spelling).join(text.split(sign, allow_blank=True))
    return text


def can_redraw(console: Console) -> bool:
    """True if lines that it has written can be written over: only in a terminal, whatever
    FORCE_COLOR says of colours in a file.
    """
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


out = Output(width=None if sys.stdout.isatty() else WIDTH)
err = Output(stderr=True)
