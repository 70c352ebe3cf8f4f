"""What a command writes arrives, wherever its output goes; and where it cannot, that is told in
a sentence.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.output import write_output
from orchestrator.errors import UsageError

CommandLine = Callable[..., Any]


def shell(
    command: str, *arguments: object, **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run `orchestrator` with `arguments` as `"$@"` of a shell's `command`."""
    call = ["sh", "-c", command, "sh", sys.executable, "-m", "orchestrator", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, env=os.environ | environment, check=False)


@pytest.mark.slow
def test_a_page_is_utf8_also_where_the_terminal_is_not(zoo: Path) -> None:
    arguments = ("report", "zoo", "--store", zoo / "runs", "--format", "html")
    done = shell('"$@"', *arguments, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr
    assert "±" in done.stdout.decode()


@pytest.mark.slow
def test_closed_outputs_are_no_accident(zoo: Path) -> None:
    done = shell('"$@" >&-', "report", "zoo", "--store", zoo / "runs")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
def test_a_spec_that_names_no_function_runs_nothing_that_lies_beside_it(zoo: Path) -> None:
    for library in ("matplotlib", "scipy", "json"):
        (zoo / f"{library}.py").write_text("raise RuntimeError('it ran')")
    done = shell(
        '"$@"',
        "report",
        zoo / "zoo.yaml",
        "--store",
        zoo / "runs",
        "--format",
        "png",
        "--output",
        zoo / "zoo.png",
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (zoo / "zoo.png").stat().st_size > 1000


def test_a_file_is_no_folder_to_write_into(tmp_path: Path) -> None:
    (tmp_path / "a.md").touch()
    with pytest.raises(UsageError, match=r"cannot write .*a\.md/x\.md: .*a\.md is not a folder"):
        write_output(tmp_path / "a.md" / "x.md", b"")


@pytest.mark.parametrize("output", [".", "/", ""])
def test_a_folder_is_no_file_to_write(zoo: Path, cli: CommandLine, output: str) -> None:
    finished = cli("report", zoo / "zoo.yaml", "--store", zoo / "runs", "--output", output)
    assert (finished.code, "error: cannot write " in finished.err) == (2, True), finished.err
