"""Two sweeps, or two regimes of one, side by side: the same step here and there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.analysis.roadmap import Roadmap, with_effects
from orchestrator.analysis.rows import (
    StepEffect,
    StepRow,
    corrected,
    effect_against,
    effect_to_json,
    row_to_json,
)
from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.report.fitting import FittedTable
from orchestrator.report.markup import markdown_text, pipe_table
from orchestrator.report.words import Column, delta_text, number_text, p_text, value_text


@dataclass(frozen=True)
class Selection:
    """The road of one sweep, or of one of its regimes."""

    name: str
    metric: str
    epoch: str
    """The one that the metric is read at: `last` or `best`."""
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
    """Right minus left, paired by seed; corrected over all steps of the comparison."""


@dataclass(frozen=True)
class Comparison:
    """All steps that either of two roads has, in the order of the left one."""

    left: Selection
    right: Selection
    pairs: Sequence[Pair]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        steps = [
            {
                "name": pair.step,
                "left": row_to_json(pair.left) if pair.left else None,
                "right": row_to_json(pair.right) if pair.right else None,
                "difference": effect_to_json(pair.difference),
            }
            for pair in self.pairs
        ]
        return {
            "left": self.left.name,
            "right": self.right.name,
            "metric": self.left.metric,
            "steps": steps,
        }


def select(roadmap: Roadmap, reference: str, regime: str) -> Selection:
    """The rows of one regime. Raises `UsageError` where the sweep has no such regime, or where one has to be chosen."""
    regimes = list(dict.fromkeys(row.variant.regime for row in roadmap.rows))
    if regime and regime not in regimes:
        hint = did_you_mean_one_of(
            regime, [name for name in regimes if name] or ["none: leave ':' out"]
        )
        raise UsageError(f"'{roadmap.sweep}' has no regime '{regime}'{hint}")
    if not regime and len(regimes) > 1:
        choices = ", ".join(f"{reference}:{name}" for name in regimes)
        raise UsageError(f"'{roadmap.sweep}' has several regimes; name one of {choices}")
    rows = [row for row in roadmap.rows if row.variant.regime == (regime or regimes[0])]
    name = f"{roadmap.sweep}:{regime}" if regime else roadmap.sweep
    return Selection(
        name, roadmap.metric, roadmap.epoch, with_effects(rows, roadmap.looks), roadmap.looks
    )


def compare(left: Selection, right: Selection) -> Comparison:
    """Match steps by name. Raises `UsageError` where the two report different metrics, or at different epochs."""
    if (left.metric, left.epoch) != (right.metric, right.epoch):
        found = " and ".join(
            f"{one.name} reports {one.metric} at the {one.epoch} epoch" for one in (left, right)
        )
        raise UsageError(f"{found}: they cannot be compared")
    here, there = ({row.variant.name: row for row in selection.rows} for selection in (left, right))
    pairs = [Pair(name, here.get(name), there.get(name)) for name in {**here, **there}]
    looks = max(
        left.looks, right.looks, key=len
    )  # where one of them stopped when something was decided, that is paid for
    differences = [
        effect_against(pair.right, pair.left, looks) if pair.right and pair.left else None
        for pair in pairs
    ]
    judged = corrected([delta and replace(delta, versus=left.name) for delta in differences])
    return Comparison(
        left,
        right,
        [replace(pair, difference=delta) for pair, delta in zip(pairs, judged, strict=True)],
    )


def comparison_table(comparison: Comparison) -> RenderableType:
    """Value and effect of every step in both, and the difference between them."""
    table = FittedTable(
        _title(comparison), columns(comparison), [pair_cells(pair) for pair in comparison.pairs]
    )
    caveats = [Text(caveat, style="yellow") for caveat in _caveats(comparison)]
    return Group(table, *caveats, Text(_note(comparison), style="dim"))


def comparison_markdown(comparison: Comparison) -> str:
    """The same as a pipe table."""
    table = pipe_table(columns(comparison), [pair_cells(pair) for pair in comparison.pairs])
    notes = [
        line
        for note in (*_caveats(comparison), _note(comparison))
        for line in ("", markdown_text(note))
    ]
    return "\n".join([f"# {_title(comparison)}", "", *table, *notes, ""])


def columns(comparison: Comparison) -> list[Column]:
    """What both forms show of a step."""
    left, right = comparison.left.name, comparison.right.name
    return [
        Column("step"),
        Column(left, is_number=True),
        Column("Δ", is_number=True, rank=5, name=f"Δ in {left}"),
        Column(right, is_number=True, rank=3),
        Column("Δ", is_number=True, rank=4, name=f"Δ in {right}"),
        Column(f"{right} − {left} [95 % CI]", is_number=True, rank=1),
        Column("p (Holm)", is_number=True, rank=2),
    ]


def _title(comparison: Comparison) -> str:
    return f"{comparison.left.name} and {comparison.right.name}: {comparison.left.metric}"


def _caveats(comparison: Comparison) -> list[str]:
    """What stands behind the stars, and what concerns all differences."""
    starred = [
        f"* {p.step}: {p.difference.caveat}"
        for p in comparison.pairs
        if p.difference and p.difference.caveat
    ]
    return [*_other_images(comparison), *starred]


def _other_images(comparison: Comparison) -> list[str]:
    """A word where the two sides validate on other images; what a user training reads is not known."""
    steps = [
        pair.step
        for pair in comparison.pairs
        if pair.left
        and pair.right
        and pair.left.variant.config.data != pair.right.variant.config.data
    ]
    if not steps:
        return []
    sides = f"{comparison.left.name} and {comparison.right.name}"
    return [
        f"{sides} have other data at {', '.join(steps)}: unless the validation images are the "
        "same, their difference there compares two test sets; the effects within each side stand."
    ]


def _note(comparison: Comparison) -> str:
    difference = f"{comparison.right.name} − {comparison.left.name}"
    return f"Δ is to the step before in the same road; {difference} is paired by seed, p corrected over all steps (Holm)."


def pair_cells(pair: Pair) -> list[str]:
    """One line."""
    one = _value_and_delta(pair.left)
    other = _value_and_delta(pair.right)
    return [pair.step, *one, *other, delta_text(pair.difference), p_text(pair.difference)]


def _value_and_delta(row: StepRow | None) -> list[str]:
    if row is None:
        return ["", ""]
    delta = row.delta_previous
    return [value_text(row), number_text(delta.effect.mean, delta.decimals, "+") if delta else ""]


def split_reference(reference: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """`sweep:regime` into its two parts; a path that is there is never split."""
    if exists(reference) or ":" not in reference:
        return reference, ""
    sweep, _, regime = reference.rpartition(":")
    return sweep, regime
