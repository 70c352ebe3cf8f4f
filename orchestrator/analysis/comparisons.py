"""One variant compared with another: their means where all trials trained alike, and else how many
trained at all.

A trial that failed or diverged is not missing at random: which trials survive is itself an effect.
So a mean over the survivors is shown, and never tested; Fisher's test of how many trained as they
should stands in its place. Figures that are still to come decide nothing.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.analysis.copies import copies_text
from orchestrator.analysis.decimals import decimals_of_effect
from orchestrator.analysis.effects import Sides, StepEffect
from orchestrator.analysis.rows import StepRow, of_seeds
from orchestrator.analysis.search_luck import (
    by_repeat,
    is_of_one_search,
    luck_text,
    repeats_that_differ,
)
from orchestrator.metrics import sign_of
from orchestrator.stats.comparison import effect_between
from orchestrator.stats.equivalence import equivalence_p_value, probability_of_improvement
from orchestrator.stats.inference import (
    CONFIDENCE,
    Effect,
    counting_looks,
    p_at_looks,
    without_spread,
)
from orchestrator.stats.rates import Rate, Rates
from orchestrator.stats.registry import TESTS
from orchestrator.text import spaced, tally


def effect_against(
    row: StepRow, versus: StepRow | None, looks: Sequence[int] = ()
) -> StepEffect | None:
    """The difference to another row, with what a reader must know of it; none where nothing of it
    has ended.

    `looks` are those of seeds that are added as needed: then both rows count the seeds that both
    have, each look has its p-value, by whichever test fits what it saw, and all looks are paid for.
    """
    if versus is None:
        return None
    here, there = row, versus
    if looks:
        here, there = _paired_rows(row, versus)
    effect = _effect(here, there, 1 - (1 - CONFIDENCE) / max(1, len(looks)))
    rates = rates_of(here, there)
    if effect is None and rates is None:
        return None
    to_come = _to_come(here, there)
    delta = StepEffect(
        effect,
        versus.variant.name,
        caveat="; ".join(_caveats(here, there, effect, rates, to_come)),
        rates=rates,
        sides=_sides(here, there),
        improvement=_improvement(here, there),
    )
    copies = [side for side in (there, here) if side.are_copies and not rates]
    if copies:
        delta = _of_copies(delta, [side.variant.name for side in copies])
    elif is_of_one_search(here.variant, there.variant):
        delta = _with_p_values(delta, None, None)
    elif to_come:
        delta = replace(_with_p_values(delta, None, None), to_come=to_come)
    elif looks:
        delta = _with_p_values(delta, *_p_values_at_looks(here, there, looks))
    else:
        delta = _with_p_values(delta, *_p_values(here, effect, rates))
    usual = min(row.usual_decimals, versus.usual_decimals)
    return replace(delta, decimals=decimals_of_effect(delta.effect, usual))


def _of_copies(delta: StepEffect, names: Sequence[str]) -> StepEffect:
    """The difference to a variant whose seeds change nothing: not tested, without an interval."""
    effect = delta.effect and without_spread(delta.effect)
    return replace(delta, effect=effect, caveat=copies_text(names))


def _with_p_values(
    delta: StepEffect, p_value: float | None, equivalence: float | None
) -> StepEffect:
    """The difference as it is tested, and as it is shown: of survivors without an interval."""
    effect = delta.effect
    if effect and delta.rates:
        effect = Effect(effect.mean, None, None, effect.pairs, effect.std, test=effect.test)
    elif effect:
        effect = replace(effect, p_value=p_value)
    return replace(delta, effect=effect, p_value=p_value, equivalence=equivalence)


def _effect(here: StepRow, there: StepRow, confidence: float = CONFIDENCE) -> Effect | None:
    """The difference of the means over seeds; where searches differ, over their repeats."""
    test, repeats = here.metric.test, repeats_that_differ(here.variant, there.variant)
    values, others = here.compared_values, there.compared_values
    if repeats == 1:
        return effect_between(values, others, test, confidence)
    shared = values.keys() & others.keys()
    mine = by_repeat({seed: values[seed] for seed in shared}, repeats)
    its = by_repeat({seed: others[seed] for seed in shared}, repeats)
    return effect_between(mine, its, test, confidence)


def rates_of(here: StepRow, there: StepRow) -> Rates | None:
    """Rates of trials that did not train as they should; None where means describe all of them."""
    if (here.is_uniform and there.is_uniform) or not here.ended or not there.ended:
        return None
    return Rates(_rate(here), _rate(there))


def _paired_rows(row: StepRow, versus: StepRow) -> tuple[StepRow, StepRow]:
    seeds = row.outcome_of.keys() & versus.outcome_of.keys()
    return of_seeds(row, seeds), of_seeds(versus, seeds)


def _p_values(
    here: StepRow, effect: Effect | None, rates: Rates | None
) -> tuple[float | None, float | None]:
    """p-values of this comparison and of being equivalent, before correction.

    Survivors show nothing about being the same.
    """
    if rates:
        return rates.p_value, None
    if effect is None:
        return None, None
    return effect.p_value, equivalence_p_value(effect, here.metric.matters)


def _p_values_at_looks(
    here: StepRow, there: StepRow, looks: Sequence[int]
) -> tuple[float | None, float | None]:
    """The two p-values where figures are looked at more than once; each look goes by what it
    saw.
    """
    found = {}
    taken = counting_looks((), looks, _ended_on_both(here, there))
    for look in taken:
        one, other = of_seeds(here, range(look)), of_seeds(there, range(look))
        effect = _effect(one, other)
        found[look] = _p_values(one, effect, rates_of(one, other))
    return (
        p_at_looks(lambda look: found[look][0], looks, taken),
        p_at_looks(lambda look: found[look][1], looks, taken),
    )


def _ended_on_both(here: StepRow, there: StepRow) -> set[int]:
    return set(here.ended) & set(there.ended)


def _to_come(here: StepRow, there: StepRow) -> tuple[int, int] | None:
    """Seeds that are through on both sides, and how many are asked for on both; none where nothing
    is to come.
    """
    asked = here.outcome_of.keys() & there.outcome_of.keys()
    through = _ended_on_both(here, there)
    is_complete = asked <= through
    if TESTS[here.metric.test].between:  # every seed of either side counts
        is_complete = all(len(row.ended) == len(row.outcome_of) for row in (here, there))
    if is_complete:
        return None
    return len(through), len(asked)


def _sides(here: StepRow, there: StepRow) -> Sides:
    if not here.fingerprints or not there.fingerprints:
        return frozenset()
    return frozenset(tuple(sorted(row.fingerprints.values())) for row in (here, there))


def _improvement(here: StepRow, there: StepRow) -> float | None:
    """Chance of a better seed. A trial that did not train as it should is behind all that did, and
    ties with its like.
    """
    if here.is_uniform and there.is_uniform:
        return probability_of_improvement(*(_scores(row, row.values) for row in (here, there)))
    scores = [
        _scores(row, row.finished_values) + [-math.inf] * len(row.bad) for row in (here, there)
    ]
    return probability_of_improvement(*scores)


def _scores(row: StepRow, values: Mapping[int, float]) -> list[float]:
    """The values, larger ones better."""
    sign = sign_of(row.metric.mode)
    return [sign * value for value in values.values()]


def _caveats(
    here: StepRow,
    there: StepRow,
    effect: Effect | None,
    rates: Rates | None,
    to_come: tuple[int, int] | None,
) -> list[str]:
    if to_come:
        caveats = [f"{to_come[0]} of {to_come[1]} seeds so far"]
        if rates:
            caveats.append(rates.text)
        return caveats
    if rates:
        caveats = [f"{rates.text}: p compares these counts, by Fisher's exact test"]
        if effect:
            caveats.insert(0, "only seeds that finished")
        return caveats
    assert effect is not None
    if len(_sides(here, there)) == 1:
        return ["the same trials on both sides"]
    return _caveats_of_means(here, there, effect)


def _caveats_of_means(here: StepRow, there: StepRow, effect: Effect) -> list[str]:
    caveats = list(filter(None, [luck_text(here.variant, there.variant)]))
    wanted = max(len(here.outcome_of), len(there.outcome_of))
    if effect.pairs < wanted and repeats_that_differ(here.variant, there.variant) == 1:
        caveats.append(f"over {effect.pairs} of {wanted} seeds")
    if effect.std == 0.0 and effect.test.between:
        caveats.append("no variation on either side: no interval, p by permutation")
    elif effect.std == 0.0:
        caveats.append("the same difference for every seed: no interval, p by sign flips")
    return caveats


def _rate(row: StepRow) -> Rate:
    kinds = dict(sorted(Counter(row.bad.values()).items()))
    how = f"({tally(kinds)})" if len(kinds) > 1 else "".join(map(spaced, kinds))
    return Rate(len(row.bad), len(row.ended), how)
