"""Balanced fractions of a two-level factorial: half, a quarter, an eighth of all combinations.

A regular fraction 2^(k-p) takes all combinations of k - p factors and sets each of the other p to a
product of some of them. The price is that effects come in groups that cannot be told apart. The
defining relation names the products that are the same in every cell; the length of its shortest
word is the resolution: from 5 on main effects and two-way interactions stand alone, at 4
interactions mix with each other, at 3 with main effects.
"""

from collections.abc import Sequence
from itertools import product

FRACTIONS = {"1": 0, "1/2": 1, "1/4": 2, "1/8": 3}
"""Fractions that may be asked for, and how many factors are then set by others."""

_GENERATORS = {
    (5, 2): ("ab", "ac"),
    (6, 2): ("abc", "abd"),
    (7, 2): ("abc", "abde"),
    (8, 2): ("abcd", "abef"),
    (9, 2): ("abcde", "abcfg"),
    (10, 2): ("abcde", "abcfgh"),
    (6, 3): ("ab", "ac", "bc"),
    (7, 3): ("abc", "abd", "acd"),
    (8, 3): ("abc", "abd", "acde"),
    (9, 3): ("abc", "abde", "acdf"),
    (10, 3): ("abcd", "abef", "aceg"),
    (11, 3): ("abcde", "abcfg", "abdfh"),
}
"""Generators by factors and halvings: free factors, `a` the first, whose product sets another.

Found by looking at all choices for the longest shortest word, and the fewest of that length. With
one halving it is the product of all free factors.
"""

Word = frozenset[int]
"""Factors whose product is the same in every cell."""


def cells_of(factors: int, halvings: int) -> tuple[list[tuple[bool, ...]], int]:
    """The combinations of the best fraction, each a level for every factor, and its resolution.

    The combination without any factor is always among them. The whole factorial has resolution 0.
    Raises `ValueError` where the fraction leaves a resolution below 3, at which not even main
    effects can be told apart.
    """
    if halvings == 0:
        return [*product((False, True), repeat=factors)], 0
    generators = _generators(factors, halvings)
    if not generators:
        raise ValueError(
            f"a fraction of 1/{2**halvings} of {factors} steps would alias main effects "
            "with each other"
        )
    free = factors - halvings
    resolution = min(map(len, _defining_words(generators, free)))
    cells = [_completed(cell, generators) for cell in product((False, True), repeat=free)]
    return cells, resolution


def fractions_for(factors: int) -> list[str]:
    """The fractions that so many factors can be cut to; the whole is always one of them."""
    return [
        name
        for name, halvings in FRACTIONS.items()
        if halvings == 0 or _generators(factors, halvings)
    ]


def _generators(factors: int, halvings: int) -> list[Word]:
    """The products that set the last factors; empty where no fraction keeps main effects apart."""
    if halvings == 1:
        return [frozenset(range(factors - 1))] if factors >= 3 else []
    letters = _GENERATORS.get((factors, halvings), ())
    return [frozenset(ord(letter) - ord("a") for letter in word) for word in letters]


def _defining_words(generators: Sequence[Word], free: int) -> list[Word]:
    """All products of the generators' words, each with the factor that it sets."""
    words: list[Word] = [frozenset()]
    for index, generator in enumerate(generators):
        words += [word ^ (generator | {free + index}) for word in words]
    return words[1:]


def _completed(cell: tuple[bool, ...], generators: Sequence[Word]) -> tuple[bool, ...]:
    """Add the factors that others set: on where an odd number of theirs is on."""
    return (
        *cell,
        *(sum(cell[factor] for factor in generator) % 2 == 1 for generator in generators),
    )
