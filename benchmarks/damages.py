"""What disks, copies and people do to a file of a store; `damage.py` does it to each of them."""

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

Change = Callable[[bytes, random.Random], bytes]


def _position(pattern: bytes) -> Callable[[bytes, random.Random], int]:
    def find(content: bytes, dice: random.Random) -> int:
        places = [match.start() for match in re.finditer(pattern, content)]
        return dice.choice(places) if places else len(content) // 2

    return find


POSITIONS = {
    "first": lambda content, dice: 0,
    "brace": _position(rb"[{}]"),
    "key": _position(rb'(?<=")\w(?=\w*":)'),
    "colon": _position(rb":"),
    "digit": _position(rb"(?<=[: .\d-])\d"),
    "quote": _position(rb'"'),
    "value": _position(rb'(?<=: ")\w'),
    "newline": _position(rb"\n"),
    "last": lambda content, dice: max(0, len(content) - 1),
}
"""Where a byte stands, by what it is."""


def _flip(name: str) -> Change:
    def change(content: bytes, dice: random.Random) -> bytes:
        place = POSITIONS[name](content, dice)
        if not content:
            return b"\x01"
        flipped = bytes([content[place] ^ 1 << dice.randrange(8)])
        return content[:place] + flipped + content[place + 1 :]

    return change


def _cut(name: str) -> Change:
    return lambda content, dice: content[: POSITIONS[name](content, dice)]


def _zeroed(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(max(1, len(content)))
    size = min(512, len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def _doubled_line(content: bytes, dice: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    place = dice.randrange(len(lines))
    return b"".join([*lines[: place + 1], *lines[place:]])


def _swapped_lines(content: bytes, dice: random.Random) -> bytes:
    return b"".join(reversed(content.splitlines(keepends=True)))


def _digit_changed(content: bytes, dice: random.Random) -> bytes:
    place = POSITIONS["digit"](content, dice)
    return content[:place] + dice.choice(b"0123456789").to_bytes() + content[place + 1 :]


CHANGES: dict[str, Change] = {
    **{f"bit flipped in {name}": _flip(name) for name in POSITIONS},
    **{f"cut at {name}": _cut(name) for name in POSITIONS},
    "block of zeros": _zeroed,
    "line doubled": _doubled_line,
    "lines in reverse": _swapped_lines,
    "digit changed": _digit_changed,
    "garbage behind": lambda content, dice: content + dice.randbytes(40),
    "garbage": lambda content, dice: dice.randbytes(len(content)),
    "not UTF-8": lambda content, dice: b"\xff\xfe" + content,
    "list": lambda content, dice: b"[1, 2]\n",
    "null": lambda content, dice: b"null\n",
    "deep": lambda content, dice: b"[" * 100_000,
    "infinity": lambda content, dice: re.sub(rb": [\d.]+", b": 1e999", content, count=3),
    "text for numbers": lambda content, dice: re.sub(rb": [\d.]+", b': "x"', content),
    "emptied": lambda content, dice: b"",
}


def _swap_with_another_trial(path: Path) -> None:
    """Take the file of the same name of another trial, or another file where there is none."""
    parts = path.parts
    if "trials" not in parts:
        shutil.copy(next(path.parent.glob("trials/*/trial.json")), path)
        return
    place = parts.index("trials") + 1
    trials = Path(*parts[:place])
    other = sorted(set(os.listdir(trials)) - {parts[place]})[-1]
    source = trials / other / Path(*parts[place + 1 :])
    if source.exists():
        shutil.copy(source, path)
    else:
        path.unlink()


def _whole_trial_swapped(path: Path) -> None:
    """All files of the trial are another's."""
    folder = path.parent
    if folder.parent.name != "trials":
        path.write_text("{}\n")
        return
    other = sorted(set(folder.parent.iterdir()) - {folder})[0]
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link to itself": lambda path: path.symlink_to(path),
    "link to nowhere": lambda path: path.symlink_to(path.with_name("gone")),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "file of another trial": _swap_with_another_trial,
    "another trial's files": _whole_trial_swapped,
}
_KEEPS_THE_FILE = ("file of another trial", "another trial's files")


def damage(path: Path, kind: str, dice: random.Random) -> None:
    """Do it to the file."""
    if kind in CHANGES:
        path.write_bytes(CHANGES[kind](path.read_bytes(), dice))
        return
    if kind not in _KEEPS_THE_FILE:
        path.unlink()
    REPLACEMENTS[kind](path)
