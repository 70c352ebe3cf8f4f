"""Two sweeps, or two regimes of one, side by side: the same step here and there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.analysis.comparisons import effect_against
from orchestrator.analysis.decimals import decimals_of_effect
from orchestrator.analysis.effects import StepEffect, effect_to_json
from orchestrator.analysis.family import Family, Rules, judged
from orchestrator.analysis.regimes import Step, difference_of_effects
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow, of_seeds, row_to_json
from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.report.fitting import FittedTable
from orchestrator.report.markup import markdown_text, pipe_table
from orchestrator.report.words import Column, delta_text, number_text, p_text, value_text
from orchestrator.spec.schema import MetricSchema
from orchestrator.stats.equivalence import equivalence_p_value
from orchestrator.stats.registry import TESTS


@dataclass(frozen=True)
class Selection:
    """The road of one sweep, or of one of its regimes."""

    name: str
    metric: str
    epoch: str
    """The epoch that the metric is read at: `last` or `best`."""
    rows: Sequence[StepRow]
    looks: Sequence[int] = ()
    """Numbers of seeds at which steps are looked at, where seeds are added as needed."""


@dataclass(frozen=True)
class Pair:
    """One step in both; what only one of them has is none in the other."""

    step: str
    left: StepRow | None
    right: StepRow | None
    difference: StepEffect | None = None
    """Right minus left."""
    of_effects: StepEffect | None = None
    """The step's effect on the right minus its effect on the left."""


@dataclass(frozen=True)
class Comparison:
    """All steps that either of two roads has, in the order of the left one."""

    left: Selection
    right: Selection
    pairs: Sequence[Pair]
    family: Family

    def to_json(self) -> dict[str, Any]:
        """The comparison in the form for programs."""
        steps = [
            {
                "name": pair.step,
                "left": row_to_json(pair.left) if pair.left else None,
                "right": row_to_json(pair.right) if pair.right else None,
                "difference": effect_to_json(pair.difference),
                "difference_of_effects": effect_to_json(pair.of_effects),
            }
            for pair in self.pairs
        ]
        return {
            "left": self.left.name,
            "right": self.right.name,
            "metric": self.left.metric,
            "family": self.family.to_json(),
            "steps": steps,
        }


def select(roadmap: Roadmap, reference: str, regime: str) -> Selection:
    """The rows of one regime. Raises `UsageError` where the sweep has no such regime, or where one
    has to be chosen.
    """
    regimes = list(dict.fromkeys(row.variant.regime for row in roadmap.rows))
    if regime and regime not in regimes:
        named = [name for name in regimes if name]
        hint = did_you_mean_one_of(regime, named) if named else f"; leave out ':{regime}'"
        what = f"no regime '{regime}'" if named else "no regimes"
        raise UsageError(f"'{roadmap.sweep}' has {what}{hint}")
    if not regime and len(regimes) > 1:
        choices = ", ".join(f"{reference}:{name}" for name in regimes)
        raise UsageError(f"'{roadmap.sweep}' has several regimes; name one of them: {choices}")
    rows = [row for row in roadmap.rows if row.variant.regime == (regime or regimes[0])]
    name = f"{roadmap.sweep}:{regime}" if regime else roadmap.sweep
    return Selection(name, roadmap.metric, roadmap.epoch, rows, roadmap.looks)


def told_apart(sides: Sequence[Selection], references: Sequence[str]) -> list[Selection]:
    """The two sides by names that differ: two specs of one name go by what the reader called them.

    Raises `UsageError` where both are the same trials.
    """
    left, right = sides
    if left.name != right.name:
        return [left, right]
    if [row.fingerprints for row in left.rows] == [row.fingerprints for row in right.rows]:
        raise UsageError(
            f"'{references[0]}' and '{references[1]}' are the same trials, so every difference "
            "would be 0; name another sweep, or another regime as sweep:regime"
        )
    return [
        replace(side, name=reference) for side, reference in zip(sides, references, strict=True)
    ]


def compare(left: Selection, right: Selection) -> Comparison:
    """Match steps by name. Raises `UsageError` where the two report different metrics, or at
    different epochs.
    """
    if (left.metric, left.epoch) != (right.metric, right.epoch):
        found = " and ".join(
            f"{one.name} reports {one.metric} at the {one.epoch} epoch" for one in (left, right)
        )
        raise UsageError(f"{found}: they cannot be compared")
    here, there = ({row.variant.name: row for row in selection.rows} for selection in (left, right))
    looks = max(
        left.looks, right.looks, key=len
    )  # where one of them stopped when something was decided, that is paid for
    pairs = [
        Pair(
            name,
            here.get(name),
            there.get(name),
            _difference(here.get(name), there.get(name), left.name, looks),
            _of_effects(name, here, there, left.name, looks),
        )
        for name in {**here, **there}
    ]
    tested = [delta for pair in pairs for delta in (pair.difference, pair.of_effects)]
    metric = next((row.metric for row in right.rows), MetricSchema())
    judged_deltas, size = judged(tested, 0, Rules(metric, looks))
    deltas = iter(judged_deltas)
    pairs = [replace(pair, difference=next(deltas), of_effects=next(deltas)) for pair in pairs]
    return Comparison(left, right, pairs, Family(size, "all that this table tests"))


def _difference(
    left: StepRow | None, right: StepRow | None, versus: str, looks: Sequence[int]
) -> StepEffect | None:
    """The level of a step in both; none where only one has it."""
    delta = effect_against(right, left, looks) if left and right else None
    return delta and replace(delta, versus=versus)


def _of_effects(
    name: str,
    left: Mapping[str, StepRow],
    right: Mapping[str, StepRow],
    versus: str,
    looks: Sequence[int],
) -> StepEffect | None:
    """Return what the step does more on the right; None where it is compared with different steps,
    is still to come, or where both sides are the same trials.

    With seeds that were added, over the first look's seeds, which nothing selected.
    """
    one, other = _step(name, right), _step(name, left)
    if one is None or other is None:
        return None
    if looks:
        one, other = _of_first_look(one, looks[0]), _of_first_look(other, looks[0])
    if any(row is None or row.is_waiting for row in (*one, *other)):
        return None
    if _fingerprints(one) == _fingerprints(other):
        return None  # a thing compared with itself
    effect = difference_of_effects(one, other)
    if effect is None:
        return None
    decimals = decimals_of_effect(effect, one[0].usual_decimals)
    equivalence = equivalence_p_value(effect, one[0].metric.matters)
    return StepEffect(
        effect, versus, decimals=decimals, p_value=effect.p_value, equivalence=equivalence
    )


def _step(name: str, rows: Mapping[str, StepRow]) -> Step | None:
    row = rows.get(name)
    if row is None or not row.versus:
        return None
    return row, rows.get(row.versus)


def _fingerprints(step: Step) -> list[list[str]]:
    return [sorted(row.fingerprints.values()) for row in step if row]


def _of_first_look(step: Step, seeds: int) -> Step:
    row, ground = step
    return of_seeds(row, range(seeds)), ground and of_seeds(ground, range(seeds))


def comparison_table(comparison: Comparison) -> RenderableType:
    """Value and effect of every step in both, and the difference between them."""
    table = FittedTable(
        _title(comparison), columns(comparison), [pair_cells(pair) for pair in comparison.pairs]
    )
    caveats = [Text(caveat, style="yellow") for caveat in _caveats(comparison)]
    return Group(table, *caveats, Text(_note(comparison), style="dim"))


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as a table of Markdown."""
    table = pipe_table(columns(comparison), [pair_cells(pair) for pair in comparison.pairs])
    notes = [
        line
        for note in (*_caveats(comparison), _note(comparison))
        for line in ("", markdown_text(note))
    ]
    return "\n".join([f"# {_title(comparison)}", "", *table, *notes, ""])


def columns(comparison: Comparison) -> list[Column]:
    """Return the columns that both forms show."""
    left, right = comparison.left.name, comparison.right.name
    return [
        Column("step"),
        Column(left, is_number=True),
        Column(f"Δ in {left}", is_number=True, rank=5),
        Column(right, is_number=True, rank=3),
        Column(f"Δ in {right}", is_number=True, rank=4),
        Column(f"{right} − {left} [95 % CI]", is_number=True, rank=1),
        Column("p (Holm)", is_number=True, rank=2),
        Column("Δ − Δ [95 % CI]", is_number=True, rank=6),
        Column("p of Δ − Δ (Holm)", is_number=True, rank=7),
    ]


def _title(comparison: Comparison) -> str:
    return f"{comparison.left.name} and {comparison.right.name}: {comparison.left.metric}"


def _caveats(comparison: Comparison) -> list[str]:
    """Say what stands behind the stars, and what concerns all differences."""
    starred = [
        f"* {pair.step}: {delta.caveat}"
        for pair in comparison.pairs
        for delta in (pair.difference, pair.of_effects)
        if delta and delta.caveat
    ]
    return [*_other_rules(comparison), *_other_images(comparison), *starred]


def _other_rules(comparison: Comparison) -> list[str]:
    """A word on whose rules are used where the two sweeps declared different ones."""
    left, right = comparison.left, comparison.right
    here, there = (side.rows[0].metric if side.rows else None for side in (left, right))
    if here is None or there is None or _declared(here) == _declared(there):
        return []
    return [
        f"{left.name} declares {_declared(here)} and {right.name} {_declared(there)}: "
        f"all verdicts here follow {right.name}."
    ]


def _declared(metric: MetricSchema) -> str:
    size = "nothing" if metric.matters is None else f"{metric.matters:g}"
    return f"mode: {metric.mode}, test: {metric.test}, matters: {size}"


def _other_images(comparison: Comparison) -> list[str]:
    """A word where the two sides validate on other images; what a user training reads is not
    known.
    """
    steps = [
        pair.step
        for pair in comparison.pairs
        if pair.left
        and pair.right
        and pair.left.variant.config.images != pair.right.variant.config.images
    ]
    if not steps:
        return []
    sides = f"{comparison.left.name} and {comparison.right.name}"
    return [
        f"{sides} use different data at {', '.join(steps)}. Unless the validation images are "
        "the same, the difference there compares two test sets; the effects within each side "
        "remain valid."
    ]


def _note(comparison: Comparison) -> str:
    difference = f"{comparison.right.name} − {comparison.left.name}"
    rows = comparison.right.rows
    test = TESTS[rows[0].metric.test if rows else "paired"].title
    return (
        f"Δ is the step's effect within its own road. {difference} is the step's value on the "
        "right minus its value on the left, and Δ − Δ is its effect on the right minus its "
        f"effect on the left. p: {test}, corrected (Holm) over "
        f"{comparison.family.text}. Held fixed: these data, these splits, these recipes."
    )


def pair_cells(pair: Pair) -> list[str]:
    """The cells of one line."""
    one = _value_and_delta(pair.left)
    other = _value_and_delta(pair.right)
    level, effects = pair.difference, pair.of_effects
    between = [delta_text(level), p_text(level), delta_text(effects), p_text(effects)]
    return [pair.step, *one, *other, *between]


def _value_and_delta(row: StepRow | None) -> list[str]:
    if row is None:
        return ["", ""]
    delta = row.delta_previous
    if delta is None or delta.mean is None:
        return [value_text(row), ""]
    return [value_text(row), number_text(delta.mean, delta.decimals, "+")]


def split_reference(reference: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """`sweep:regime` into its two parts; a path that is there is never split."""
    if exists(reference) or ":" not in reference:
        return reference, ""
    sweep, _, regime = reference.rpartition(":")
    return sweep, regime
