"""Orders of the patches are permutations, and each does what its name says."""

from itertools import pairwise

import pytest

from illama.scans import order_of


@pytest.mark.parametrize("scan", ["raster", "reversed", "zigzag", "hilbert"])
def test_every_patch_comes_once(scan: str) -> None:
    for side in (1, 2, 4, 8):
        assert sorted(order_of(scan, side)) == list(range(side * side))


@pytest.mark.parametrize(("scan", "side"), [("zigzag", 5), ("hilbert", 8)])
def test_neighbours_in_the_sequence_are_neighbours_in_the_image(scan: str, side: int) -> None:
    places = [divmod(number, side) for number in order_of(scan, side)]
    for (row, column), (next_row, next_column) in pairwise(places):
        assert abs(row - next_row) + abs(column - next_column) == 1


def test_the_orders_of_a_small_grid() -> None:
    assert order_of("reversed", 2) == [3, 2, 1, 0]
    assert order_of("zigzag", 3) == [0, 1, 2, 5, 4, 3, 6, 7, 8]
    assert order_of("hilbert", 2) == [0, 2, 3, 1]


def test_what_has_no_order_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two, found 3"):
        order_of("hilbert", 3)
    with pytest.raises(ValueError, match="there is no scan 'spiral'"):
        order_of("spiral", 4)
