"""The nearest of some words to one that was probably misspelt."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` with the nearest of `allowed`, or nothing where none is near."""
    nearest = get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
