"""Balanced fractions of a two-level factorial: half, a quarter, an eighth of all combinations, as far from confounded as can be.

A regular fraction 2^(k-p) takes all combinations of k - p factors and sets each of the other p to a product of some of them.
The price is that effects come in groups that cannot be told apart; the resolution is the length of the shortest word of the
defining relation: from 5 on main effects and two-way interactions stand alone, at 4 interactions mix with each other, at 3 with
main effects.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, product

FRACTIONS = {"1": 0, "1/2": 1, "1/4": 2, "1/8": 3}
"""What may be asked for, and how many factors are then set by others."""

Word = frozenset[int]
"""Factors whose product is the same in every cell."""


def cells_of(factors: int, halvings: int) -> tuple[list[tuple[bool, ...]], int]:
    """The combinations of the best fraction, each a level for every factor, and its resolution (0 for the whole factorial).

    The combination without any factor is always among them. Raises `ValueError` where the fraction leaves fewer than the
    resolution of 3, at which not even main effects can be told apart.
    """
    free = factors - halvings
    if halvings == 0:
        return [*product((False, True), repeat=factors)], 0
    best: tuple[int, int, Sequence[Word]] | None = None
    for generators in combinations(list(_products(free)), halvings):
        words = _defining_words(generators, free)
        shortest = min(map(len, words))
        rank = (shortest, -sum(len(word) == shortest for word in words))
        if best is None or rank > best[:2]:
            best = (*rank, generators)
    if best is None or best[0] < 3:
        raise ValueError(
            f"{factors} steps cannot be cut to 1/{2**halvings} without main effects that cannot be told apart"
        )
    return [_completed(cell, best[2]) for cell in product((False, True), repeat=free)], best[0]


def _products(free: int) -> Iterator[Word]:
    """Sets of at least two free factors: what another factor can be set to."""
    for size in range(2, free + 1):
        yield from map(frozenset, combinations(range(free), size))


def _defining_words(generators: Sequence[Word], free: int) -> list[Word]:
    """All products of the generators' words, each with the factor that it sets."""
    words: list[Word] = [frozenset()]
    for index, generator in enumerate(generators):
        words += [word ^ (generator | {free + index}) for word in words]
    return words[1:]


def _completed(cell: tuple[bool, ...], generators: Sequence[Word]) -> tuple[bool, ...]:
    """Add the factors that are set by others: on where an odd number of theirs is on, so that the empty cell stays empty."""
    return (
        *cell,
        *(sum(cell[factor] for factor in generator) % 2 == 1 for generator in generators),
    )
