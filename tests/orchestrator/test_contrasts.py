"""Contrasts are those of the textbook's formulas, and say what they cannot be told from."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.design_effects.contrast_lines import contrast_line, named
from orchestrator.spec.fractions import cells_of
from orchestrator.stats.contrasts import Contrast, factorial_contrasts, order_contrasts

Cell = tuple[bool, ...]
NAMES = ("a", "b", "c", "d")


ROWS: Any = [
    SimpleNamespace(
        variant=SimpleNamespace(regime="", found_by={}, search_repeats=None),
        outcome_of=dict.fromkeys((0, 1), "finished"),
        decimals=2,
    )
]
"""Two seeds of cells that nothing was searched for."""


def of_cells(cells: Sequence[Cell], value: Callable[[Cell], float]) -> dict[Cell, dict[int, float]]:
    """The same value plus the seed for two seeds."""
    return {cell: {seed: value(cell) + seed for seed in range(2)} for cell in cells}


def by_names(contrasts: list[Contrast]) -> dict[str, Contrast]:
    return {" × ".join(contrast.factors): contrast for contrast in contrasts}


def test_contrasts_of_a_whole_factorial_are_differences_of_means_seed_by_seed() -> None:
    generator = np.random.default_rng(3)
    cells = list(product((False, True), repeat=4))
    values = {cell: dict(enumerate(generator.normal(50, 10, 5).tolist())) for cell in cells}

    def mean(seed: int, **levels: bool) -> float:
        chosen = (
            cell
            for cell in cells
            if all(cell[NAMES.index(name)] == level for name, level in levels.items())
        )
        return fmean(values[cell][seed] for cell in chosen)

    found = by_names(factorial_contrasts(values, NAMES))
    for one in NAMES:
        by_hand = [mean(s, **{one: True}) - mean(s, **{one: False}) for s in range(5)]
        effect = found[one].effect
        assert effect is not None
        assert effect.differences == pytest.approx(by_hand, abs=1e-12)
        assert found[one].aliases == ()
        for other in NAMES[NAMES.index(one) + 1 :]:
            by_hand = [
                (mean(s, **{one: True, other: True}) - mean(s, **{one: False, other: True}))
                - (mean(s, **{one: True, other: False}) - mean(s, **{one: False, other: False}))
                for s in range(5)
            ]
            effect = found[f"{one} × {other}"].effect
            assert effect is not None
            assert effect.differences == pytest.approx(by_hand, abs=1e-12)


def test_a_half_of_four_names_the_three_steps_whose_interaction_looks_like_the_fourth() -> None:
    cells, resolution = cells_of(4, 1)
    found = by_names(factorial_contrasts(of_cells(cells, lambda c: 4.0 * all(c[1:])), NAMES))
    assert resolution == 4
    assert found["a"].effect is not None
    assert abs(found["a"].effect.mean) == pytest.approx(1.0)  # a itself does nothing
    assert found["a"].aliases == (("b", "c", "d"),)
    assert found["a × b"].effect is None
    assert found["a × b"].aliases == (("c", "d"),)
    line = contrast_line("", "factorial", found["a"], ROWS)
    assert line.note == "aliased with b × c × d"
    assert contrast_line("", "factorial", found["a × b"], ROWS).note == (
        "fully aliased with c × d in these cells"
    )


@pytest.mark.parametrize(("factors", "halvings"), [(5, 1), (5, 2), (6, 2), (7, 3), (8, 2)])
def test_aliases_of_fractions_are_those_of_the_defining_relation(
    factors: int, halvings: int
) -> None:
    names = tuple("abcdefgh"[:factors])
    cells, _ = cells_of(factors, halvings)
    levels = np.where(np.array(cells), 1, -1)
    subsets = [s for s in product((False, True), repeat=factors) if any(s)]
    for contrast in factorial_contrasts(of_cells(cells, lambda cell: 0.0), names):
        own = levels[:, [names.index(name) for name in contrast.factors]].prod(axis=1)
        same = {
            tuple(name for name, is_in in zip(names, subset, strict=True) if is_in)
            for subset in subsets
            if abs((levels[:, np.array(subset)].prod(axis=1) * own).sum()) == len(cells)
        }
        wanted = same - {contrast.factors}
        if contrast.effect is None:
            wanted = {alias for alias in wanted if len(alias) <= 2}
        assert set(contrast.aliases) == wanted, contrast.factors


def test_a_missing_cell_leaves_effects_mixed_with_the_three_way_interaction() -> None:
    cells = [cell for cell in product((False, True), repeat=3) if not all(cell)]
    value = of_cells(cells, lambda cell: 2.0 * cell[0] + 3.0 * (cell[1] and cell[2]))
    found = by_names(factorial_contrasts(value, NAMES[:3]))
    assert {contrast.aliases for contrast in found.values()} == {(("a", "b", "c"),)}
    assert found["a"].effect is not None
    assert found["a"].effect.mean == pytest.approx(2.0)


def test_a_step_that_all_cells_have_cannot_be_told_from_their_mean() -> None:
    cells = [(True, False), (True, True)]
    found = by_names(factorial_contrasts(of_cells(cells, lambda cell: 1.0 * cell[1]), ("a", "b")))
    assert found["a"].effect is None
    assert found["a"].aliases == ((),)
    assert named(found["a"].aliases) == "the mean of all cells"
    assert found["b"].aliases == (("a", "b"),)


def test_without_a_seed_that_all_cells_have_every_effect_is_named_and_none_is_given() -> None:
    apart: Mapping[Cell, Mapping[int, float]] = {(False,): {0: 1.0}, (True,): {1: 2.0}}
    for cells in ({}, apart):
        [contrast] = factorial_contrasts(cells, ("a",))
        assert (contrast.factors, contrast.effect, contrast.aliases) == (("a",), None, ())
        line = contrast_line("", "factorial", contrast, ROWS)
        assert line.note == "no seed is done in all cells"


def test_a_step_without_a_place_that_is_done_is_named_without_an_effect() -> None:
    main, *_ = order_contrasts([], {frozenset[str](): {0: 1.0}}, ("a", "b"))
    assert (main.factors, main.effect) == (("a",), None)


def test_of_many_aliases_a_note_names_the_first_and_counts_the_others() -> None:
    assert named([("a",), ("b", "c"), ("d",), ("e",), ("f",)]) == "a, b × c, d and 2 more"
