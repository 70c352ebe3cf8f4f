"""The registry of report formats: one line for each, loaded when it is asked for."""

from pathlib import Path

import pytest
from invented import roadmap_of, spec_of

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.errors import UsageError
from orchestrator.report.formats import FORMATS, Layout, ReportFormat, format_of_ending, render


def shout(roadmap: Roadmap, layout: Layout) -> str:
    return f"{roadmap.sweep.upper()} {layout.width}"


def test_a_format_is_a_writer_and_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toy = ReportFormat(f"{__name__}:shout", (".loud",), takes=("width",))
    monkeypatch.setitem(FORMATS, "toy", toy)
    assert format_of_ending(".LOUD") == "toy"
    assert render(roadmap_of(spec_of(tmp_path), {}), "toy", Layout(width=3)) == b"INVENTED 3"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_its_writer_and_endings_of_its_own(name: str) -> None:
    assert callable(FORMATS[name].load())
    assert {format_of_ending(ending) for ending in FORMATS[name].endings} == {name}


def test_an_ending_of_no_format_means_none() -> None:
    assert format_of_ending(".docx") is None


def test_a_format_refuses_what_it_would_not_follow(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), {})
    with pytest.raises(UsageError, match=r"^html takes no width; formats that do: svg, png, pdf$"):
        render(roadmap, "html", Layout(width=3.3))
    with pytest.raises(UsageError, match=r"^json takes no columns; formats that do: table, csv"):
        render(roadmap, "json", Layout(columns=("step",)))
