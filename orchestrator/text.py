"""Text that others wrote (causes, names, references, answers of servers) as people may see it.

A control character in it could move the cursor, change the terminal's title, or turn the order of
what is read.
"""

import re
from collections.abc import Mapping, Sequence

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""All but tabs and line feeds of C0, DEL and C1; marks of direction; line separators; lone
surrogates.
"""
_PICTURES = 0x2400
"""The place where Unicode has a picture for each character of C0, as wide as a letter: ␛ for ESC.
"""
_DELETE, _DELETE_PICTURE = "\x7f", "\u2421"
_REPLACEMENT = "\ufffd"


def printable(text: str) -> str:
    """The text with a visible sign in the place of each control character; as it is where there is
    none.
    """
    return _UNPRINTABLE.sub(_sign, text)


SPELLED = {
    "±": "+-",
    "Δ": "delta",
    "→": "->",
    "└": "`",
    "·": "|",
    "…": "...",
    "─": "-",
    "–": "-",
    "≈": "~",
    "▲": "^",
    "▼": "v",
    "○": "o",
    "◆": "*",
    "†": "+",
    "\N{NO-BREAK SPACE}": " ",
}
"""Our own signs as ASCII has them."""
_SPELLING = str.maketrans(SPELLED)


def spelled(text: str) -> str:
    """Spell our own signs in ASCII, for terminals that have no other letters."""
    return text.translate(_SPELLING)


def encodable(text: str) -> str:
    """The text with `\\udce9` for half of a surrogate pair, as names of files may hold it: no file
    could hold that.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _sign(match: re.Match[str]) -> str:
    character = match.group()
    if character < " ":
        return chr(_PICTURES + ord(character))
    return _DELETE_PICTURE if character == _DELETE else _REPLACEMENT


def bounded(text: str, most: int) -> str:
    """The text with its middle left out where it is longer than `most`: the end of a message says
    as much as its beginning.
    """
    if len(text) <= most:
        return text
    left_out = f"\n... {len(text) - most:,} characters left out ...\n"
    return text[: most // 2] + left_out + text[len(text) - most // 2 :]


def first_of(names: Sequence[str], most: int) -> str:
    """`a, b and 4 more`: the first `most` names, and how many there are besides."""
    shown = ", ".join(names[:most])
    if len(names) <= most:
        return shown
    return f"{shown} and {len(names) - most} more"


def tally(counts: Mapping[str, int]) -> str:
    """`48 finished, 6 out of memory`: names with their counts in the order given, without zeros."""
    return ", ".join(f"{count:,} {spaced(name)}" for name, count in counts.items() if count)


def from_to(low: float, high: float) -> str:
    """`6`, or `3 to 12` where the two differ."""
    if low == high:
        return f"{low}"
    return f"{low} to {high}"


def two_digits(value: float) -> str:
    """`0.031`, `2.4`, `120`: two significant digits, and no exponent from a hundred on."""
    return f"{float(f'{value:.2g}'):,g}"


def spaced(name: str) -> str:
    """`out of memory` for `out_of_memory`: an outcome as people read it."""
    return name.replace("_", " ")


_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TENTHS_BELOW = 10
"""Seconds below which a tenth of one is worth telling."""


def duration_text(seconds: float) -> str:
    """`1.2 s`, `42 s`, `5:39 min`, `2:05:09 h`, `3 days 4 h`."""
    whole = round(seconds)
    if round(seconds, 1) < _TENTHS_BELOW:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02} min"
    if whole < _DAY:
        return f"{whole // _HOUR}:{whole % _HOUR // _MINUTE:02}:{whole % _MINUTE:02} h"
    days, hours = divmod(round(seconds / _HOUR), _DAY // _HOUR)
    text = f"{days:,} {'day' if days == 1 else 'days'}"
    return f"{text} {hours} h" if hours else text


def cell(value: float | None, form: str = "g") -> str:
    """A number in a table by a format specification; blank where there is none."""
    return "" if value is None else format(value, form)


def without_middle(text: str, most: int) -> str:
    """The text with its middle left out where it is longer than `most`."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def gist(text: str, most: int) -> str:
    """The text on one line, with its middle left out where it is longer than `most`: an error's
    message says as much at its end as at its beginning.
    """
    return without_middle(" ".join(text.split()), most)


def shortened(text: str, most: int) -> str:
    """The text on one line, cut where it is longer than `most`."""
    return cut(" ".join(text.split()), most + 1)


def cut(text: str, most: int) -> str:
    """The text, ending in an ellipsis where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most - 1]}…"
