"""Effects that are each the difference between two cells: a step alone, and a step left out."""

from orchestrator.analysis.comparisons import effect_against
from orchestrator.analysis.design_effects.lines import MAIN, EffectLine, Effects, RegimeRows, end_of
from orchestrator.analysis.rows import StepRow
from orchestrator.spec.designs import Design


def effects_alone(design: Design, view: RegimeRows) -> Effects:
    """Each cell minus the variant that it follows."""
    lines = []
    for row in view.of_design(design.name):
        lines.append(_line(view, row, view.row(row.variant.follows), row))
    return Effects(lines)


def effects_left_out(design: Design, view: RegimeRows) -> Effects:
    """The variant with every step minus each cell, which lacks one."""
    lines = []
    for row in view.of_design(design.name):
        lines.append(_line(view, view.row(row.variant.follows), row, row))
    return Effects(lines)


def _line(
    view: RegimeRows, having: StepRow | None, lacking: StepRow | None, of_cell: StepRow
) -> EffectLine:
    """The row that has the step minus the row that lacks it; `of_cell` is the design's own."""
    steps = (of_cell.variant.step,)
    if having is None or lacking is None:
        return EffectLine(view.regime, MAIN, steps, None, "the steps exclude one another")
    delta = effect_against(having, lacking, view.looks)
    pair = (having.variant, lacking.variant)
    return EffectLine(view.regime, MAIN, steps, delta, end_of(of_cell), pair=pair)
