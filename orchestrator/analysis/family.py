"""The family of a report: every comparison that any of its tables tests, corrected together by
Holm's method.

Why all tables together, and not one table after the other: a road whose first step is undecided
would bar the other designs if they had to wait for it, and a reader looks at any table and takes
the one finding that is there, whichever question it answers. So the promise is about the report: of
sweeps without any effect, at most one in 20 shows one in any table.

The same trials compared with the same in two tables are one comparison, with one p-value; a thing
compared with itself is none. Comparisons whose trials are still to come are counted already, so
that what is decided does not depend on which come first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.analysis.copies import copies_text
from orchestrator.analysis.decimals import decimals_of_effect
from orchestrator.analysis.effects import Sides, StepEffect, Verdict, better_or_worse
from orchestrator.analysis.rows import StepRow, of_seeds
from orchestrator.analysis.sections import EffectLine, Section
from orchestrator.errors import counted
from orchestrator.spec.schema import MetricSchema
from orchestrator.stats.equivalence import equivalence_p_value
from orchestrator.stats.inference import LEVEL, effect_of, holm, without_spread
from orchestrator.stats.power import detectable, prospect, spread_of
from orchestrator.stats.registry import TESTS

Key = tuple[Sides, float] | int
"""Key that makes two comparisons one: the same trials and p-value; a number stands alone."""

ALL_TABLES = "all tables"
"""Scope of a correction that is over every table of the report."""


@dataclass(frozen=True)
class Family:
    """Comparisons that share one error of 5 %."""

    size: int = 0
    scope: str = ALL_TABLES
    """Tables that it is over, or designs."""
    looks_before: int = 0
    """Number of earlier looks at figures with other seeds."""

    @property
    def text(self) -> str:
        """`23 comparisons: all tables of this report`."""
        where = self.scope
        if where == ALL_TABLES:
            where = f"{where} of this report"
        return f"{counted(self.size, 'comparison')}: {where}"

    def to_json(self) -> dict[str, Any]:
        """The form in `report --format json`."""
        return {"size": self.size, "scope": self.scope, "looks_before": self.looks_before}


@dataclass(frozen=True)
class Rules:
    """Rules of testing: what the spec says, and which looks were taken before."""

    metric: MetricSchema
    looks: Sequence[int] = ()
    """Numbers of seeds at which comparisons are looked at, where seeds are added as needed."""
    looks_before: int = 0
    designs: Sequence[str] | None = None
    """Designs whose comparisons are tested; None for all."""

    counts_to_come: bool = True
    """True if comparisons hold their place in the family before their trials have ended."""

    def tests(self, design: str) -> bool:
        """True if the comparisons of a design are tested, or only described."""
        return self.designs is None or design in self.designs


def with_family(
    rows: Sequence[StepRow], sections: Sequence[Section], rules: Rules
) -> tuple[list[StepRow], list[Section], Family]:
    """Every table with corrected p-values and verdicts, whatever they had before."""
    lines = [(section, line) for section in sections for line in section.lines]
    deltas = [_tested(row, rules) for row in rows]
    deltas += [_tested_line(section, line, rows, rules) for section, line in lines]
    not_begun = _rows_not_begun(rows, rules) + _lines_not_begun(rows, sections, rules)
    found, size = judged(deltas, not_begun, rules)
    of_rows, of_lines = found[: len(rows)], iter(found[len(rows) :])
    result = [
        replace(row, delta_previous=delta or _described(row.delta_previous))
        for row, delta in zip(rows, of_rows, strict=True)
    ]
    judged_sections = [
        replace(
            section,
            lines=[
                replace(line, delta=next(of_lines) or _described(line.delta))
                for line in section.lines
            ],
        )
        for section in sections
    ]
    scope = ALL_TABLES
    if rules.designs is not None:
        scope = ", ".join(rules.designs)
    return result, judged_sections, Family(size, scope, rules.looks_before)


def _tested(row: StepRow, rules: Rules) -> StepEffect | None:
    if not rules.tests(row.variant.design):
        return None
    return row.delta_previous


def _tested_line(
    section: Section, line: EffectLine, rows: Sequence[StepRow], rules: Rules
) -> StepEffect | None:
    if not rules.tests(section.design) or not line.is_tested:
        return None
    return _ready(line, _rows_behind(section, line, rows, rules), rules)


def judged(
    deltas: Sequence[StepEffect | None], not_begun: int, rules: Rules
) -> tuple[list[StepEffect | None], int]:
    """Comparisons with corrected p-values, verdicts and power, and how many they are.

    `not_begun` counts comparisons of which nothing is there yet. Each holds its place in the family
    with p = 1.
    """
    keys = {
        index: _key(index, delta)
        for index, delta in enumerate(deltas)
        if _is_one(delta, rules.counts_to_come)
    }
    family = {key: delta for index, key in keys.items() if (delta := deltas[index])}
    size = len(family) + not_begun
    differ = _corrected(family, lambda delta: delta.p_value, not_begun, rules)
    equal = _corrected(family, lambda delta: delta.equivalence, not_begun, rules)
    result: list[StepEffect | None] = []
    for index, delta in enumerate(deltas):
        key = keys.get(index)
        if delta is None or key is None or delta.p_value is None:
            result.append(delta and _described(delta))
        else:
            delta = replace(delta, adjusted_p_value=differ[key])
            verdict = verdict_of(delta, equal[key], rules.metric.mode)
            result.append(_with_power(replace(delta, verdict=verdict), size, rules))
    return result, size


def verdict_of(delta: StepEffect, equivalence: float, mode: str) -> Verdict:
    """Claim that may be made; `equivalence` is the corrected p-value of not mattering."""
    if equivalence < LEVEL:
        return "equivalent"
    if not delta.is_decided:
        return "open"
    rates = delta.rates
    if rates and rates.here.share != rates.there.share:
        return better_or_worse(rates.here.share - rates.there.share, "min")
    return better_or_worse(delta.mean or 0.0, mode)


def _key(index: int, delta: StepEffect | None) -> Key:
    if delta is None or not delta.sides:
        return index
    if delta.p_value is None:
        return delta.sides, -1.0
    return delta.sides, round(delta.p_value, 12)


def _is_one(delta: StepEffect | None, counts_to_come: bool) -> bool:
    """True if there is, or will be, something to test."""
    if delta is None or delta.is_of_itself:
        return False
    return delta.p_value is not None or (counts_to_come and delta.to_come is not None)


def _corrected(
    family: Mapping[Key, StepEffect],
    p_of: Callable[[StepEffect], float | None],
    not_begun: int,
    rules: Rules,
) -> dict[Key, float]:
    """Holm's correction; each look before doubles a p-value, and what has none yet counts with
    1.
    """
    price = 2.0**rules.looks_before
    p_values = [p_of(delta) for delta in family.values()]
    paid = [_paid(p, price) for p in p_values] + [1.0] * not_begun
    return {key: float(p or 0.0) for key, p in zip(family, holm(paid), strict=False)}


def _paid(p_value: float | None, price: float) -> float:
    if p_value is None:
        return 1.0
    return min(1.0, price * p_value)


def _with_power(delta: StepEffect, size: int, rules: Rules) -> StepEffect:
    if delta.effect is None or delta.rates:
        return delta
    spread = spread_of(delta.effect)
    if spread is None:
        return delta
    seeds, looks = spread.seeds, 1
    if delta.sides and rules.looks:
        seeds, looks = rules.looks[-1], len(rules.looks)
    comparisons = size * looks * 2**rules.looks_before
    delta = replace(delta, detectable=detectable(spread, seeds, comparisons))
    if rules.metric.matters is None:
        return delta
    return replace(delta, prospect=prospect(spread, rules.metric.matters, seeds, comparisons))


def _described(delta: StepEffect | None) -> StepEffect | None:
    """Effect without anything that is decided."""
    return delta and replace(delta, adjusted_p_value=None, verdict=None)


def _ready(line: EffectLine, behind: Sequence[StepRow], rules: Rules) -> StepEffect | None:
    """A line's effect with all that the family needs; an average over cells has one value for each
    seed.

    An average is not tested while trials behind it are to come, nor where some failed: it is over
    the seeds of the others.
    """
    delta = line.delta
    if delta is None or delta.sides or delta.effect is None:
        return delta
    if delta.effect.pairs > 1 and delta.effect.p_value is None:
        # it has the luck of one search in it
        return delta
    effect, test = delta.effect, TESTS[rules.metric.test]
    if test.judge:
        effect = effect_of(effect.differences, test=test) or effect
    decimals = decimals_of_effect(effect, delta.decimals)
    delta = replace(delta, effect=effect, decimals=decimals)
    waiting = [row for row in behind if row.is_waiting]
    if waiting:
        seeds = len(waiting[0].outcome_of)
        caveat = f"over {effect.pairs} of {seeds} seeds so far"
        return replace(delta, caveat=caveat, to_come=(effect.pairs, seeds))
    failed = [row.variant.name for row in behind if row.is_healthy and row.bad]
    if failed:
        why = f"not tested: trials of {', '.join(failed)} failed"
        return replace(delta, caveat="; ".join(filter(None, (delta.caveat, why))))
    copies = [row.variant.name for row in behind if row.are_copies]
    if copies:
        return replace(delta, effect=without_spread(effect), caveat=copies_text(copies))
    equivalence = equivalence_p_value(effect, rules.metric.matters)
    return replace(delta, p_value=effect.p_value, equivalence=equivalence)


def _rows_behind(
    section: Section, line: EffectLine, rows: Sequence[StepRow], rules: Rules
) -> Sequence[StepRow]:
    """The cells that an average is over; orders count the road as one of them.

    Where seeds are added as needed, averages keep to the first ones.
    """
    cells = [*section.rows]
    if section.design == "orders":
        cells += [row for row in rows if row.variant.is_on_road]
    found = [row for row in cells if row.variant.regime == line.regime]
    if not rules.looks:
        return found
    return [of_seeds(row, range(rules.looks[0])) for row in found]


def _rows_not_begun(rows: Sequence[StepRow], rules: Rules) -> int:
    """Comparisons of the road, and of cells without one, of which no trial has ended yet."""
    if not rules.counts_to_come or not any(row.is_waiting for row in rows):
        return 0
    changed = [row for row in rows if row.variant.follows is not None]
    tested = [row for row in changed if rules.tests(row.variant.design)]
    return sum(row.delta_previous is None for row in tested)


def _lines_not_begun(rows: Sequence[StepRow], sections: Sequence[Section], rules: Rules) -> int:
    """Number of comparisons of the other designs that have not begun."""
    if not rules.counts_to_come:
        return 0
    return sum(
        _is_not_begun(section, line, rows, rules)
        for section in sections
        if rules.tests(section.design)
        for line in section.lines
    )


def _is_not_begun(
    section: Section, line: EffectLine, rows: Sequence[StepRow], rules: Rules
) -> bool:
    """Tell whether a comparison will be tested once further trials are done."""
    if line.delta is not None or not line.is_tested:
        return False
    return any(row.is_waiting for row in _rows_behind(section, line, rows, rules))
