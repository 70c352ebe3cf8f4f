"""Files are right after a crash at any instant: the old content or the new, and never half a
line.
"""

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import StoreError
from orchestrator.store.damage import collected
from orchestrator.store.files import (
    append_json_line,
    clear_litter,
    read_json,
    read_json_lines,
    temporary_path,
    write_json,
    write_whole,
)

LINES = [{"n": 1}, {"text": "ü\n\\"}, {"n": 3, "list": [1.5, None, True]}]


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    write_whole(path, b"old")
    owner: object = os if call == "fsync" else Path
    monkeypatch.setattr(owner, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_json_is_written_for_people_and_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "ü", "value": 1e-3})
    text = (tmp_path / "a.json").read_text("utf-8")
    assert text == '{\n  "name": "ü",\n  "value": 0.001,\n  "crc32": "73cf3801"\n}\n'
    assert read_json(tmp_path / "a.json") == {"name": "ü", "value": 0.001}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"null", b"\x00" * 8])
def test_a_damaged_file_is_a_store_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"a\.json is damaged"):
        read_json(path)


def test_lines_come_back_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert lines_of(path) == []
    for line in LINES:
        append_json_line(path, line)
    assert lines_of(path) == LINES


def test_a_tail_torn_at_any_byte_is_cut_off_and_the_whole_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for line in LINES:
        append_json_line(path, line)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        whole = LINES[: content[:size].count(b"\n")]
        assert lines_of(path) == whole
        append_json_line(path, {"after": size})
        assert lines_of(path) == [*whole, {"after": size}]


def test_a_file_that_another_host_replaces_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"n": 1})
    whole, calls = os.read, 0

    def read(descriptor: int, size: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        return whole(descriptor, size)

    monkeypatch.setattr(os, "read", read)
    assert read_json(path) == {"n": 1}


@pytest.mark.parametrize("line", [b"{", b"", b"[]", b"\xff", b"\x00\x00"])
def test_a_damaged_line_is_passed_over_and_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b'{"n": 1}\n' + line + b'\n{"n": 2}\n')
    with collected() as notes:
        assert lines_of(path) == [{"n": 1}, {"n": 2}]
    assert any(text.startswith("damaged: lines (line 2: ") for text in notes.lines())


def test_a_sealed_line_that_is_changed_by_one_bit_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_json_line(path, {"loss": 0.25}, key="abc")
    content = path.read_bytes()
    assert lines_of(path, "abc") == [{"loss": 0.25}]
    assert lines_of(path, "another trial") == []
    for place in range(len(content) - 1):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            assert all(line["loss"] == 0.25 for line in lines_of(path, "abc"))


def lines_of(path: Path, key: str = "") -> list[dict[str, Any]]:
    return [line for line, _ in read_json_lines(path, key)]


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "nowhere", "socket", "huge"])
def test_what_is_no_file_is_neither_waited_for_nor_read_and_makes_way(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.json"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "nowhere":
            path.symlink_to(tmp_path / "gone" / "away")
        case "socket":
            os.mknod(path, 0o600 | stat.S_IFSOCK)
        case "huge":
            path.touch()
            os.truncate(path, 1 << 40)
    expected = FileNotFoundError if kind == "nowhere" else StoreError
    with pytest.raises(expected):
        read_json(path)
    assert lines_of(path) == []
    write_json(path, {"n": 1})
    assert read_json(path) == {"n": 1}
    other = tmp_path / "lines"
    if kind != "huge":
        if kind != "loop":
            os.rename(tmp_path / "a.json.damaged", other)
        append_json_line(other, {"n": 2})
        assert lines_of(other) == [{"n": 2}]


def test_litter_of_dead_processes_is_cleared_and_that_of_live_ones_is_not(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _LITTERER, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    mine = temporary_path(tmp_path / "b")
    mine.touch()
    [theirs] = set(tmp_path.iterdir()) - {mine}
    clear_litter(tmp_path)
    assert not theirs.exists()
    assert mine.exists()


_LITTERER = """
import os, signal, sys
from pathlib import Path
from orchestrator.store.files import write_whole
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]) / "a", b"half")
"""


_json = st.dictionaries(
    st.text(),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.lists(st.text()),
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_json, max_size=4), st.data())
def test_any_lines_survive_any_cut(
    tmp_path: Path, lines: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path / "lines"
    path.unlink(missing_ok=True)
    for line in lines:
        append_json_line(path, line)
    content = path.read_bytes() if lines else b""
    cut = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(cut)
    assert lines_of(path) == lines[: cut.count(b"\n")]


_WRITER = """
import sys, itertools
from pathlib import Path
from orchestrator.store.files import append_json_line, write_whole
folder = Path(sys.argv[1])
for number in itertools.count(int(sys.argv[2])):
    write_whole(folder / "whole", b"%d " % number * 50_000)
    append_json_line(folder / "lines", {"number": number, "long": "x" * 20_000})
"""


@pytest.mark.slow
def test_kill_nine_while_writing_leaves_whole_files_and_whole_lines(tmp_path: Path) -> None:
    expected = 0
    for delay in (0.0, 0.003, 0.011, 0.02, 0.05):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path), str(expected)])
        end = time.monotonic() + 30
        while (
            sum(1 for _ in read_json_lines(tmp_path / "lines")) <= expected
        ):  # reading while it writes
            assert time.monotonic() < end
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        words = (tmp_path / "whole").read_bytes().split()
        assert len(words) == 50_000
        assert len(set(words)) == 1
        lines = lines_of(tmp_path / "lines")
        assert [line["number"] for line in lines] == list(range(len(lines)))
        assert int(words[0]) in (len(lines) - 1, len(lines))
        append_json_line(tmp_path / "lines", {"number": len(lines)})
        expected = len(lines) + 1
    assert lines_of(tmp_path / "lines")[-1] == {"number": expected - 1}
