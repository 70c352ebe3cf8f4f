"""Squares of orders are balanced, and the most balanced orders are taken first."""

from collections import Counter
from itertools import islice, pairwise, permutations
from random import Random

import pytest

from orchestrator.spec.latin_squares import (
    is_balanced_for_order,
    most_balanced,
    most_uneven,
    places_of,
    squares,
    williams_square,
)


@pytest.mark.parametrize("size", range(2, 11))
def test_a_williams_square_is_a_latin_square_with_every_step_right_behind_every_other(
    size: int,
) -> None:
    first = tuple(f"s{index}" for index in range(size))
    rows = williams_square(first)
    assert rows[0] == first
    assert len(rows) == (size if size % 2 == 0 else 2 * size)
    assert most_uneven(rows[:size]) == most_uneven(rows) == 0
    assert is_balanced_for_order(rows)
    neighbours = Counter(pair for row in rows for pair in pairwise(row))
    assert len(neighbours) == size * (size - 1)
    assert len(set(neighbours.values())) == 1


def test_squares_leave_the_road_out_and_depend_on_the_generator_alone() -> None:
    road = ("a", "b", "c", "d")
    first, second = ([*islice(squares(road, Random(3)), 3)] for _ in range(2))
    assert first == second
    assert len(first[0]) == 3
    assert road not in first[0]
    assert most_uneven([road, *first[0]]) == most_uneven(first[1]) == 0


def test_the_most_balanced_order_is_over_places_first_and_then_over_which_comes_first() -> None:
    road = ("a", "b", "c", "d")
    assert most_balanced([*permutations(road)], [road]) == ("d", "c", "b", "a")
    assert most_balanced([("a", "c", "b", "d"), ("b", "a", "d", "c")], [road]) == tuple("badc")


def test_uneven_orders_are_told_by_their_places() -> None:
    orders = [("a", "b", "c"), ("a", "c", "b")]
    assert places_of(orders) == {"a": [1, 1], "b": [2, 3], "c": [2, 3]}
    assert most_uneven(orders) == 2
    assert not is_balanced_for_order(orders)
