"""Output of a trial: `output.log` in its directory, attempt by attempt, each below a line that
names it.

The processes of a trial write straight into the file: what one that dies had said last is there,
and nobody has to read along. Of each attempt the beginning and the end are kept; of a line that was
written over and over (a progress bar) its last state.
"""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from illama.sealed import refuse_other_than_files
from orchestrator.store.files import make_way, read_file

HEAD_BYTES = 128 << 10
TAIL_BYTES = 256 << 10
_MOST_OF_AN_ATTEMPT = HEAD_BYTES + 2 * TAIL_BYTES
"""Size that an attempt may reach before its middle is left out."""
_MOST_OF_OTHERS = 1 << 20
"""Bytes of earlier attempts; above it the oldest are dropped."""

_HEADING = re.compile("^──── attempt (\\d+), .* ────\n".encode(), re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class AttemptOutput:
    """Output of one attempt."""

    attempt: int
    heading: str
    """Line that names it: its number, when it began, and where."""
    text: str
    """The text without colours; of lines that were written over, the last state."""


class OutputLog:
    """The part of one attempt, while it is being written."""

    def __init__(self, path: Path, attempt: int, host: str) -> None:
        """Open the file and write the attempt's heading. Raises `OSError`."""
        make_way(path)
        _drop_oldest(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o666)
        """Open the log to append to it, from whatever process."""
        try:
            self._heading_start = refuse_other_than_files(self.descriptor, path)
            begun = time.strftime("%Y-%m-%d %H:%M:%S%z")
            os.write(self.descriptor, f"──── attempt {attempt}, {begun} on {host} ────\n".encode())
        except OSError:
            os.close(self.descriptor)
            raise
        self._start = os.fstat(self.descriptor).st_size
        self._head: bytes | None = None
        self._kept = 0
        self._left_out = 0

    @property
    def is_long(self) -> bool:
        """True if the attempt has printed more than is kept."""
        return self._size > _MOST_OF_AN_ATTEMPT

    def shorten(self) -> None:
        """Leave out the middle where the attempt has printed too much. Raises `OSError`."""
        if not self.is_long:
            return
        size = self._size
        if self._head is None:
            self._head = _whole_lines(self._read(0, HEAD_BYTES))
            self._kept = len(self._head)
        tail = self._read(size - TAIL_BYTES, TAIL_BYTES)
        tail = last_states(tail[tail.find(b"\n") + 1 :])
        self._left_out += size - self._kept - len(tail)
        gap = f"... {self._left_out:,} bytes left out ...\n".encode()
        self._replace(self._head + gap + tail)
        self._kept = len(self._head) + len(gap)

    def close(self, *, tidies: bool = True) -> None:
        """Tidy up the attempt's part; where it has printed nothing, nothing is left of it. Raises
        `OSError`.
        """
        try:
            if not tidies:
                return
            self.shorten()
            content = self._read(0, self._size)
            if not content:
                os.ftruncate(self.descriptor, self._heading_start)
            elif b"\r" in content:
                self._replace(last_states(content))
            if content and not content.endswith(b"\n"):
                os.write(self.descriptor, b"\n")
        finally:
            os.close(self.descriptor)

    @property
    def _size(self) -> int:
        return os.fstat(self.descriptor).st_size - self._start

    def _read(self, offset: int, count: int) -> bytes:
        return os.pread(self.descriptor, count, self._start + max(0, offset))

    def _replace(self, content: bytes) -> None:
        os.ftruncate(self.descriptor, self._start)
        while content:
            content = content[os.write(self.descriptor, content) :]


def read_output(path: Path) -> Sequence[AttemptOutput]:
    """Read what the attempts of a trial printed, in order. Raises `FileNotFoundError`, and
    `DamagedFile` where it is no file.
    """
    content = read_file(path)
    found = list(_HEADING.finditer(content))  # none where nothing was printed
    ends = [*(match.start() for match in found[1:]), len(content)]
    return [
        AttemptOutput(
            int(match[1]), match[0].decode().strip(), as_shown(content[match.end() : end])
        )
        for match, end in zip(found, ends, strict=False)
    ]


def as_shown(content: bytes) -> str:
    """Text of printed bytes as a terminal would show it in the end, without colours."""
    return _COLOURS.sub("", last_states(content).decode("utf-8", "replace"))


def last_states(content: bytes) -> bytes:
    """The content with each line as it stood last: a carriage return goes back to the line's
    beginning.
    """
    if b"\r" not in content:
        return content
    return b"\n".join(line.rstrip(b"\r").rpartition(b"\r")[2] for line in content.split(b"\n"))


def _whole_lines(content: bytes) -> bytes:
    whole, end, _ = content.rpartition(b"\n")
    if not end:
        return last_states(content + b"\n")
    return last_states(whole + end)


def _drop_oldest(path: Path) -> None:
    """Keep no more of earlier attempts than their share."""
    try:
        if path.stat().st_size <= _MOST_OF_OTHERS:
            return
    except FileNotFoundError:
        return
    content = read_file(path)
    starts = [match.start() for match in _HEADING.finditer(content)]
    fitting = [start for start in starts if len(content) - start <= _MOST_OF_OTHERS]
    first = min(fitting, default=len(content))
    path.write_bytes(content[first:])
