"""What a trial prints is in its file: attempt by attempt, bounded, bars in their last state,
wherever it comes from.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.running.capture import captured
from orchestrator.store.output_log import HEAD_BYTES, TAIL_BYTES, OutputLog, read_output
from orchestrator.store.trial_directory import TrialDirectory


@pytest.fixture
def directory(tmp_path: Path) -> TrialDirectory:
    path = tmp_path / "rms-seed0-0123abcd"
    path.mkdir()
    return TrialDirectory(path)


def texts(directory: TrialDirectory) -> list[tuple[int, str]]:
    return [(one.attempt, one.text) for one in read_output(directory.output_path)]


def test_python_c_and_children_all_end_in_the_file_in_order(
    directory: TrialDirectory, capfd: pytest.CaptureFixture[str]
) -> None:
    with captured(directory, 1):
        print("from Python")
        ctypes.CDLL(None).printf(b"from C\n")
        ctypes.CDLL(None).fflush(None)
        subprocess.run(["sh", "-c", "echo from a child; echo its error >&2"], check=True)
        os.write(2, b"\xff no text\n")
        print("no line end", end="")
    print("afterwards")
    [(attempt, text)] = texts(directory)
    assert attempt == 1
    places = [
        text.index(part)
        for part in (
            "from Python\n",
            "from C\n",
            "from a child\nits error\n",
            "\ufffd no text\n",
            "no line end\n",
        )
    ]
    assert places == sorted(places)
    assert capfd.readouterr().out == "afterwards\n"


_WARNS = """
import logging, sys, warnings
from pathlib import Path
from orchestrator.running.capture import captured
from orchestrator.store.trial_directory import TrialDirectory

logging.basicConfig()  # holds on to stderr as it is before

def train():
    logging.warning("from a logger")
    for _ in range(3):
        warnings.warn("each time")

for attempt in (1, 2):
    with captured(TrialDirectory(Path(sys.argv[1])), attempt):
        train()
"""


@pytest.mark.slow
def test_a_warning_is_shown_once_in_each_trial_of_a_process(directory: TrialDirectory) -> None:
    subprocess.run([sys.executable, "-c", _WARNS, str(directory.path)], check=True)  # not pytest's
    found = texts(directory)
    assert ["WARNING:root:from a logger" in text for _, text in found] == [True, True]
    assert [text.count("UserWarning: each time") for _, text in found] == [1, 1]


def test_attempts_stand_apart_and_one_that_prints_nothing_leaves_nothing(
    directory: TrialDirectory,
) -> None:
    for attempt, text in ((1, "first\n"), (2, ""), (3, "third\n")):
        with captured(directory, attempt):
            sys.stdout.write(text)
    assert texts(directory) == [(1, "first\n"), (3, "third\n")]
    assert directory.output_path.read_text().startswith("──── attempt 1, ")


def test_a_progress_bar_is_kept_in_its_last_state(directory: TrialDirectory) -> None:
    with captured(directory, 1):
        for done in range(5000):
            sys.stderr.write(f"\r{done / 50:5.0f} % of an epoch")
        sys.stderr.write("\nover\r\n")
    assert texts(directory) == [(1, "  100 % of an epoch\nover\n")]


def test_colours_are_left_out_where_it_is_shown(directory: TrialDirectory) -> None:
    with captured(directory, 1):
        print("\x1b[31mred\x1b[0m")
    assert texts(directory) == [(1, "red\n")]


def test_beginning_and_end_of_too_much_are_kept(directory: TrialDirectory) -> None:
    log = OutputLog(directory.output_path, 1, "here")
    lines = 40_000
    for start in range(0, lines, 4000):
        block = "".join(f"line {index:06} of very many\n" for index in range(start, start + 4000))
        os.write(log.descriptor, block.encode())
        log.shorten()
    log.close()
    assert directory.output_path.stat().st_size < HEAD_BYTES + 2 * TAIL_BYTES + 1000
    [(_, text)] = texts(directory)
    found = text.splitlines()
    assert found[0] == "line 000000 of very many"
    assert found[-1] == f"line {lines - 1:06} of very many"
    [gap] = [line for line in found if line.startswith("...")]
    shown = sum(len(line) + 1 for line in found if line is not gap)
    assert gap == f"... {lines * 25 - shown:,} bytes left out ..."
    assert len(found) > 1 + (HEAD_BYTES + TAIL_BYTES) // 25 - 2


def test_a_bar_that_never_ends_its_line_is_bounded_as_well(directory: TrialDirectory) -> None:
    log = OutputLog(directory.output_path, 1, "here")
    for done in range(30):
        os.write(log.descriptor, f"\r{done:06} of 30".encode() * 4000)
        log.shorten()
    log.close()
    [(_, text)] = texts(directory)
    assert text.endswith("000029 of 30\n")
    assert len(text) < 1000


def test_many_attempts_leave_the_newest(directory: TrialDirectory) -> None:
    for attempt in range(1, 20):
        log = OutputLog(directory.output_path, attempt, "here")
        os.write(log.descriptor, b"x" * 199 + b"\n" if attempt % 2 else b"y\n" * 100_000)
        log.close()
    kept = [attempt for attempt, _ in texts(directory)]
    assert kept == list(range(kept[0], 20))
    assert 1 < kept[0] < 16
    assert directory.output_path.stat().st_size < 2_000_000


def test_what_is_no_file_is_set_aside(directory: TrialDirectory) -> None:
    os.mkfifo(directory.output_path)
    with captured(directory, 1):
        print("all the same")
    assert texts(directory) == [(1, "all the same\n")]


def test_a_breakpoint_that_nobody_could_answer_says_what_to_do(directory: TrialDirectory) -> None:
    with captured(directory, 1), pytest.raises(RuntimeError, match="orchestrator debug"):
        breakpoint()


def test_a_file_in_which_nothing_was_printed_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "output.log").touch()
    assert list(read_output(tmp_path / "output.log")) == []
