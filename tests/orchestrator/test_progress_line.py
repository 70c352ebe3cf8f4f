"""A command that takes long says how far it is, and leaves nothing behind."""

import io
import time

import pytest
from rich.console import Console

from orchestrator.cli import progress_line
from orchestrator.cli.progress_line import telling
from orchestrator.waiting import begun, counted_off, heard_by


class Terminal(io.StringIO):
    """A screen."""

    def isatty(self) -> bool:
        return True


def test_who_listens_hears_what_is_counted_off() -> None:
    heard: list[tuple[str, int, int]] = []
    with heard_by(lambda *told: heard.append(told)):
        begun("hashing weights.pt")
        assert list(counted_off("ab", "reading")) == ["a", "b"]
    begun("nobody hears this")
    assert heard == [
        ("hashing weights.pt", 0, 0),
        ("reading", 0, 2),
        ("reading", 1, 2),
        ("reading", 2, 2),
    ]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_shows_the_count_after_a_while_and_a_file_never(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_line, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    said = Terminal() if is_terminal else io.StringIO()
    console = Console(file=said, force_terminal=is_terminal, width=80, _environ={"TERM": "xterm"})
    with telling(console, "planning [1]"):
        for _ in counted_off(range(3), "reading trials"):
            time.sleep(0.15)
    text = said.getvalue()
    assert ("reading trials" in text) == is_terminal
    assert ("1/3" in text) == is_terminal


def test_what_is_quick_shows_nothing() -> None:
    said = Terminal()
    with telling(Console(file=said, force_terminal=True, _environ={"TERM": "xterm"}), "planning"):
        list(counted_off(range(3), "reading trials"))
    assert said.getvalue() == ""


def test_colours_that_are_asked_for_in_a_file_bring_no_spinner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_line, "_PATIENCE_SECONDS", 0.0)
    said = io.StringIO()
    with telling(Console(file=said, _environ={"FORCE_COLOR": "1"}), "planning"):
        time.sleep(0.05)
    assert said.getvalue() == ""
