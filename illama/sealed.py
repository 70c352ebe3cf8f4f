"""JSON that says whether it is whole, and files that are read only where they are files.

A sealed object has a checksum of all that stands before it as its last member:

    {"iteration": 3, "metrics": {"loss": 0.5}, "crc32": "1c291ca3"}

It finds what disks, copies and editors do to a file by accident. A `key` that both sides know goes
into the sum as well, so that a line of one trial is not taken for a line of another.
"""

import os
import re
import stat
import zlib
from pathlib import Path

MOST_BYTES = 1 << 30
"""No record of ours is nearly as large."""

_SEAL = re.compile(rb'(?:,? |,?\n  )"crc32": "([0-9a-f]{8})"\n?\}\n?\Z')
_TAIL_BYTES = 40
"""Length that a seal never has."""
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class NotAFile(OSError):
    """Something that cannot be read as a file stands in a file's place; `strerror` says what."""


def seal(text: str, key: str = "") -> bytes:
    """The text of a JSON object with its checksum, as bytes for a file."""
    head = text.rstrip().removesuffix("}").rstrip().encode("utf-8", "backslashreplace")
    end = b"\n}\n" if b"\n" in head else b"}\n"
    comma = b"" if head == b"{" else b","
    space = b"\n  " if b"\n" in head else b" "
    return head + comma + space + b'"crc32": "%08x"' % _sum(head, key) + end


def is_whole(content: bytes, key: str = "") -> bool | None:
    """Tell whether the checksum is that of the content; None where there is no checksum."""
    found = _SEAL.search(content[-_TAIL_BYTES:])
    if found is None:
        return None
    head = content[: max(0, len(content) - _TAIL_BYTES) + found.start()]
    return int(found[1], 16) == _sum(head, key)


def read_regular(path: Path | str, most: int = MOST_BYTES) -> bytes:
    """Content of a file. Raises `OSError`, and `NotAFile` at once where a read would wait, or never
    end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = refuse_other_than_files(descriptor, path)
        if size > most:
            raise NotAFile(0, f"has {size:,} bytes, more than any such file", str(path))
        content = os.read(descriptor, size + 1)
        while 0 < len(content) != size:  # it grows, or the read was cut short
            more = os.read(descriptor, 1 << 20)
            if not more:
                break
            content += more
        return content
    finally:
        os.close(descriptor)


def refuse_other_than_files(descriptor: int, path: Path | str) -> int:
    """Size of an open file. Raises `NotAFile` where it is something else."""
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        kind = _KINDS.get(stat.S_IFMT(about.st_mode), "a device")
        raise NotAFile(0, f"is {kind}", str(path))
    return about.st_size


def _sum(head: bytes, key: str) -> int:
    return zlib.crc32(head, zlib.crc32(key.encode()))
