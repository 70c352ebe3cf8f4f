"""The file that says which images a network got right is whole, or is not used, with the reason."""

import os
from pathlib import Path

import numpy as np
import pytest

from orchestrator.store.predictions import (
    FILE,
    Predictions,
    read_predictions,
    why_unusable,
    write_predictions,
)


def marks(count: int) -> Predictions:
    is_correct = np.random.default_rng(count).random(count) < 0.7
    return Predictions("test", "sha256:some images", is_correct)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 360])
def test_what_was_written_is_read_again(tmp_path: Path, count: int) -> None:
    write_predictions(tmp_path, marks(count))
    found = read_predictions(tmp_path)
    assert found is not None
    assert (found.part, found.images) == ("test", "sha256:some images")
    assert found.is_correct.dtype == np.bool_
    assert np.array_equal(found.is_correct, marks(count).is_correct)
    assert why_unusable(tmp_path) == ""


def test_it_takes_a_bit_for_each_image(tmp_path: Path) -> None:
    write_predictions(tmp_path, marks(50_000))
    assert (tmp_path / FILE).stat().st_size < 50_000 / 8 + 200
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_every_changed_byte_and_every_torn_file_is_seen(tmp_path: Path) -> None:
    write_predictions(tmp_path, marks(20))
    whole = (tmp_path / FILE).read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / FILE).write_bytes(changed)
        assert read_predictions(tmp_path) is None
        assert why_unusable(tmp_path)
        (tmp_path / FILE).write_bytes(whole[:place])
        assert read_predictions(tmp_path) is None


def test_the_reason_is_told(tmp_path: Path) -> None:
    assert "there is no predictions.bin" in why_unusable(tmp_path)
    assert read_predictions(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"\x89PNG\r\n\x1a\n")
    assert why_unusable(tmp_path) == "predictions.bin is a different kind of file"
    (tmp_path / FILE).write_bytes(b"orchestrator predictions 2\nwhatever")
    assert why_unusable(tmp_path) == "predictions.bin has version 2, but this is version 1"
    write_predictions(tmp_path, marks(20))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-1])
    assert why_unusable(tmp_path) == "predictions.bin is damaged: its checksum differs"
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert "cannot be read" in why_unusable(tmp_path)
    write_predictions(tmp_path, marks(20))
    assert why_unusable(tmp_path) == "", "the folder was set aside"


def test_what_is_no_such_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert read_predictions(tmp_path) is None
    assert why_unusable(tmp_path) == "predictions.bin cannot be read: is a pipe"
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).touch()
    os.truncate(tmp_path / FILE, 1 << 40)
    assert read_predictions(tmp_path) is None
    assert "more than any such file" in why_unusable(tmp_path)
