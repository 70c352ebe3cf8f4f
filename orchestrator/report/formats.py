"""A report in the format that was asked for."""

import io
import json
from collections.abc import Callable

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.report import WIDTH
from orchestrator.text import printable


def render(roadmap: Roadmap, form: str) -> bytes:
    """The report's file: `form` is table, json, html, md, latex, svg or png."""
    from orchestrator.report.markup import to_latex, to_markdown
    from orchestrator.report.page import to_html
    from orchestrator.report.picture import to_png, to_svg

    writers: dict[str, Callable[[Roadmap], str | bytes]] = {
        "table": to_text,
        "json": lambda it: json.dumps(it.to_json(), indent=2) + "\n",
        "html": to_html,
        "md": to_markdown,
        "latex": to_latex,
        "svg": to_svg,
        "png": to_png,
    }
    content = writers[form](roadmap)
    return content if isinstance(content, bytes) else printable(content).encode()


def to_text(roadmap: Roadmap) -> str:
    """The terminal's table without colours."""
    from rich.console import Console

    from orchestrator.report.terminal import roadmap_table

    plain = Console(width=WIDTH, record=True, file=io.StringIO(), highlight=False, emoji=False)
    plain.print(roadmap_table(roadmap))
    return plain.export_text()
