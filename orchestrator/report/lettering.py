"""Text of a figure by its measured width, so that columns fit and nothing lies on anything."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, lru_cache

_POINTS_PER_INCH = 72
_FONT = "DejaVu Sans"
"""Matplotlib's own font, which is wider than most that a viewer has."""
_BOXES = "Last Resort"
"""Beginning of the names of fonts that have a box for every letter."""


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches of a line in matplotlib's own font, and in others for what it lacks."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    families = [_FONT, *fonts_for(frozenset(text))[0]]
    font = FontProperties(family=families, size=size, weight=weight)
    width: float = TextToPath().get_text_width_height_descent(text, font, ismath=False)[0]
    return width / _POINTS_PER_INCH


@lru_cache(maxsize=256)
def fonts_for(letters: frozenset[str]) -> tuple[Sequence[str], Collection[str]]:
    """Installed fonts that have letters which matplotlib's own one lacks, and the letters that none
    has.
    """
    lacking = {letter for letter in letters if letter.isprintable()} - _letters_of_own_font()
    names: list[str] = []
    if lacking:
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # other fonts' weights
        for name, has in _installed().items():
            if lacking & has:
                names.append(name)
                lacking -= has
    return names, lacking


@cache
def _letters_of_own_font() -> frozenset[str]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(map(chr, get_font(findfont(_FONT)).get_charmap()))


@cache
def _installed() -> dict[str, frozenset[str]]:
    """Letters of each installed font that has outlines: matplotlib cannot draw coloured bitmaps."""
    from matplotlib.font_manager import fontManager, get_font

    found: dict[str, frozenset[str]] = {}
    for entry in sorted(fontManager.ttflist, key=lambda one: (one.style != "normal", one.name)):
        if entry.name in found or entry.name.startswith(_BOXES):
            continue
        try:
            font = get_font(entry.fname)
        except (OSError, RuntimeError):
            continue  # gone since matplotlib listed it, or of a kind that it does not read
        if font.scalable:
            found[entry.name] = frozenset(map(chr, font.get_charmap()))
    return found


def widest(texts: Iterable[str], size: float, weight: str = "normal") -> float:
    """Inches of the widest of these lines; 0 without any."""
    return max((text_width(text, size, weight) for text in texts), default=0.0)


def fitted(text: str, room: float, size: float, weight: str = "normal") -> str:
    """The text in so many inches: where it is too long its middle is left out, for both ends of a
    name tell it from others.
    """
    if text_width(text, size, weight) <= room:
        return text
    low, high = 0, len(text)
    while low < high:  # the most characters that fit
        middle = (low + high + 1) // 2
        if text_width(_shortened(text, middle), size, weight) <= room:
            low = middle
        else:
            high = middle - 1
    return _shortened(text, low)


def wrapped(words: Sequence[str], room: float, size: float) -> list[str]:
    """Words as lines of at most so many inches, as far as the words themselves allow."""
    return _lines(words, lambda line: text_width(line, size) <= room)


def _lines(words: Sequence[str], fits: Callable[[str], bool]) -> list[str]:
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if fits(longer) or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _shortened(text: str, count: int) -> str:
    """Return at most `count` characters of the text, half of them from its end."""
    if count >= len(text):
        return text
    tail = count // 2
    return f"{text[: count - tail]}…{text[len(text) - tail :] if tail else ''}"
