"""Variation of searches in an effect: where two variants' settings were found by different
searches, and how repeats include it.

Whatever a search finds in one try is the same for all seeds of the report, so no number of seeds
puts its variation into an interval. Where a search is repeated, the unit that varies is the repeat:
an effect is the mean over repeats, each averaged over its seeds.
`benchmarks/calibration_searches.py` measures what would happen otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from orchestrator.stats.inference import Effect, Summary, summarise
from orchestrator.trial import Variant, variant_label


def search_luck_differs(one: Variant, other: Variant) -> bool:
    """True if two variants differ in settings that a search found for one of them.

    Not where both have them from the same search, and not where different searches came to the
    same.
    """
    keys = one.found_by.keys() | other.found_by.keys()
    pairs = [
        (one.of_seed(repeat), other.of_seed(repeat)) for repeat in range(repeats_of(one, other))
    ]
    return any(
        mine.config.setting(key) != its.config.setting(key) for mine, its in pairs for key in keys
    )


def repeats_of(*variants: Variant) -> int:
    """Number of times that the variants were searched; 1 also where nothing was."""
    return max((variant.search_repeats or 1 for variant in variants), default=1)


def by_repeat(values: Mapping[int, float], repeats: int) -> dict[int, float]:
    """Means over the seeds of each repeat, the unit that varies where searches differ; the same
    values where there is but one.
    """
    if repeats == 1:
        return dict(values)
    seeds: dict[int, list[float]] = {}
    for seed, value in values.items():
        seeds.setdefault(seed % repeats, []).append(value)
    return {repeat: fmean(seeds[repeat]) for repeat in sorted(seeds)}


def repeats_that_differ(one: Variant, other: Variant) -> int:
    """Number of repeats that a comparison is the mean over; 1 where one search settled both
    sides.
    """
    if not search_luck_differs(one, other):
        return 1
    return repeats_of(one, other)


def is_of_one_search(one: Variant, other: Variant) -> bool:
    """True if a comparison has a luck in it that no repeat replicates, so that nothing may be
    decided.
    """
    return search_luck_differs(one, other) and (
        repeats_of(one, other) == 1 or _repeats_differ(one, other)
    )


def luck_text(one: Variant, other: Variant) -> str:
    """Caveat on the variation of searches in a comparison; empty where there is none."""
    if not search_luck_differs(one, other):
        return ""
    repeats = repeats_of(one, other)
    if _repeats_differ(one, other):
        return _untested_text("searches with different numbers of repeats")
    if repeats == 1:
        sides = "each side" if one.found_by and other.found_by else "one side"
        return _untested_text(f"one search on {sides}")
    return f"over {repeats} searches, each averaged over its seeds"


def _repeats_differ(one: Variant, other: Variant) -> bool:
    return len({one.search_repeats, other.search_repeats} - {None}) > 1


def contrast_luck(
    effect: Effect, factors: Sequence[str], variants: Sequence[Variant]
) -> tuple[Effect, str]:
    """Luck in an effect over the cells of a design, from `by_repeat`; `factors` are its steps."""
    searched = {label for variant in variants for label in variant.found_by.values()}
    regimes = {variant.regime for variant in variants}
    if not searched & {variant_label(regime, name) for regime in regimes for name in factors}:
        return effect, ""
    repeats = repeats_of(*variants)
    if repeats == 1:
        return replace(effect, p_value=None), _untested_text("one search")
    return replace(effect, std=None), f"over {repeats} searches"


def _untested_text(what: str) -> str:
    """Caveat where the luck of one search cannot be told from what the step does."""
    caveat = (
        f"conditional on {what}: the interval leaves out the search's own variation, so "
        "nothing is decided"
    )
    return f"{caveat}; `repeats: 5` in the search includes it"


def summary_over_repeats(variant: Variant, values: Mapping[int, float]) -> Summary | None:
    """The mean over repeats with the interval between them; of a variant whose search was done
    once, over seeds.
    """
    plain = summarise(list(values.values()))
    over = summarise(list(by_repeat(values, repeats_of(variant)).values()))
    if plain is None or over is None:
        return None
    return Summary(over.mean, plain.std, over.ci95)
