"""Contrasts as lines of a table: over how many seeds, and what they are aliased with."""

from collections.abc import Sequence

from orchestrator.analysis.design_effects.lines import (
    INTERACTION,
    MAIN,
    EffectLine,
    coverage,
    seeds_asked,
)
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.search_luck import contrast_luck, repeats_of
from orchestrator.stats.contrasts import Contrast, Factors
from orchestrator.text import first_of

_MOST_NAMED = 3
"""Effects that a note names; of more it tells the number."""


def contrast_line(
    regime: str, design: str, contrast: Contrast, rows: Sequence[StepRow]
) -> EffectLine:
    """The line of a contrast over the cells of `rows`."""
    kind = MAIN if len(contrast.factors) == 1 else INTERACTION
    if contrast.effect is None:
        return EffectLine(regime, kind, contrast.factors, None, _why_not(contrast))
    variants = [row.variant for row in rows]
    effect, luck = contrast_luck(contrast.effect, contrast.factors, variants)
    asked = repeats_of(*variants)
    if asked == 1:
        asked = len(seeds_asked(rows))
    caveat = "; ".join(filter(None, (coverage(effect.pairs, asked), luck)))
    delta = StepEffect(effect, design, caveat=caveat, decimals=rows[0].decimals)
    note = f"aliased with {named(contrast.aliases)}" if contrast.aliases else ""
    return EffectLine(regime, kind, contrast.factors, delta, note)


def _why_not(contrast: Contrast) -> str:
    if not contrast.aliases:
        return "no seed is done in all cells"
    return f"fully aliased with {named(contrast.aliases)} in these cells"


def named(effects: Sequence[Factors]) -> str:
    """`b × c, d and 4 more`."""
    names = [" × ".join(effect) or "the mean of all cells" for effect in effects]
    return first_of(names, _MOST_NAMED)
