"""Main effects and two-way interactions from the cells of a factorial, or from several orders.

Everything is computed seed by seed, so that a contrast has one value for each seed and is tested
like any other paired effect. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from statistics import fmean

import numpy as np

from orchestrator.stats.inference import Effect, Floats, effect_of, magnitude_of

Values = Mapping[int, float]
"""A metric by seed."""
Factors = tuple[str, ...]
"""One factor for its main effect, more for their interaction, none for the mean of all cells."""
Columns = tuple[int, ...]
"""A contrast by the factors' numbers."""

_ZERO = 1e-9
_ROUNDING = 1e-13
"""Share of the largest value that sums over hundreds of cells leave of a coefficient that is zero.
"""
_NO_PART = 1e-7
_MOST_EFFECTS = 4096
"""Interactions of more and more factors are looked at for aliases until they are so many."""


@dataclass(frozen=True)
class Contrast:
    """A main effect, with one factor, or an interaction, with two."""

    factors: Factors
    effect: Effect | None
    """The effect; None where the cells cannot tell it from another one, or share no seed."""
    aliases: tuple[Factors, ...] = ()
    """Effects that it is aliased with, those with the largest part first.

    Where there is an effect, it is the sum of its own and of parts of these.
    """


def factorial_contrasts(
    cells: Mapping[tuple[bool, ...], Values], factors: Sequence[str], highest: int | None = None
) -> list[Contrast]:
    """Main effects and two-way interactions by least squares, for each seed that all cells have.

    A main effect is what the factor does on average over the others' levels; an interaction is
    how much one factor's effect changes when the other is there. Where cells are missing, or in a
    fraction, an interaction that cannot be told from others has no effect; a main effect that
    cannot is given together with interactions. `highest` is the number of factors of the largest
    interactions that are looked at for aliases.
    """
    if not cells:
        return [Contrast(names, None) for names in _effects_of_interest(factors)]
    seeds = sorted(set.intersection(*(set(values) for values in cells.values())))
    levels = np.array(list(cells), dtype=np.float64) - 0.5
    metric = np.array([[values[seed] for seed in seeds] for values in cells.values()])
    pairs = list(combinations(range(len(factors)), 2))
    columns = [np.ones(len(cells)), *levels.T]
    simple = np.stack(columns, axis=1)
    full = np.stack([*columns, *(levels[:, a] * levels[:, b] for a, b in pairs)], axis=1)
    is_told, is_told_simply = _estimable(full), _estimable(simple)
    solved, solved_simply = (_solved(model, metric) for model in (full, simple))
    magnitude = float(abs(metric).max(initial=0.0))
    aliases = _aliases_of(tuple(cells), highest or len(factors))
    contrasts = []
    for index, names in enumerate(_effects_of_interest(factors), start=1):
        if is_told[index]:
            effect, found = effect_of(solved[index].tolist(), magnitude), aliases.beyond(index, 2)
        elif len(names) == 1 and is_told_simply[index]:
            effect, found = (
                effect_of(solved_simply[index].tolist(), magnitude),
                aliases.beyond(index, 1),
            )
        else:
            effect, found = None, aliases.within(index, len(names))
        named = tuple(tuple(factors[number] for number in alias) for alias in found)
        contrasts.append(Contrast(names, effect, named))
    return contrasts


def _effects_of_interest(factors: Sequence[str]) -> list[Factors]:
    """Main effects first, then the two-way interactions."""
    return [*((factor,) for factor in factors), *combinations(factors, 2)]


@lru_cache(maxsize=16)
def _aliases_of(cells: tuple[tuple[bool, ...], ...], highest: int) -> "_Aliases":
    """The aliases of these cells, which do not depend on what the cells reached."""
    return _Aliases(np.where(np.array(cells), 1.0, -1.0), highest)


class _Aliases:
    """Effects that a set of cells cannot tell from each other; levels are coded as -1 and +1."""

    def __init__(self, levels: Floats, highest: int) -> None:
        count = levels.shape[1]
        self.effects: list[Columns] = [()]
        """The contrasts in the order of their columns: the mean, main effects, then interactions.
        """
        for size in range(1, min(highest, count) + 1):
            if size > 2 and len(self.effects) + comb(count, size) > _MOST_EFFECTS:
                break
            self.effects += combinations(range(count), size)
        products = [levels[:, list(effect)].prod(axis=1) for effect in self.effects]
        self.columns: Floats = np.stack(products, axis=1)
        self._parts: dict[int, Floats] = {}
        self._free: dict[int, Floats] = {}

    def beyond(self, index: int, size: int) -> list[Columns]:
        """Effects of more than `size` factors with a part in an estimate by a model without
        them.
        """
        inside = self._count_up_to(size)
        if size not in self._parts:
            model, others = self.columns[:, :inside], self.columns[:, inside:]
            self._parts[size] = np.linalg.pinv(model) @ others
        return self._ranked(self._parts[size][index], self.effects[inside:])

    def within(self, index: int, size: int) -> list[Columns]:
        """Effects of at most `size` factors that stand in the way of telling one of them."""
        inside = self._count_up_to(size)
        if size not in self._free:
            _, sizes, right = np.linalg.svd(self.columns[:, :inside], full_matrices=True)
            self._free[size] = right[int(np.sum(sizes > _ZERO * sizes[0])) :]
        free = self._free[size]
        parts = free[:, index] @ free
        parts[index] = 0.0
        return self._ranked(parts, self.effects[:inside])

    def _count_up_to(self, size: int) -> int:
        return sum(len(effect) <= size for effect in self.effects)

    def _ranked(self, parts: Floats, effects: Sequence[Columns]) -> list[Columns]:
        """The contrasts that have a part, the largest first, and among equal ones those of few
        factors.
        """
        found = [
            (-round(abs(float(part)), 6), len(effect), effect)
            for part, effect in zip(parts, effects, strict=True)
            if abs(part) > _NO_PART
        ]
        return [effect for _, _, effect in sorted(found)]


@dataclass(frozen=True)
class PlacedEffect:
    """Difference that a step made at its place in one order, by seed."""

    step: str
    differences: Values


def order_contrasts(
    placed: Sequence[PlacedEffect], cells: Mapping[frozenset[str], Values], steps: Sequence[str]
) -> list[Contrast]:
    """Each step's effect averaged over its places, and the interactions that orders can tell.

    The averages count seeds that a step has at all its places. `cells` are the places by the steps
    that are there, the baseline included: interactions are fitted to them as to those of a
    factorial, so that what another step does on the way is not taken for that of the pair.
    """
    of_step = {step: [effect for effect in placed if effect.step == step] for step in steps}
    magnitude = magnitude_of(*(list(values.values()) for values in cells.values()))
    mains = [
        Contrast((step,), effect_of(list(_mean_by_seed(effects).values()), magnitude))
        for step, effects in of_step.items()
    ]
    levels = {tuple(step in cell for step in steps): values for cell, values in cells.items()}
    contrasts = factorial_contrasts(levels, steps, highest=2)
    return mains + [contrast for contrast in contrasts if len(contrast.factors) == 2]


def _mean_by_seed(effects: Sequence[PlacedEffect]) -> dict[int, float]:
    """The mean over the places for each seed that all of them have."""
    if not effects:
        return {}
    seeds = set.intersection(*(set(effect.differences) for effect in effects))
    return {seed: fmean(effect.differences[seed] for effect in effects) for seed in sorted(seeds)}


def _solved(model: Floats, metric: Floats) -> Floats:
    """Coefficients by least squares; what rounding leaves of a zero is zero."""
    solved = np.linalg.pinv(model) @ metric
    solved[abs(solved) < _ROUNDING * abs(metric).max(initial=0.0)] = 0.0
    return np.asarray(solved)


def _estimable(matrix: Floats) -> list[bool]:
    """Tell whether the cells determine each coefficient of a linear model: no part in the null
    space.
    """
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    rank = int(np.sum(sizes > _ZERO * sizes[0]))
    return [bool(np.all(abs(right[rank:, column]) < _NO_PART)) for column in range(matrix.shape[1])]
