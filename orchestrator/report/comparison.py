"""Two sweeps, or two regimes of one, side by side: the same step here and there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.report.cells import delta_text, p_text, value_text
from orchestrator.report.roadmap import Roadmap, with_effects
from orchestrator.report.rows import StepEffect, StepRow, corrected, effect_against, effect_to_json, row_to_json


@dataclass(frozen=True)
class Selection:
    """The road of one sweep, or of one of its regimes."""

    name: str
    metric: str
    rows: Sequence[StepRow]


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
        return {"left": self.left.name, "right": self.right.name, "metric": self.left.metric, "steps": steps}


def select(roadmap: Roadmap, reference: str, regime: str) -> Selection:
    """The rows of one regime. Raises `UsageError` where the sweep has no such regime, or where one has to be chosen."""
    regimes = list(dict.fromkeys(row.variant.regime for row in roadmap.rows))
    if regime and regime not in regimes:
        hint = did_you_mean_one_of(regime, [name for name in regimes if name] or ["none: leave ':' out"])
        raise UsageError(f"'{roadmap.sweep}' has no regime '{regime}'{hint}")
    if not regime and len(regimes) > 1:
        choices = ", ".join(f"{reference}:{name}" for name in regimes)
        raise UsageError(f"'{roadmap.sweep}' has several regimes; name one of {choices}")
    rows = [row for row in roadmap.rows if row.variant.regime == (regime or regimes[0])]
    name = f"{roadmap.sweep}:{regime}" if regime else roadmap.sweep
    return Selection(name, roadmap.metric, with_effects(rows, roadmap.looks))


def compare(left: Selection, right: Selection) -> Comparison:
    """Match steps by name. Raises `UsageError` where the two report different metrics."""
    if left.metric != right.metric:
        raise UsageError(f"{left.name} reports {left.metric}, {right.name} {right.metric}: they cannot be compared")
    here, there = ({row.variant.name: row for row in selection.rows} for selection in (left, right))
    pairs = [Pair(name, here.get(name), there.get(name)) for name in {**here, **there}]
    differences = [effect_against(pair.right, pair.left) if pair.right and pair.left else None for pair in pairs]
    judged = corrected([delta and replace(delta, versus=left.name) for delta in differences])
    return Comparison(left, right, [replace(pair, difference=delta) for pair, delta in zip(pairs, judged, strict=True)])


def comparison_table(comparison: Comparison) -> RenderableType:
    """Value and effect of every step in both, and the difference between them."""
    left, right = comparison.left, comparison.right
    title = f"{escape(left.name)} and {escape(right.name)}: {left.metric}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in headings(comparison):
        table.add_column(escape(heading), justify="left" if heading == "step" else "right")
    for pair in comparison.pairs:
        table.add_row(*map(Text, pair_cells(pair)))
    caveats = [f"* {p.step}: {p.difference.caveat}" for p in comparison.pairs if p.difference and p.difference.caveat]
    how = "paired by seed, p corrected over all steps (Holm)"
    note = f"Δ is to the step before in the same road; {right.name} − {left.name} is {how}."
    return Group(table, *(Text(caveat, style="yellow") for caveat in caveats), Text(note, style="dim"))


def comparison_markdown(comparison: Comparison) -> str:
    """The same as a pipe table."""
    lines = [headings(comparison), ["---", *["--:"] * 6]]
    lines += [[cell.replace("|", r"\|").replace("*", r"\*") for cell in pair_cells(p)] for p in comparison.pairs]
    title = f"# {comparison.left.name} and {comparison.right.name}: {comparison.left.metric}"
    return "\n".join([title, "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def headings(comparison: Comparison) -> list[str]:
    """Of the columns."""
    left, right = comparison.left.name, comparison.right.name
    return ["step", left, "Δ", right, "Δ", f"{right} − {left} [95 % CI]", "p (Holm)"]


def pair_cells(pair: Pair) -> list[str]:
    """One line."""
    one = _value_and_delta(pair.left)
    other = _value_and_delta(pair.right)
    return [pair.step, *one, *other, delta_text(pair.difference), p_text(pair.difference)]


def _value_and_delta(row: StepRow | None) -> list[str]:
    if row is None:
        return ["", ""]
    delta = row.delta_previous
    return [value_text(row), f"{delta.effect.mean:+.2f}" if delta else ""]


def split_reference(reference: str, exists: Callable[[str], bool]) -> tuple[str, str]:
    """`sweep:regime` into its two parts; a path that is there is never split."""
    if exists(reference) or ":" not in reference:
        return reference, ""
    sweep, _, regime = reference.rpartition(":")
    return sweep, regime
