"""Files that are right after a crash at any instant: written whole, or appended line by line with a
torn tail cut off.

Each object carries a checksum (`illama.sealed`); those of versions before it had one are read as
well.
"""

import errno
import json
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from illama.sealed import (
    MOST_BYTES,
    NotAFile,
    is_whole,
    read_regular,
    refuse_other_than_files,
    seal,
)
from orchestrator.errors import DamagedFile, NewerFile, StoreError
from orchestrator.store.damage import note
from orchestrator.store.processes import machine_token, started

_LITTER = re.compile(r"\..+?\.(?:(?P<machine>[0-9a-f]{12})-(?P<pid>\d+)\.)?[0-9a-f]{8,32}\.tmp")
_OLD_LITTER = re.compile(r"\.writable-[0-9a-f]{32}")
_LITTER_SECONDS = 3600.0
"""Age at which a temporary file is nobody's any more where its process cannot be asked about."""

_UNREADABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
    errno.EIO,
    errno.EINVAL,
    errno.ENAMETOOLONG,
}
"""Error numbers of one file; others are those of a whole disk or share."""


def temporary_path(path: Path) -> Path:
    """A name beside `path` that says which process writes it: `clear_litter` can tell whether it
    still does.
    """
    return path.parent / f".{path.name}.{machine_token()}-{os.getpid()}.{uuid.uuid4().hex[:16]}.tmp"


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace `path` so that a reader sees the old content or the new, never a part. Raises
    `OSError`, which names the file.
    """
    temporary = temporary_path(path)
    try:
        _write(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, content, mode)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`write_whole` for a JSON object, indented for people. What stands in its place and is no file
    is set aside.
    """
    make_way(path)
    write_whole(path, seal(json.dumps(value, indent=2, ensure_ascii=False)))


def append_json_line(
    path: Path, value: Mapping[str, Any], *, key: str = "", force: bool = True
) -> None:
    """Append one line and `force` it to disk; half a line left by a crash is cut off first. Raises
    `OSError`.
    """
    make_way(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    content = seal(json.dumps(value, ensure_ascii=False), key)
    try:
        _write(path, flags, content, 0o666, cut=True, force=force)
    except OSError as error:
        error.filename = str(path)
        raise


def read_json(path: Path | str, *, newest: int | None = None) -> dict[str, Any]:
    """The object that `write_json` wrote; `newest` is the format that this version knows.

    Raises `FileNotFoundError`, `DamagedFile` and `NewerFile`.
    """
    return load_json(path, newest=newest)[0]


def load_json(path: Path | str, *, newest: int | None = None) -> tuple[dict[str, Any], bool]:
    """Read an object as `read_json` does, and whether it was sealed."""
    content = read_file(path)
    whole = is_whole(content)
    value = parse_json(path, content, is_trusted=bool(whole))
    if newest is not None:
        _refuse_newer(path, content, value, newest)
    if whole is False or (whole is None and newest is not None and value.get("format", 1) > 1):
        raise DamagedFile(path, "its checksum is wrong")
    value.pop("crc32", None)
    return value, bool(whole)


def read_json_lines(path: Path, key: str = "") -> Iterator[tuple[dict[str, Any], bool]]:
    """The whole lines of a file and whether each is sealed; none where it does not exist. A torn
    last line is not a line yet.

    A damaged line is passed over with a note.
    """
    try:
        lines = read_file(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return
    except DamagedFile as damage:
        note(damage)
        return
    has_seals = False
    for number, line in enumerate(lines, start=1):
        try:
            value, is_sealed = parse_line(path, line, f"line {number}: ", key)
            if has_seals and not is_sealed:
                raise DamagedFile(path, f"line {number}: it has no checksum")
        except DamagedFile as damage:
            note(damage)
            continue
        has_seals = is_sealed
        yield value, is_sealed


def readable_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that nothing depends on: those that cannot be read are left out."""
    try:
        yield from (value for value, _ in read_json_lines(path))
    except OSError:
        return


def append_if_writable(path: Path, value: Mapping[str, Any]) -> None:
    """Append a line as `append_json_line` does; nothing where the folder is not there or cannot be
    written.
    """
    try:
        append_json_line(path, value)
    except OSError:
        return


def parse_line(path: Path | str, line: bytes, where: str = "", key: str = "") -> tuple[Any, bool]:
    """The object of one line, and whether it was sealed. Raises `DamagedFile`; `where` in the file
    is for the message.
    """
    whole = is_whole(line, key)
    if whole is False:
        raise DamagedFile(path, f"{where}its checksum is wrong, or it belongs to another trial")
    value = parse_json(path, line, where, is_trusted=bool(whole))
    value.pop("crc32", None)
    return value, bool(whole)


def parse_json(
    path: Path | str, text: bytes, where: str = "", *, is_trusted: bool = False
) -> dict[str, Any]:
    """One JSON object out of `path`. Raises `DamagedFile`; `where` in it is for the message."""
    try:
        decoder = _TRUSTING if is_trusted else _STRICT
        value = decoder.decode(text.decode())
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
    except (ValueError, RecursionError) as error:
        raise DamagedFile(path, f"{where}{error}") from error
    return value


def read_file(path: Path | str) -> bytes:
    """Content of a file of the store. Raises `FileNotFoundError`, and `DamagedFile` where that one
    file cannot be read.
    """
    try:
        return read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ESTALE:  # on a network share: it was replaced from another host
            return read_regular(path, MOST_BYTES)
        if error.errno == errno.ENOTDIR and not Path(path).parent.parent.is_dir():
            raise  # not one trial's folder is a file, but the store itself
        if isinstance(error, NotAFile) or error.errno in _UNREADABLE:
            raise DamagedFile(path, str(error.strerror)) from error
        raise


def make_way(path: Path, most: int = MOST_BYTES) -> None:
    """Set aside what is no file of ours in its place: a folder, a pipe, a link to nowhere, or one
    that is huge.
    """
    try:
        about = os.stat(path)
    except OSError:
        if os.path.lexists(path):
            set_aside(path)
        return
    if not stat.S_ISREG(about.st_mode) or about.st_size > most:
        set_aside(path)


def set_aside(path: Path) -> None:
    """Give what is in the way another name: it may be somebody's. Raises `OSError`."""
    aside, number = path.with_name(f"{path.name}.damaged"), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    os.rename(path, aside)
    note(DamagedFile(path, f"set aside as {aside.name}"))


def clear_litter(folder: Path) -> None:
    """Remove temporary files in `folder` whose process is dead, or cannot be asked and is long
    past.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # nothing to clear, and whoever needs the folder says what is wrong with it
    for entry in entries:
        if _is_litter(entry):
            Path(entry.path).unlink(missing_ok=True)


def _is_litter(entry: "os.DirEntry[str]") -> bool:
    found = _LITTER.fullmatch(entry.name)
    if not found and not _OLD_LITTER.fullmatch(entry.name):
        return False
    try:
        is_old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _LITTER_SECONDS
    except FileNotFoundError:
        return False  # its process has just made it the file that it was meant for
    if found and found["machine"] == machine_token():
        return started(int(found["pid"])) is None
    return is_old


def _write(
    path: Path, flags: int, content: bytes, mode: int, *, cut: bool = False, force: bool = True
) -> None:
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        refuse_other_than_files(descriptor, path)
        if cut:
            _cut_torn_tail(descriptor)
        while content:
            content = content[os.write(descriptor, content) :]
        if force:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_torn_tail(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    content = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def _refuse_newer(path: Path | str, content: bytes, value: Mapping[str, Any], newest: int) -> None:
    """Raise `NewerFile`; one whose checksum says that only the number was changed is damaged."""
    number = value.get("format", 1)
    if not isinstance(number, int) or isinstance(number, bool):
        raise DamagedFile(path, f"its format is {number!r}")
    if number <= newest:
        return
    ours = content.replace(b'"format": %d' % number, b'"format": %d' % newest, 1)
    if is_whole(ours):
        raise DamagedFile(path, "its checksum is wrong")
    raise NewerFile(path, f"the format {number}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_TRUSTING = json.JSONDecoder()
_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)


def cannot_write(error: OSError, path: Path) -> StoreError:
    """The sentence about a file that could not be written."""
    return StoreError(f"cannot write {error.filename or path}: {error.strerror or error}")
