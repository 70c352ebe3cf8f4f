"""Files that are right after a crash at any instant: written whole, or appended line by line with a torn tail cut off."""

import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` so that a reader sees the old content or the new, never a part. Raises `OSError`."""
    temporary = (
        path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    )  # on another host a process may have the same number
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`write_whole` for a JSON object, indented for people."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def append_json_line(path: Path, value: Mapping[str, Any], *, force: bool = True) -> None:
    """Append one line and `force` it to disk; half a line left by a crash is cut off first. Raises `OSError`."""
    with path.open("ab+") as file:
        _cut_torn_tail(file.fileno())
        file.write((json.dumps(value, ensure_ascii=False) + "\n").encode())
        file.flush()
        if force:
            os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any]:
    """The object that `write_json` wrote. Raises `FileNotFoundError`, and `StoreError` where the file is damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        content = (
            path.read_bytes()
        )  # on a network share: it was replaced from another host meanwhile
    return parse_json(path, content)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a file; none where it does not exist. A torn last line is not a line yet.

    Raises `StoreError` where the file is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        yield parse_json(path, line, f"line {number}: ")


def readable_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that nothing depends on: those that cannot be read are left out."""
    try:
        content = path.read_bytes()
    except OSError:
        return
    for line in content.split(b"\n")[:-1]:
        try:
            yield parse_json(path, line)
        except StoreError:
            continue


def append_if_writable(path: Path, value: Mapping[str, Any]) -> None:
    """As `append_json_line`; nothing where the folder is not there or cannot be written."""
    try:
        append_json_line(path, value)
    except OSError:
        return


def parse_json(path: Path, text: bytes, where: str = "") -> dict[str, Any]:
    """One JSON object out of `path`. Raises `StoreError` where the file is damaged; `where` in it is for the message."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        hint = "restore it, or remove it: all goes on as if it had not been written yet"
        raise StoreError(f"{path} is damaged ({where}{error}); {hint}") from error
    return value


def _cut_torn_tail(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    content = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)
