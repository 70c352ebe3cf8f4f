"""Two variants against each other, by the test that a spec declares. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.stats.inference import CONFIDENCE, Effect, paired_effect
from orchestrator.stats.registry import TESTS


def effect_between(
    values: Mapping[int, float],
    versus: Mapping[int, float],
    test: str = "paired",
    confidence: float = CONFIDENCE,
) -> Effect | None:
    """`values` minus `versus`, both by seed; none where there is nothing to compare.

    Independent samples have a correlation over their common seeds, too: it says what pairing would
    have gained.
    """
    between = TESTS[test].between
    if between is None:
        return paired_effect(values, versus, TESTS[test], confidence)
    effect = between(
        [values[seed] for seed in sorted(values)],
        [versus[seed] for seed in sorted(versus)],
        confidence,
    )
    paired = paired_effect(values, versus)
    if effect is None or paired is None:
        return effect
    return replace(effect, correlation=paired.correlation)
