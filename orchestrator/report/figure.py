"""The roadmap figure as data: what stands in each row, and where. The page and the picture draw
it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.metrics import METRICS
from orchestrator.outcomes import Outcome
from orchestrator.report.scale import Scale, alike, log_scale_around, scale_around
from orchestrator.report.words import (
    change_text,
    delta_text,
    direction_text,
    missing_text,
    number_text,
    outcome_text,
    p_text,
)
from orchestrator.text import from_to

SYMBOLS = {"better": "▲", "worse": "▼", "equivalent": "≈", "open": "○"}
"""Shape of what may be said of an effect, so that colour alone says nothing."""
MEANINGS = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent",
    "open": "not decided",
}
_LOG_FROM = 50.0
"""Ratio of the largest to the smallest mean from which a linear axis would hide steps."""
_LANES = (-1, 1, -2, 2)


@dataclass(frozen=True)
class Dot:
    """The value of one seed."""

    value: float
    title: str
    is_well: bool
    lane: int
    """-2, -1, 1 or 2: above or below the interval, so that equal values stay apart."""


@dataclass(frozen=True)
class FigureRow:
    """One variant."""

    name: str
    change: str
    kind: str
    """`main`, `side` or `control`."""
    is_sick: bool
    word: str
    """Text on the axis in place of a bar; empty where there is one."""
    is_hatched: bool
    mean: float | None
    value: str
    spread: str
    reference: float | None
    remark: str = ""
    """Remark on how trials ended that are not part of the mean; empty where all are."""
    dots: Sequence[Dot] = ()
    interval: tuple[float, float] | None = None
    interval_title: str = ""
    effect: str = ""
    versus: str = ""
    """The step that the effect is compared with, where that is not the one before."""
    effect_title: str = ""
    tone: str = ""
    """A key of `SYMBOLS`; empty without an effect."""

    @property
    def effect_text(self) -> str:
        """The effect, and what it is compared with where that is said here."""
        return f"{self.effect} vs {self.versus}" if self.versus else self.effect

    @property
    def label(self) -> str:
        """The name, indented where it is a side step."""
        return f"└ {self.name}" if self.kind == "side" else self.name


@dataclass(frozen=True)
class RoadmapFigure:
    """The road in one regime."""

    regime: str
    metric: str
    direction: str
    axis: Scale
    rows: Sequence[FigureRow]
    baseline: float | None
    shows_references: bool
    seeds: str
    """`95 % intervals over 4 to 6 seeds`."""
    versus: str = ""
    """The step that every effect is compared with; empty where that is the one before, or where
    rows say it themselves.
    """

    @property
    def has_results(self) -> bool:
        """True if any step has a value yet."""
        return any(row.mean is not None for row in self.rows)

    @property
    def has_axis(self) -> bool:
        """True if anything lies on the axis: without results it may be published values."""
        published = any(row.reference is not None for row in self.rows)
        return self.has_results or (published and self.shows_references)

    @property
    def is_broken(self) -> bool:
        """True if the axis begins elsewhere than at 0, so that lengths of bars are no ratios."""
        return self.has_results and self.axis.low != 0 and not self.axis.is_log

    @property
    def title(self) -> str:
        """Title that says in one line what the figure shows."""
        where = f"{self.regime}: " if self.regime else ""
        scale = ", logarithmic" if self.axis.is_log else ""
        return f"{where}{self.metric} ({self.direction}{scale})"

    @property
    def differences(self) -> str:
        """Sentence that tells what the effects are compared with, without its end."""
        if self.versus:
            return f"Differences are from {self.versus}"
        are_named = {bool(row.versus) for row in self.rows if row.tone}
        if are_named == {True}:
            return "Differences are from the step named after vs"
        others = ", or from the one named after vs" * (True in are_named)
        return f"Differences are from the previous step{others}"

    @property
    def description(self) -> str:
        """The figure in words, for those who do not see it."""
        rows = [
            " ".join(filter(None, (row.name, row.value or row.word, row.effect_text)))
            for row in self.rows
        ]
        parts = [f"{self.title}: {'; '.join(rows)}."]
        if self.tones:
            parts.append(f"{self.differences}.")
        return " ".join(parts)

    @property
    def tones(self) -> list[str]:
        """Tones of the effects in this figure, in the order of `SYMBOLS`."""
        found = {row.tone for row in self.rows}
        return [tone for tone in SYMBOLS if tone in found]


def figures_of(roadmap: Roadmap) -> list[RoadmapFigure]:
    """A figure for each regime, all with axes of the same scale, so that effects can be
    compared.
    """
    regimes = list(dict.fromkeys(row.variant.regime for row in roadmap.rows))
    of_regime = {
        regime: [row for row in roadmap.rows if row.variant.regime == regime] for regime in regimes
    }
    axes = _comparable([axis_of(rows, roadmap.metric) for rows in of_regime.values()], roadmap)
    figures = [
        _figure(roadmap, regime, rows, axis)
        for (regime, rows), axis in zip(of_regime.items(), axes, strict=True)
    ]
    against = {row.versus for figure in figures for row in figure.rows if row.tone}
    if len(against) != 1 or "" in against:
        return figures
    return [_with_versus(figure, *against) for figure in figures]


def _with_versus(figure: RoadmapFigure, versus: str) -> RoadmapFigure:
    """The figure that says once what every effect is compared with."""
    return replace(figure, versus=versus, rows=[replace(row, versus="") for row in figure.rows])


def axis_of(rows: Sequence[StepRow], metric: str) -> Scale:
    """Room for every seed and interval of the steps that did not collapse, and for published values
    that are near. Logarithmic where a linear axis would hide most steps.
    """
    well = [row for row in rows if not row.is_collapsed]
    values = [value for row in well for value in row.compared_values.values()]
    if _is_wide(well, metric):
        return log_scale_around(values)
    if values:
        span = max(values) - min(values) or 1.0
        low, high = min(values) - span / 4, max(values) + span / 4
        ends = [end for row in well if row.summary for end in row.summary.ci95 or ()]
        values += [end for end in ends if low <= end <= high]
        span = max(values) - min(values) or 1.0
    published = references_of(rows)
    if published and (not values or _reach([*values, *published]) <= 2 * span):
        values += published
    return scale_around(values, limits=_limits(values, metric))


def references_of(rows: Sequence[StepRow]) -> list[float]:
    """The published values of these steps."""
    found = (published_value(row) for row in rows)
    return [value for value in found if value is not None]


def published_value(row: StepRow) -> float | None:
    """The published value of the step; None where the spec has none."""
    if not row.variant.reference:
        return None
    return float(row.variant.reference["value"])


def collapse_text(row: StepRow) -> str:
    """The text beside the hatched bar that stands for no length."""
    if row.summary is None:
        return ""
    return f"collapsed at {number_text(row.summary.mean, max(1, row.decimals - 1))}"


def tone(row: StepRow) -> str:
    """Return what the report may say of the step's effect, as a key of `SYMBOLS`."""
    delta = row.delta_previous
    return (delta and delta.verdict) or "open"


def _is_wide(rows: Sequence[StepRow], metric: str) -> bool:
    values = [value for row in rows for value in row.compared_values.values()]
    means = [row.summary.mean for row in rows if row.summary]
    if metric in METRICS and "/acc" in metric:
        return False
    return bool(means) and min(values) > 0 and max(means) >= _LOG_FROM * min(means)


def _limits(values: Sequence[float], metric: str) -> tuple[float, float]:
    """Return the metric's limits: shares end at 100, and what is never negative starts at 0."""
    is_share = metric in METRICS and "/acc" in metric
    least = 0.0 if min(values, default=0.0) >= 0 else -math.inf
    return least, 100.0 if is_share else math.inf


def _reach(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _comparable(axes: Sequence[Scale], roadmap: Roadmap) -> list[Scale]:
    """Give panels the same axis where that wastes little, and else axes of the same length."""
    if len(axes) == 1:
        return list(axes)
    low, high = min(axis.low for axis in axes), max(axis.high for axis in axes)
    if any(axis.is_log for axis in axes):
        if low <= 0:
            return list(axes)
        return [Scale(low, high, is_log=True)] * len(axes)
    return alike(axes, _limits([low], roadmap.metric)[1])


def _figure(roadmap: Roadmap, regime: str, rows: Sequence[StepRow], axis: Scale) -> RoadmapFigure:
    drawn = [_row(row) for row in rows]
    if not any(row.summary for row in rows):  # then words stand where the means would
        drawn = [replace(row, value=row.word, word="") for row in drawn]
    return RoadmapFigure(
        regime=regime,
        metric=roadmap.metric,
        direction=direction_text(roadmap.mode),
        axis=axis,
        rows=drawn,
        baseline=None if rows[0].is_collapsed else rows[0].mean,
        shows_references=all(axis.has(value) for value in references_of(rows)),
        seeds=_seeds(rows),
    )


def _row(row: StepRow) -> FigureRow:
    found = FigureRow(
        name=row.variant.name,
        change=_change(row),
        kind=_kind(row),
        is_sick=row.is_sick,
        word=_word(row),
        is_hatched=row.is_collapsed,
        mean=row.mean,
        reference=published_value(row),
        value=_number(row.mean, row) or "–",
        spread=_number(row.std, row, sign="± "),
    )
    if row.summary and not row.is_collapsed:
        found = replace(found, remark=missing_text(row), dots=_dots(row), interval=row.ci95)
    if found.interval:
        found = replace(found, interval_title=_interval_title(found.interval, row))
    if row.delta_previous:
        found = _with_effect(found, row, row.delta_previous)
    return found


def _change(row: StepRow) -> str:
    changes = change_text(row.variant.changes)
    if not row.variant.on:
        return changes
    return f"{changes} on {row.variant.on}".strip()


def _number(value: float | None, row: StepRow, sign: str = "") -> str:
    if value is None:
        return ""
    return f"{sign}{number_text(value, row.decimals)}"


def _kind(row: StepRow) -> str:
    if row.variant.on:
        return "control"
    return "side" if row.variant.side else "main"


def _word(row: StepRow) -> str:
    if row.is_collapsed:
        return collapse_text(row)
    if row.summary:
        return ""
    return outcome_text(row) or "no result yet"


def _interval_title(interval: tuple[float, float], row: StepRow) -> str:
    low, high = (number_text(end, row.decimals) for end in interval)
    return f"95 % interval {low} to {high}"


def _dots(row: StepRow) -> list[Dot]:
    return [
        Dot(
            value=value,
            title=f"seed {seed}: {number_text(value, row.decimals)} {row.outcome_of.get(seed, '')}",
            is_well=row.outcome_of.get(seed, "") == Outcome.FINISHED,
            lane=_LANES[place % len(_LANES)],
        )
        for place, (seed, value) in enumerate(sorted(row.values.items()))
    ]


def _with_effect(found: FigureRow, row: StepRow, delta: StepEffect) -> FigureRow:
    return replace(
        found,
        effect=_effect_text(delta),
        versus="" if delta.versus == row.before else delta.versus,
        effect_title=_effect_title(delta),
        tone=tone(row),
    )


def _effect_text(delta: StepEffect) -> str:
    if delta.mean is not None:
        return number_text(delta.mean, delta.decimals, "+")
    if delta.rates:
        return f"{delta.rates.here.bad} of {delta.rates.here.of}"
    return ""


def _effect_title(delta: StepEffect) -> str:
    p = p_text(delta) and f", p {p_text(delta)}"
    return f"{delta_text(delta)} against {delta.versus}{p}. {delta.caveat}".strip()


def _seeds(rows: Sequence[StepRow]) -> str:
    """Say what the intervals are over: the seeds that the means are really made of."""
    counts = [len(row.compared_values) for row in rows if row.summary and row.compared_values]
    if not counts:
        return "no results yet"
    if max(counts) == 1:
        return "one seed each, so no intervals"
    return f"95 % intervals over {from_to(min(counts), max(counts))} seeds"
