"""Contrasts as lines of a table: over how many seeds, and what they cannot be told from."""

from collections.abc import Sequence

from orchestrator.analysis.design_effects.lines import INTERACTION, MAIN, EffectLine, coverage
from orchestrator.analysis.effects import StepEffect
from orchestrator.stats.contrasts import Contrast, Factors

_MOST_NAMED = 3
"""Effects that a note names; of more it tells the number."""


def contrast_line(
    regime: str, design: str, contrast: Contrast, seeds: int, decimals: int
) -> EffectLine:
    """The line of a contrast; `seeds` is the number that was asked for."""
    kind = MAIN if len(contrast.factors) == 1 else INTERACTION
    if contrast.effect is None:
        return EffectLine(regime, kind, contrast.factors, None, _why_not(contrast))
    caveat = coverage(contrast.effect.pairs, seeds)
    delta = StepEffect(contrast.effect, design, caveat=caveat, decimals=decimals)
    note = f"together with {named(contrast.aliases)}" if contrast.aliases else ""
    return EffectLine(regime, kind, contrast.factors, delta, note)


def _why_not(contrast: Contrast) -> str:
    if not contrast.aliases:
        return "no seed is done in all cells"
    return f"cannot be told from {named(contrast.aliases)} in these cells"


def named(effects: Sequence[Factors]) -> str:
    """`b × c, d and 4 more`."""
    names = [" × ".join(effect) or "the mean of all cells" for effect in effects]
    if len(names) <= _MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
