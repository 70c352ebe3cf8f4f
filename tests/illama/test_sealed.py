"""A sealed object is known from every other that one damage makes of it."""

import json
import os
from pathlib import Path

import pytest

from illama.sealed import NotAFile, is_whole, read_regular, seal


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "value", [{}, {"a": 1}, {"text": "\u00fc \ud800 }", "deep": {"b": [1, None]}}]
)
def test_what_is_sealed_is_json_and_whole(value: dict[str, object], indent: int | None) -> None:
    content = seal(json.dumps(value, indent=indent, ensure_ascii=False), "key")
    found = json.loads(content)
    assert found.pop("crc32")
    assert found == value
    assert is_whole(content, "key") is True
    assert is_whole(content, "another key") is False


def test_no_flipped_bit_and_no_cut_is_taken_for_whole() -> None:
    content = seal(json.dumps({"iteration": 3, "loss": 0.25}))
    for size in range(len(content) - 1):
        assert not is_whole(content[:size])
    for place in range(len(content) - 1):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            assert not is_whole(bytes(changed)) or json.loads(changed) == json.loads(content)


def test_without_a_checksum_nothing_is_said() -> None:
    assert is_whole(b'{"a": 1}') is None
    assert is_whole(b"") is None


def test_only_files_are_read_and_none_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file") == b"12345"
    with pytest.raises(NotAFile):
        read_regular(tmp_path / "file", most=4)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotAFile):
            read_regular(path)
