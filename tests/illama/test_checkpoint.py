"""Whatever instant a crash picks, what is read back is a whole state that was saved."""

import itertools
import logging
import os
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from illama import checkpoint
from illama.config import Config


def state(number: int) -> dict[str, object]:
    return {
        "number": number,
        "weights": torch.full((50,), float(number)),
        "nested": {"best": 0.5, "names": ["a"]},
    }


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "new" / "directory", state(1))
    loaded = checkpoint.load(tmp_path / "new" / "directory")
    assert loaded is not None
    assert torch.equal(loaded["weights"], torch.ones(50))
    assert loaded["nested"] == {"best": 0.5, "names": ["a"]}


def test_an_empty_or_missing_directory_holds_nothing(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "missing") is None


def test_the_newest_state_wins_and_the_one_before_is_kept(tmp_path: Path) -> None:
    for number in range(3):
        checkpoint.save(tmp_path, state(number))
    assert (checkpoint.load(tmp_path) or {})["number"] == 2
    assert torch.load(tmp_path / "checkpoint.previous.pt", weights_only=True)["number"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.previous.pt",
        "checkpoint.pt",
        "checkpoint.sha256",
    ]


def test_the_digests_are_those_that_sha256sum_would_write(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(0))
    checkpoint.save(tmp_path, state(1))
    lines = (tmp_path / "checkpoint.sha256").read_text().splitlines()
    assert lines == [
        f"{sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}"
        for name in ("checkpoint.pt", "checkpoint.previous.pt")
    ]


@pytest.mark.parametrize("damage", ["flip a bit", "tear", "empty"])
def test_a_damaged_newest_file_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    hurt(tmp_path / "checkpoint.pt", damage)
    with caplog.at_level(logging.WARNING):
        loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["number"] == 1
    assert "incomplete or was changed" in caplog.text


def test_when_both_are_damaged_training_begins_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    hurt(tmp_path / "checkpoint.pt", "tear")
    hurt(tmp_path / "checkpoint.previous.pt", "flip a bit")
    assert checkpoint.load(tmp_path) is None
    assert "starting from the beginning" in caplog.text


def test_a_damaged_file_stays_one_after_saving(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    hurt(tmp_path / "checkpoint.pt", "tear")
    hurt(tmp_path / "checkpoint.previous.pt", "flip a bit")
    checkpoint.save(tmp_path, state(3))
    assert (checkpoint.load(tmp_path) or {})["number"] == 3
    hurt(tmp_path / "checkpoint.pt", "tear")
    assert checkpoint.load(tmp_path) is None


def test_saving_after_damage_does_not_push_out_the_good_file(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    hurt(tmp_path / "checkpoint.pt", "flip a bit")
    checkpoint.save(tmp_path, state(3))
    hurt(tmp_path / "checkpoint.pt", "flip a bit")
    assert (checkpoint.load(tmp_path) or {})["number"] == 1


def test_a_file_that_torch_refuses_is_passed_over_even_with_the_right_digest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    content = pickle.dumps(Path("any class"))
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with (tmp_path / "checkpoint.sha256").open("a") as digests:
        digests.write(f"{sha256(content).hexdigest()}  checkpoint.pt\n")
    assert (checkpoint.load(tmp_path) or {})["number"] == 1
    assert "cannot be read as a checkpoint" in caplog.text
    assert "weights_only" not in caplog.text


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint.sha256"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_neither_waited_for_nor_in_the_way(
    tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    (tmp_path / name).unlink()
    make(tmp_path / name)
    assert (checkpoint.load(tmp_path) or {"number": 1})["number"] == 1
    checkpoint.save(tmp_path, state(3))
    assert (checkpoint.load(tmp_path) or {})["number"] == 3


class Crash(BaseException):
    """The machine went away."""


def crashing(monkeypatch: pytest.MonkeyPatch, countdown: int) -> None:
    """Let the process die at the `countdown`-th change to the disk, before it happens; a write
    dies half done.
    """
    left = itertools.chain(range(countdown - 1, -1, -1), itertools.repeat(1))
    replace, write = Path.replace, checkpoint._write

    def dying_replace(self: Path, target: Path) -> Path:
        if next(left) == 0:
            raise Crash
        return replace(self, target)

    def dying_write(path: Path, content: bytes) -> None:
        if next(left) == 0:
            path.write_bytes(content[: len(content) // 2])
            raise Crash
        write(path, content)

    monkeypatch.setattr(Path, "replace", dying_replace)
    monkeypatch.setattr(checkpoint, "_write", dying_write)


@pytest.mark.parametrize("instant", range(1, 9))
def test_a_crash_at_any_instant_of_a_save_leaves_a_whole_state(
    tmp_path: Path, instant: int, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, state(1))
    checkpoint.save(tmp_path, state(2))
    with pytest.MonkeyPatch.context() as monkeypatch:
        crashing(monkeypatch, instant)
        try:
            checkpoint.save(tmp_path, state(3))
            crashed = False
        except Crash:
            crashed = True
    assert crashed == (instant < 8), "a save makes seven changes to the disk"
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded["number"] in ((2, 3) if crashed else (3,))
    assert not caplog.records, "a crash is no damage"

    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy)
    if (
        copy / "checkpoint.pt"
    ).exists():  # and should the newest file rot on top of the crash, an older one still counts
        hurt(copy / "checkpoint.pt", "flip a bit")
        assert (checkpoint.load(copy) or {})["number"] in (1, 2)
    checkpoint.save(tmp_path, state(4))
    assert (checkpoint.load(tmp_path) or {})["number"] == 4


def hurt(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "flip a bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(
        {"flip a bit": bytes(content), "tear": bytes(content[: len(content) // 2]), "empty": b""}[
            damage
        ]
    )


def test_a_checkpoint_from_before_its_numbers_changed_is_refused_and_no_other(
    small_config: Callable[..., Config],
) -> None:
    plain, dropping = small_config(), small_config({"train.dropout": 0.1})
    checkpoint.refuse_other_settings(
        {"numerics_version": 2, "config": plain.model_dump_json()}, plain
    )
    with pytest.raises(ValueError, match="written by numerics version 2, which is incompatible"):
        checkpoint.refuse_other_settings(
            {"numerics_version": 2, "config": dropping.model_dump_json()}, dropping
        )
