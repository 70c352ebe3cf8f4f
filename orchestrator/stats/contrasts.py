"""Main effects and two-way interactions from the cells of a factorial, and from the same steps taken in several orders. Pure.

Everything is computed seed by seed, so that a contrast has one value for each seed and is tested like any other paired effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np

from orchestrator.stats.inference import Effect, Floats, effect_of

Values = Mapping[int, float]
"""A metric by seed."""
_ZERO = 1e-9


@dataclass(frozen=True)
class Contrast:
    """A main effect, with one factor, or an interaction, with two."""

    factors: tuple[str, ...]
    effect: Effect | None
    caveat: str = ""
    """What it assumes, or why there is none."""


def factorial_contrasts(
    cells: Mapping[tuple[bool, ...], Values], factors: Sequence[str]
) -> list[Contrast]:
    """Main effects and two-way interactions by least squares over the cells, for each seed that all cells have.

    A main effect is what the factor does on average over the others' levels; an interaction is how much one factor's effect
    changes when the other is there. Where cells are missing, or in a fraction, an interaction that cannot be told from others has
    no effect and says so; a main effect that cannot is given under the assumption that there are no interactions.
    """
    seeds = sorted(set.intersection(*(set(values) for values in cells.values()))) if cells else []
    if not seeds:
        return []
    levels = np.array(list(cells), dtype=np.float64) - 0.5
    metric = np.array([[values[seed] for seed in seeds] for values in cells.values()])
    pairs = list(combinations(range(len(factors)), 2))
    columns = [np.ones(len(cells)), *levels.T]
    simple = np.stack(columns, axis=1)
    full = np.stack([*columns, *(levels[:, a] * levels[:, b] for a, b in pairs)], axis=1)
    told_apart, told_apart_simply = _estimable(full), _estimable(simple)
    solved, solved_simply = np.linalg.pinv(full) @ metric, np.linalg.pinv(simple) @ metric
    contrasts = []
    for index, factor in enumerate(factors, start=1):
        if told_apart[index]:
            contrasts.append(Contrast((factor,), effect_of(solved[index].tolist())))
        elif told_apart_simply[index]:
            contrasts.append(
                Contrast(
                    (factor,),
                    effect_of(solved_simply[index].tolist()),
                    "if there are no interactions",
                )
            )
        else:
            contrasts.append(
                Contrast((factor,), None, "cannot be told from the other steps' in these cells")
            )
    for index, (a, b) in enumerate(pairs, start=1 + len(factors)):
        effect = effect_of(solved[index].tolist()) if told_apart[index] else None
        caveat = "" if told_apart[index] else "cannot be told from other effects in these cells"
        contrasts.append(Contrast((factors[a], factors[b]), effect, caveat))
    return contrasts


@dataclass(frozen=True)
class PlacedEffect:
    """What a step did at its place in one order, by seed."""

    step: str
    differences: Values


def order_contrasts(
    placed: Sequence[PlacedEffect], cells: Mapping[frozenset[str], Values], steps: Sequence[str]
) -> list[Contrast]:
    """Each step's effect averaged over its places in the orders, and every two-way interaction that the orders can tell.

    The averages count seeds that a step has at all its places. `cells` are the places by the steps that are there, the baseline
    included: interactions are fitted to them as to those of a factorial, so that what another step does on the way is not taken
    for that of the pair.
    """
    of_step = {step: [effect for effect in placed if effect.step == step] for step in steps}
    mains = [
        Contrast((step,), effect_of(list(_mean_by_seed(effects).values())))
        for step, effects in of_step.items()
        if effects
    ]
    levels = {tuple(step in cell for step in steps): values for cell, values in cells.items()}
    return mains + [
        contrast for contrast in factorial_contrasts(levels, steps) if len(contrast.factors) == 2
    ]


def _mean_by_seed(effects: Sequence[PlacedEffect]) -> dict[int, float]:
    if not effects:
        return {}
    seeds = set.intersection(*(set(effect.differences) for effect in effects))
    return {seed: fmean(effect.differences[seed] for effect in effects) for seed in sorted(seeds)}


def _estimable(matrix: Floats) -> list[bool]:
    """Which coefficients of a linear model the cells determine: those with no part in the matrix's null space."""
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    rank = int(np.sum(sizes > _ZERO * sizes[0]))
    return [bool(np.all(abs(right[rank:, column]) < 1e-7)) for column in range(matrix.shape[1])]
