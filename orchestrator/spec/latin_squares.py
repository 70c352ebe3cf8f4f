"""Orders of steps that are balanced over their places, and over which step comes before which.

A Williams square is a Latin square (each symbol once in each row and each column) that is balanced
for order, too: each symbol comes right behind each other equally often. One exists for every even
size; for an odd size a square and its mirror image do it together. E. J. Williams, "Experimental
designs balanced for the estimation of residual effects of treatments", 1949.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, count
from random import Random

Order = tuple[str, ...]


def williams_square(first: Order) -> list[Order]:
    """The rows of a Williams square, `first` in front; for an odd size its mirror image behind.

    The first `len(first)` rows are a Latin square, and all rows together are balanced for order.
    """
    size = len(first)
    signs = (-1, 1)  # 0, 1, -1, 2, -2, ...
    zigzag = [signs[place % 2] * ((place + 1) // 2) % size for place in range(size)]
    step_of = {symbol % size: step for symbol, step in zip(zigzag, first, strict=True)}
    rows = [tuple(step_of[(symbol + shift) % size] for symbol in zigzag) for shift in range(size)]
    if size % 2 == 0:
        return rows
    return rows + [row[::-1] for row in rows]


def squares(road: Order, generator: Random) -> Iterator[list[Order]]:
    """Rows that belong together, without end: the road's own square, then relabelled ones."""
    size = len(road)
    first = road
    for _ in count():
        rows = williams_square(first)
        for start in range(0, len(rows), size):
            block = [row for row in rows[start : start + size] if row != road]
            generator.shuffle(block)
            yield block
        first = tuple(generator.sample(road, size))


def most_balanced(candidates: Sequence[Order], chosen: Sequence[Order]) -> Order:
    """The candidate that leaves `chosen` most balanced, the first of those that do it equally well.

    Balance over the places goes before balance over which step comes before which.
    """
    return min(candidates, key=lambda order: _imbalance([*chosen, order]))


def places_of(orders: Sequence[Order]) -> dict[str, list[int]]:
    """The places of each step in these orders, counted from 1, the smallest first."""
    return {step: sorted(order.index(step) + 1 for order in orders) for step in orders[0]}


def most_uneven(orders: Sequence[Order]) -> int:
    """Return how much more often one step stands at one place than another does; 0 if balanced."""
    counts = [
        found.count(place)
        for found in places_of(orders).values()
        for place in range(1, len(orders[0]) + 1)
    ]
    return max(counts) - min(counts)


def is_balanced_for_order(orders: Sequence[Order]) -> bool:
    """Tell whether every step comes before every other as often as behind it."""
    return all(2 * ahead == len(orders) for ahead in _times_ahead(orders))


def _imbalance(orders: Sequence[Order]) -> tuple[int, int]:
    """Squared counts over places, and over pairs of steps: smaller where counts are more alike."""
    of_places = sum(
        found.count(place) ** 2 for found in places_of(orders).values() for place in set(found)
    )
    of_pairs = sum(ahead**2 + (len(orders) - ahead) ** 2 for ahead in _times_ahead(orders))
    return of_places, of_pairs


def _times_ahead(orders: Sequence[Order]) -> list[int]:
    """Count, for each pair of steps, the orders in which the first of them comes first."""
    pairs = combinations(orders[0], 2)
    return [sum(order.index(one) < order.index(other) for order in orders) for one, other in pairs]
