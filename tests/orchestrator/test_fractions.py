"""The generators in the table are the best, and every fraction is balanced."""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest

from orchestrator.spec.fractions import FRACTIONS, cells_of, fractions_for

WITHIN_REACH = [(k, p) for p in (1, 2, 3) for k in range(p + 2, 9 if p == 3 else 10)]


def shortest_words(factors: int, generators: Sequence[frozenset[int]]) -> tuple[int, int]:
    """Length of the shortest word of the defining relation, and minus the number of such words."""
    free = factors - len(generators)
    words: list[frozenset[int]] = [frozenset()]
    for index, generator in enumerate(generators):
        words += [word ^ generator ^ {free + index} for word in words]
    lengths = [len(word) for word in words[1:]]
    return min(lengths), -lengths.count(min(lengths))


def words_of(cells: Sequence[tuple[bool, ...]]) -> list[int]:
    """Lengths of all products of factors that are the same in every cell."""
    levels = np.where(np.array(cells), 1, -1)
    count = levels.shape[1]
    lengths = []
    for chosen in product((False, True), repeat=count):
        column = levels[:, np.array(chosen)].prod(axis=1)
        if any(chosen) and abs(column.sum()) == len(cells):
            lengths.append(sum(chosen))
    return lengths


@pytest.mark.parametrize(("factors", "halvings"), WITHIN_REACH)
def test_no_choice_of_generators_is_better_than_the_one_in_the_table(
    factors: int, halvings: int
) -> None:
    free = factors - halvings
    products = [
        frozenset(chosen)
        for size in range(2, free + 1)
        for chosen in combinations(range(free), size)
    ]
    choices = combinations(products, halvings)
    best = max((shortest_words(factors, choice) for choice in choices), default=(0, 0))
    if best[0] < 3:
        with pytest.raises(ValueError, match="would alias main effects"):
            cells_of(factors, halvings)
        return
    cells, resolution = cells_of(factors, halvings)
    lengths = words_of(cells)
    assert (min(lengths), -lengths.count(min(lengths))) == best
    assert resolution == best[0]


@pytest.mark.parametrize(("factors", "halvings"), [(5, 2), (6, 2), (9, 3), (10, 3), (11, 3)])
def test_fractions_are_balanced_and_have_the_empty_cell(factors: int, halvings: int) -> None:
    cells, _ = cells_of(factors, halvings)
    levels = np.array(cells) * 2 - 1
    assert len(set(cells)) == len(cells) == 2 ** (factors - halvings)
    assert tuple([False] * factors) in cells
    assert (levels.T @ levels == len(cells) * np.eye(factors)).all()


def test_what_so_many_steps_can_be_cut_to() -> None:
    assert fractions_for(2) == ["1"]
    assert fractions_for(4) == ["1", "1/2"]
    assert fractions_for(5) == ["1", "1/2", "1/4"]
    assert fractions_for(6) == list(FRACTIONS)
