"""The place that `--output` names for a report: a file is replaced whole, anything else is written
through.

A name may be a device (`/dev/stdout`), a pipe that somebody reads, or a link. A new file in its
place would leave the reader without an answer, and take a device away from everybody.
"""

import errno
import os
import re
import stat
import uuid
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import UsageError

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|\d+))/(?:fd/(\d+)|stdout|stderr)")
_MOST_LINKS = 40
"""Links that are followed to a file: as many as Linux follows."""


def write_output(path: Path, content: bytes) -> None:
    """Write `content` to `path`, making missing folders. Raises `UsageError` if that is not
    possible.
    """
    try:
        target = _followed(path.expanduser())
        descriptor = _descriptor_of(target)
        if descriptor is not None:
            _write(os.dup(descriptor), content)
        elif target.exists() and not target.is_file():
            _write(os.open(target, os.O_WRONLY), content)
        else:
            _replace(target, content)
    except FileExistsError as error:  # of a folder that was to be made
        raise UsageError(f"cannot write {path}: {error.filename} is not a folder") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _followed(path: Path) -> Path:
    """Follow a link to what it leads to, be it there or not; the name of an open descriptor
    (`/dev/stdout`) is the end of the way.
    """
    for _ in range(_MOST_LINKS):
        if _descriptor_of(path) is not None or not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor_of(path: Path) -> int | None:
    """The number of the descriptor of ours that `path` names; none of other paths."""
    found = _DESCRIPTOR.fullmatch(os.path.abspath(path))
    if found is None:
        return None
    return int(found[1] or (1 if path.name == "stdout" else 2))


def _write(descriptor: int, content: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _replace(path: Path, content: bytes) -> None:
    """A reader sees the old content or the new, never a part; owner and permissions stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if path.exists() else None
    aside = path.parent / f".{path.name[:100]}.{uuid.uuid4().hex}.tmp"
    try:
        descriptor = os.open(
            aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if before else 0o666
        )
    except PermissionError:
        if before is None:
            raise
        _write(os.open(path, os.O_WRONLY | os.O_TRUNC), content)  # the file is ours, its folder not
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
            if before:
                with suppress(PermissionError):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
