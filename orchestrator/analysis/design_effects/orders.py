"""Effects of steps in several orders: averages over their places, interactions, and each place."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.analysis.comparisons import effect_against
from orchestrator.analysis.design_effects.contrast_lines import contrast_line
from orchestrator.analysis.design_effects.lines import (
    INTERACTION,
    MAIN,
    PLACE,
    EffectLine,
    Effects,
    RegimeRows,
    counts,
    end_of,
    rows_left_out,
    seeds_left_out,
)
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.search_luck import by_repeat, repeats_of
from orchestrator.spec.designs import Design
from orchestrator.spec.latin_squares import (
    Order,
    is_balanced_for_order,
    most_uneven,
    places_of,
)
from orchestrator.stats.contrasts import PlacedEffect, order_contrasts


def order_effects(design: Design, view: RegimeRows) -> Effects:
    """Averages and interactions over the design's orders and the road, which is one order more."""
    rows = [row for row in view.rows if row.variant.follows is None or row.variant.cell.place]
    orders = _orders(rows)
    if not orders:
        return Effects()
    steps = orders[0]
    placed = _placed(rows, view)
    repeats = repeats_of(*(row.variant for row in rows))
    cells = {
        frozenset(row.variant.cell.steps): by_repeat(row.values, repeats)
        for row in rows
        if counts(row)
    }
    lines, untold = [], []
    for contrast in order_contrasts(placed, cells, steps):
        line = contrast_line(view.regime, design.name, contrast, rows)
        if line.kind == MAIN:
            found = sum(effect.step == line.steps[0] for effect in placed)
            line = _with_places(line, found, len(orders))
        if line.kind == INTERACTION and contrast.aliases:
            untold.append(line.label)
        else:
            lines.append(line)
    left_out = rows_left_out(rows) + seeds_left_out(rows)
    if untold:
        left_out = [
            f"interactions that are aliased with others in these orders: {', '.join(untold)}",
            *left_out,
        ]
    return Effects([*lines, *_at_places(rows, view)], left_out, [_balance(orders)])


def _orders(rows: Sequence[StepRow]) -> list[Order]:
    """The steps of each order that goes through all of them, the road's first."""
    longest: dict[int, Order] = {}
    for row in rows:
        cell = row.variant.cell
        if cell.place and len(cell.steps) > len(longest.get(cell.place.order, ())):
            longest[cell.place.order] = cell.steps
    most = max(map(len, longest.values()), default=0)
    return [longest[order] for order in sorted(longest) if len(longest[order]) == most]


def _placed(rows: Sequence[StepRow], view: RegimeRows) -> list[PlacedEffect]:
    """The difference that each step made at each of its places, where both sides are done."""
    placed = []
    repeats = repeats_of(*(row.variant for row in rows))
    for row in rows:
        before = view.row(row.variant.follows)
        if before is None or not counts(row) or not counts(before):
            continue
        shared = row.values.keys() & before.values.keys()
        differences = {seed: row.values[seed] - before.values[seed] for seed in shared}
        placed.append(PlacedEffect(row.variant.step, by_repeat(differences, repeats)))
    return placed


def _at_places(rows: Sequence[StepRow], view: RegimeRows) -> list[EffectLine]:
    """A line for each place of each order."""
    lines = []
    for row in rows:
        before = view.row(row.variant.follows)
        if before is None:
            continue
        steps, place = (row.variant.step,), row.variant.cell.place
        delta, note = effect_against(row, before), end_of(row) or end_of(before)
        pair = (row.variant, before.variant)
        lines.append(EffectLine(view.regime, PLACE, steps, delta, note, place, pair))
    return lines


def _with_places(line: EffectLine, found: int, asked: int) -> EffectLine:
    """The line, with a note where the average lacks places."""
    if found == asked:
        return line
    note = "none of its places is done"
    if found:
        note = f"over {found} of {asked} places"
    return replace(line, note=note)


def _balance(orders: Sequence[Order]) -> str:
    """Remark on the balance of the orders, the road's among them."""
    uneven = most_uneven(orders)
    ahead = "every step comes before every other as often as after it"
    if not is_balanced_for_order(orders):
        ahead = "not every step comes before every other as often as after it"
    if uneven == 0:
        places = "every step stands at every place equally often"
        return f"Balanced over these {len(orders)} orders: {places}, and {ahead}."
    listed = "; ".join(
        f"{step} at {', '.join(map(str, found))}" for step, found in places_of(orders).items()
    )
    degree = "As balanced over the places" if uneven == 1 else "Not as balanced over the places"
    return f"{degree} as {len(orders)} orders can be: {listed}. In them, {ahead}."
