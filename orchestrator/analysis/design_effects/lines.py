"""Effects of a design as lines of a table, and what they are worked out from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.analysis.effects import StepEffect, effect_to_json
from orchestrator.analysis.rows import StepRow
from orchestrator.errors import counted
from orchestrator.spec.designs import Design
from orchestrator.trial import Place, Variant

MAIN, INTERACTION, PLACE = "effect", "interaction", "place"


@dataclass(frozen=True)
class EffectLine:
    """One effect of a design. Its p-value is corrected later, together with all other tables."""

    regime: str
    kind: str
    """`effect`, `interaction`, or `place` for a step's effect at one place of one order."""
    steps: tuple[str, ...]
    """The step whose effect it is; the two steps of an interaction, in the order of the road."""
    delta: StepEffect | None
    note: str = ""
    """Assumption of the effect, or the reason why there is none."""
    place: Place | None = None
    """Place at which the step is taken, for the effect at one place."""
    pair: tuple[Variant, Variant] | None = None
    """The two variants that it is the difference of; None where it is worked out from more."""

    @property
    def is_tested(self) -> bool:
        """True if it is tested; effects at places only show what averages are made of."""
        return self.kind != PLACE

    @property
    def label(self) -> str:
        """The step, `a × b`, or `a, step 2 of the road`."""
        label = " × ".join(self.steps)
        if self.place is None:
            return label
        return f"{label}, {place_text(self.place)}"

    def to_json(self) -> dict[str, Any]:
        """The form of an effect of a design in `report --format json`."""
        return {
            "regime": self.regime,
            "kind": self.kind,
            "label": self.label,
            "steps": list(self.steps),
            "place": self.place and vars(self.place),
            "tested": self.is_tested,
            "note": self.note,
            **(effect_to_json(self.delta) or {}),
        }


@dataclass(frozen=True)
class Effects:
    """Effects of a design in one regime."""

    lines: Sequence[EffectLine] = ()
    left_out: Sequence[str] = ()
    """Variants, seeds and effects that are not in it, and why."""
    remarks: Sequence[str] = ()
    """Sentences about this instance of the design, beside its explanation."""


@dataclass(frozen=True)
class RegimeRows:
    """The rows of all variants of one regime."""

    regime: str
    rows: Sequence[StepRow]
    looks: Sequence[int] = ()
    """Numbers of seeds at which effects are looked at, where seeds are added for them."""

    def of_design(self, name: str) -> list[StepRow]:
        """The rows of the design's cells."""
        return [row for row in self.rows if row.variant.design == name]

    def row(self, variant: str | None) -> StepRow | None:
        """The row of a variant by its name."""
        for row in self.rows:
            if row.variant.name == variant:
                return row
        return None


EffectsOf = Callable[[Design, RegimeRows], Effects]
"""Works out what a design shows in one regime."""


def place_text(place: Place) -> str:
    """`step 2 of the road`, `step 1 of order 3`."""
    order = "the road"
    if place.order:
        order = f"order {place.order}"
    return f"step {place.position} of {order}"


def counts(row: StepRow) -> bool:
    """True if averages may have the row among them: every trial that is done learned something."""
    return row.is_healthy and bool(row.values)


def end_of(row: StepRow) -> str:
    """Outcomes of the trials where not all of them finished."""
    if row.is_mixed:
        return f"{row.mixture}, {len(row.finished_values)} finished"
    if not row.mixture:
        return ""
    return f"all {row.mixture}"


def rows_left_out(rows: Sequence[StepRow]) -> list[str]:
    """The rows that averages do not count, and why."""
    return [f"{row.variant.label}: {_why_not(row)}" for row in rows if not counts(row)]


def _why_not(row: StepRow) -> str:
    """Reason why averages do not count a row."""
    if end := end_of(row):
        return end
    if row.unrecorded:
        return "no trial recorded the metric"
    return "no trial is done"


def seeds_asked(rows: Sequence[StepRow]) -> set[int]:
    """The seeds that any of the rows has trials of, whatever their outcomes."""
    return {seed for row in rows for seed in row.outcome_of}


def seeds_left_out(rows: Sequence[StepRow]) -> list[str]:
    """Seeds that no average counts because one of the counted rows lacks them, and which."""
    within = [row for row in rows if counts(row)]
    found = []
    for seed in sorted(seeds_asked(rows)):
        lacking = [row for row in within if seed not in row.values]
        if not lacking:
            continue
        where = counted(len(lacking), "cell")
        if len(lacking) == 1:
            where = lacking[0].variant.label
        ends = sorted({end_of_trial(row, seed) for row in lacking})
        found.append(
            f"seed {seed}: {' or '.join(ends)} in {where}, so it is left out of all averages over "
            "that"
        )
    return found


def end_of_trial(row: StepRow, seed: int) -> str:
    """Outcome of a trial without a value, in words."""
    end = row.outcome_of.get(seed, "not planned")
    if end == "finished":
        return "not recorded"
    return end


def coverage(pairs: int, asked: int) -> str:
    """`over 4 of 5 seeds`; empty where all are counted."""
    if pairs >= asked:
        return ""
    return f"over {pairs} of {asked} seeds"
