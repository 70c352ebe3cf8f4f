"""A command that is called when a sweep has ended: word by word, without a shell, and nothing
fails with it.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.running.ending_command import call
from orchestrator.spec.ending_command import filled_words
from orchestrator.spec.sweep_spec import load_spec

SPEC = """\
name: ending
metric: {name: score, mode: max}
seeds: [0]
on_finish: "COMMAND"
baseline:
  train: {name: "ending_training:train"}
"""
TELLS = """
import json, pathlib, sys
pathlib.Path("told.json").write_text(json.dumps(sys.argv[1:]))
sys.exit(3)
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(command: str) -> Path:
        (tmp_path / "ending_training.py").write_text("def train():\n    return {'score': 1.0}\n")
        (tmp_path / "tell.py").write_text(TELLS)
        (tmp_path / "ending.yaml").write_text(SPEC.replace("COMMAND", command))
        return tmp_path / "ending.yaml"

    return write


def test_a_value_stays_within_its_word() -> None:
    values = {"store": "a b; rm -r $HOME", "sweep": "s"}
    assert filled_words("tell --at={store} '{sweep} x'", values) == [
        "tell",
        "--at=a b; rm -r $HOME",
        "s x",
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tell {who}", r"there is no {who}; allowed: {sweep}, {store}, {report}, {outcome}"),
        ("tell 'me", "it cannot be split into words"),
        ("tell {", "it cannot be split into words"),
        ("", "it is empty"),
    ],
)
def test_one_that_cannot_be_called_is_refused_before(
    write: Callable[[str], Path], command: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        load_spec(write(command))


def test_what_goes_wrong_is_a_sentence(tmp_path: Path) -> None:
    assert call(["python", "-c", "pass"], tmp_path) is None
    assert call([sys.executable, "-c", "exit(4)"], tmp_path) == (
        f"on_finish: {sys.executable} ended with exit code 4"
    )
    assert call(["./not_there"], tmp_path) == (
        "on_finish: cannot start ./not_there: No such file or directory"
    )


@pytest.mark.slow
def test_it_is_called_once_trials_were_trained(
    write: Any, cli: Any, store_path: Path, tmp_path: Path
) -> None:
    spec = write("python tell.py {sweep} {outcome} {report}")
    run = ("run", spec, "--store", store_path, "--no-tracking", "--executor", "local")
    ran = cli(*run)
    assert (ran.code, "ended with exit code 3" in ran.out + ran.err) == (0, True), ran.err
    told = tmp_path / "told.json"
    name, outcome, page = json.loads(told.read_text())
    assert (name, outcome) == ("ending", "finished")
    assert "Roadmap of ending" in Path(page).read_text()
    told.unlink()
    assert cli(*run).code == 0  # nothing to train: nothing to tell
    assert not told.exists()
