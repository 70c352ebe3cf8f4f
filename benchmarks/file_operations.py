"""Counts the file operations of a process below one folder, and does something at the n-th of them.

An operation is one that changes a file: opening for writing, a write, a cut, a flush to the disk, a
rename, a removal, a new folder. Something is done `before` it, `after` it, or, of a write, in the
`middle`.
"""

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLACES = ("before", "middle", "after")
_WITH_A_PATH = ("open", "rename", "replace", "unlink", "mkdir", "truncate", "link")
_WITH_A_DESCRIPTOR = ("write", "fsync", "ftruncate")
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operations:
    """Operations of this process, from `watch` on."""

    def __init__(self, folder: Path, act: Callable[[], None], at: int, place: str) -> None:
        self._folder = str(folder.resolve())
        self._act = act
        self._at = at
        self._place = place
        self.count = 0

    def watch(self) -> None:
        """Begin to count. Functions of `os` are replaced: what opens files in another way opens
        them through these here.
        """
        for name in (*_WITH_A_PATH, *_WITH_A_DESCRIPTOR):
            setattr(os, name, self._counted(name, getattr(os, name)))
        real_open = builtins.open

        def open_by_os(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            """Buffered writes of others: opened, and written when closed; counted as one
            operation.
            """
            if isinstance(file, int) or not set(mode) & set("wax+") or not self._is_ours(file):
                return real_open(file, mode, *more, **named)
            return self._do(lambda: real_open(file, mode, *more, **named))

        builtins.open = open_by_os
        import io

        io.open = open_by_os

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(first: Any, *more: Any, **named: Any) -> Any:
            is_read = name == "open" and not (more and more[0] & _FOR_WRITING)
            if is_read or not self._is_ours(first):
                return real(first, *more, **named)
            if name == "write" and self.count + 1 == self._at and self._place == "middle":
                self.count += 1
                done = real(first, more[0][: len(more[0]) // 2])
                self._act()
                return done
            return self._do(lambda: real(first, *more, **named))

        return counted

    def _do(self, operation: Callable[[], Any]) -> Any:
        self.count += 1
        is_it = self.count == self._at
        if is_it and self._place != "after":
            self._act()
        done = operation()
        if is_it and self._place == "after":
            self._act()
        return done

    def _is_ours(self, file: Any) -> bool:
        try:
            path = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file
            return os.path.abspath(os.fspath(path)).startswith(self._folder)
        except (OSError, TypeError, ValueError):
            return False
