"""The formats of a report. A new one is a file with a writer and one line in `FORMATS`."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.text import printable

if TYPE_CHECKING:
    from orchestrator.analysis.roadmap import Roadmap


@dataclass(frozen=True)
class Layout:
    """Layout of a report as a reader wants it."""

    width: float | None = None
    """Inches of a figure; None leaves it to the format."""
    columns: tuple[str, ...] = ()
    """Columns of the table, by name and in order; all where none is named."""
    rows: tuple[str, ...] = ()
    """Steps of the table; all where none is named."""


Writer = Callable[["Roadmap", Layout], str | bytes]


@dataclass(frozen=True)
class ReportFormat:
    """One way to write a report."""

    writer: str
    """`module:function` of a `Writer`, imported when it is asked for: drawing takes a second."""
    endings: tuple[str, ...]
    """Endings of a file's name that mean this format."""
    takes: tuple[str, ...] = ()
    """Fields of a `Layout` that it follows; others are refused."""
    is_binary: bool = False
    """True if it must not go to a terminal."""

    def load(self) -> Writer:
        """The function that writes it."""
        module, _, function = self.writer.partition(":")
        loaded: Writer = getattr(import_module(module), function)
        return loaded


_TABLE = ("columns", "rows")
_FIGURE = ("width",)
FORMATS: dict[str, ReportFormat] = {
    "table": ReportFormat("orchestrator.report.terminal:to_text", ("", ".txt"), _TABLE),
    "json": ReportFormat("orchestrator.report.json_text:to_json_text", (".json",)),
    "html": ReportFormat("orchestrator.report.page:to_html", (".html", ".htm")),
    "csv": ReportFormat("orchestrator.report.csv_text:to_csv", (".csv",), _TABLE),
    "md": ReportFormat("orchestrator.report.markup:to_markdown", (".md",), _TABLE),
    "latex": ReportFormat("orchestrator.report.latex:to_latex", (".tex", ".latex"), _TABLE),
    "svg": ReportFormat("orchestrator.report.picture:to_svg", (".svg",), _FIGURE),
    "png": ReportFormat("orchestrator.report.picture:to_png", (".png",), _FIGURE, is_binary=True),
    "pdf": ReportFormat("orchestrator.report.picture:to_pdf", (".pdf",), _FIGURE, is_binary=True),
}
"""All of them by the name that `--format` takes."""


def format_of_ending(ending: str) -> str | None:
    """The format that a file's name with this ending (`.tex`) means; None where no format has
    it.
    """
    found = (name for name, form in FORMATS.items() if ending.lower() in form.endings)
    return next(found, None)


def refuse_what_is_not_followed(form: str, layout: Layout) -> None:
    """Raise `UsageError` if the format of this name does not follow a part of the layout."""
    for field in fields(layout):
        if getattr(layout, field.name) and field.name not in FORMATS[form].takes:
            others = [name for name, other in FORMATS.items() if field.name in other.takes]
            raise UsageError(f"{form} takes no {field.name}; formats that do: {', '.join(others)}")


def render(roadmap: "Roadmap", form: str, layout: Layout | None = None) -> bytes:
    """The report's file in the format of this name.

    Raises `UsageError` if that format does not follow a part of the layout.
    """
    layout = layout or Layout()
    refuse_what_is_not_followed(form, layout)
    content = FORMATS[form].load()(roadmap, layout)
    return content if isinstance(content, bytes) else printable(content).encode()
