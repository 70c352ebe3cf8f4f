"""Files that a training reads: `train.files` makes them part of what it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from illama.config import RuntimeConfig, UserTraining
from illama.config.imports import UserCodeError, import_from
from illama.training.user_training import train_by_function

OWN = """
from pathlib import Path
def train(*, a: float = 1.0, seed):
    return {"acc": a * float(Path(__file__).with_name("scale.txt").read_text())}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_with_files.py").write_text(OWN)
    (tmp_path / "scale.txt").write_text("2.0")
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())  # forget it


def resolved(**train: Any) -> UserTraining:
    settings = {"train": {"name": "own_with_files:train", **train}}
    return UserTraining.resolved(settings, None)


def test_files_are_part_of_the_identity_and_go_along_with_the_code(folder: Path) -> None:
    plain, before = resolved(), resolved(files=["scale.txt"])
    assert "content" not in plain.identity["train"], "as earlier versions knew it"
    assert before.identity != plain.identity
    assert before.setting("train.files") == ("scale.txt",)
    assert set(before.sources(folder)) == {"own_with_files.py", "scale.txt"}
    assert UserTraining.model_validate(before.model_dump(mode="json")) == before
    (folder / "scale.txt").write_text("3.0")
    assert resolved().identity == plain.identity
    assert resolved(files=["scale.txt"]).identity != before.identity


def test_other_files_than_those_of_the_plan_are_refused(folder: Path) -> None:
    training = resolved(files=["scale.txt"])
    rest: Any = {"log_metrics": lambda *_: None, "checkpoint_dir": None}
    rest["should_stop"] = lambda: False
    runtime = RuntimeConfig(device="cpu")
    assert train_by_function(training, runtime, **rest).final["acc"] == 2.0
    (folder / "scale.txt").write_text("3.0")
    with pytest.raises(UserCodeError, match=r"scale\.txt: not as when this was planned"):
        train_by_function(training, runtime, **rest)


@pytest.mark.parametrize("name", ["absent.txt", "../scale.txt", "."])
def test_a_file_that_is_not_beside_the_spec_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "scale.txt").write_text("1")
    with pytest.raises(UserCodeError, match="is not a file next to the spec"):
        resolved(files=[name])


def test_a_parameter_of_that_name_stays_the_functions(folder: Path) -> None:
    (folder / "own_with_files.py").write_text("def train(*, files: int = 3, seed): ...\n")
    import_from(folder)
    assert resolved(files=4).train.options == {"files": 4}
    assert resolved(files=4).setting("train.files") == 4
    (folder / "own_with_files.py").write_text("def train(*, seed, **settings): ...\n")
    import_from(folder)
    assert resolved(files=[1]).train.options == {"files": [1]}
