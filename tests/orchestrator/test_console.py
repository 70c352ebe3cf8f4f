"""What is printed arrives whole in any encoding, and an output that takes no more ends nothing."""

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from orchestrator.cli import console
from orchestrator.cli.console import Output, can_redraw

SENTENCE = "Δ is 81.7 ± 0.9 → held against what stands behind it … and no word of this is lost"


def printed(text: Text, encoding: str, width: int = 40) -> str:
    raw = io.BytesIO()
    output = Output(width=width)
    output.file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    output.print(text)
    return raw.getvalue().decode(encoding)


def test_where_signs_are_spelled_in_ascii_lines_are_broken_afterwards() -> None:
    shown = printed(Text(SENTENCE), "ascii")
    spelled = SENTENCE.replace("Δ", "delta").replace("±", "+-")
    assert shown.split() == spelled.replace("→", "->").replace("…", "...").split()
    assert max(map(len, shown.splitlines())) <= 40


def test_where_all_letters_are_there_they_stay() -> None:
    assert printed(Text(SENTENCE), "utf-8").split() == SENTENCE.split()


def test_spelling_keeps_the_styles_on_their_words() -> None:
    text = Text.assemble("Δ ", ("red", "red"), " →", style="bold")
    spelled = console._spelled(text)
    assert (spelled.plain, spelled.style) == ("delta red ->", "bold")
    red = spelled.plain.index("red")
    shown_on = Output(width=40)
    assert "red" in str(spelled.get_style_at_offset(shown_on, red))
    assert "red" not in str(spelled.get_style_at_offset(shown_on, 0))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_remembered_and_ends_nothing() -> None:
    output = Output(width=40)
    with open("/dev/full", "w") as full:
        output.file = full
        output.print("nobody reads this")
        output.print("nor this")
        assert output.lost is not None
        assert output.lost.strerror == "No space left on device"


def test_a_reader_that_went_away_is_no_error() -> None:
    output, (reading, writing) = Output(width=40), os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        output.file = file
        output.print("nobody reads this")
        output.write("nor this")
        assert output.lost is None


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A terminal of 70 columns and 13 lines, which is none of the descriptors 0 to 2."""
    for name in ("COLUMNS", "LINES", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 13, 70, 0, 0))
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w") as file:
        yield file


def on(file: Any, **settings: Any) -> Output:
    output = Output(**settings)
    output.file = file
    return output


def test_a_console_is_as_large_as_the_terminal_that_it_writes_to(
    terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuple(on(terminal).size) == (70, 13)
    assert on(terminal, width=33).width == 33
    monkeypatch.setenv("TERM", "dumb")
    assert on(terminal).width == 70
    monkeypatch.setenv("COLUMNS", "44")
    assert tuple(on(terminal).size) == (44, 13)


def test_only_a_terminal_that_is_able_to_redraws(
    terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_redraw(on(terminal))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not can_redraw(on(io.StringIO()))
    monkeypatch.setenv("TERM", "dumb")
    assert not can_redraw(on(terminal))


def test_output_that_cannot_be_written_is_one_sentence_and_exit_code_three(
    cli: Callable[..., Any], zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output(width=80)
    output.lost = OSError(28, "No space left on device")
    monkeypatch.setattr("orchestrator.cli.app.out", output)
    finished = cli("status", zoo / "zoo.yaml", "--store", zoo / "runs")
    assert finished.code == 3
    assert finished.err == "error: cannot write to standard output: No space left on device\n"
