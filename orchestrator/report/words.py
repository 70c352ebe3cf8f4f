"""The roadmap as words: the columns that every format of the report shares."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from illama.cost import flops_text, params_text
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.outcomes import Outcome
from orchestrator.spec.search_space import Search, Tried
from orchestrator.stats.inference import LEVEL
from orchestrator.text import cell, duration_text, from_to, gist, spaced, tally

_LEAST_P = 1e-4
"""The least p-value in others' tables; our own say "<0.001"."""
_MOST_DECIMALS = 6
_SMALL = 1e-3
"""A smaller number that needs more decimals than `_MOST_DECIMALS` has a power of ten."""
_LONGEST_SETTING = 80
"""Characters of a value in a table; the JSON and the trial's `trial.json` have the whole."""


@dataclass(frozen=True)
class Column:
    """A heading and how its cells are set."""

    heading: str
    is_number: bool = False
    wraps: bool = False
    """True if its cells may have several lines."""
    rank: int = 0
    """The order in which columns leave a line that is too narrow, the highest first; 0 stays."""
    name: str = ""
    """The name beside a cell that has left its line; by default the heading."""


def columns(roadmap: Roadmap) -> list[Column]:
    """The columns that this roadmap needs; references only where the spec has some."""
    result = [
        Column("step"),
        Column("change", wraps=True),
        Column(f"{roadmap.metric} (n={seed_counts(roadmap)})", is_number=True),
        Column("Δ [95 % CI]", is_number=True, rank=1, name="Δ"),
        Column("p (Holm)", is_number=True, rank=2),
        *_claim_columns(roadmap),
        *(column for metric in roadmap.also for column in _columns_of(metric, roadmap)),
        Column("outcome", rank=4),
        *_size_columns(roadmap),
        Column("train s", is_number=True, rank=6),
    ]
    if _has_references(roadmap):
        result.append(Column("reference", is_number=True, rank=5))
    return result


def _claim_columns(roadmap: Roadmap) -> list[Column]:
    if roadmap.matters is None:
        return [Column("decided", rank=3)]
    return [Column("verdict", rank=3), Column("P(better)", is_number=True, rank=10)]


def _size_columns(roadmap: Roadmap) -> list[Column]:
    if not _has_sizes(roadmap):
        return []
    return [Column("params", is_number=True, rank=7), Column("FLOPs", is_number=True, rank=8)]


def _has_sizes(roadmap: Roadmap) -> bool:
    """Tell whether anybody knows the size of a network: of a user training, often nobody does."""
    return any(any(_sizes(row)) for row in roadmap.rows)


def _sizes(row: StepRow) -> list[str]:
    return [params_text(row.params, row.variant.config), flops_text(row.flops)]


def _columns_of(metric: str, roadmap: Roadmap) -> Iterator[Column]:
    """The columns of a metric that is only described."""
    yield Column(metric, is_number=True, rank=5)
    yield Column(f"Δ {metric} [95 % CI]", is_number=True, rank=9, name=f"Δ {metric}")
    if _has_references(roadmap, metric):
        yield Column(f"{metric} reference", is_number=True, rank=5)


def seed_counts(roadmap: Roadmap) -> str:
    """`6`, or `3 to 12` where seeds are added as needed."""
    counts = sorted({len(row.outcome_of) for row in roadmap.rows if row.outcome_of}) or [0]
    return from_to(counts[0], counts[-1])


def seeds_text(roadmap: Roadmap) -> str:
    """`1 seed`, `6 seeds`, `3 to 12 seeds`."""
    counts = seed_counts(roadmap)
    return f"{counts} seed{'s' * (counts != '1')}"


def cells(roadmap: Roadmap, row: StepRow) -> list[str]:
    """One line of the table, as plain text."""
    delta = row.delta_previous
    result = [
        step_name(row),
        change_text(row.variant.changes),
        value_text(row),
        delta_text(delta, row.before),
        p_text(delta),
        *_claim(roadmap, delta),
        *(text for metric in roadmap.also for text in _described(metric, row, roadmap)),
        outcome_text(row),
        *(_sizes(row) if _has_sizes(roadmap) else []),
        f"{row.train_seconds:.1f}",
    ]
    if _has_references(roadmap):
        result.append(_reference_text(row))
    return result


def _described(metric: str, row: StepRow, roadmap: Roadmap) -> Iterator[str]:
    """The row by another metric. How its trials ended is told of the row itself, and not again."""
    other = row.also[metric]
    delta = other.delta_previous
    if other.summary is None:
        yield ""
    else:
        yield _mean_text(other) + _of_all(other, len(row.values))
    yield delta_text(delta and replace(delta, caveat="", rates=None))
    if _has_references(roadmap, metric):
        yield _reference_text(row, metric)


def step_name(row: StepRow) -> str:
    """Side steps stand indented behind the step that they are an alternative to."""
    return f"└ {row.variant.label}" if row.variant.side else row.variant.label


def change_text(changes: Mapping[str, Any]) -> str:
    """`norm: rmsnorm`; the group in front of a setting is left out."""
    return ", ".join(
        f"{key.partition('.')[2]}: {setting_text(value)}" for key, value in changes.items()
    )


def value_text(row: StepRow) -> str:
    """Mean and standard deviation over the seeds; says of how many where that is not all."""
    seeds = len(row.outcome_of)
    if row.summary and row.is_mixed:
        return f"{_mean_text(row)} ({len(row.finished_values)} of {seeds} finished)"
    if row.summary is None:
        return _mean_text(row)
    return _mean_text(row) + _of_all(row, seeds)


def _of_all(row: StepRow, count: int) -> str:
    """` (4 of 6)`, where the metric is known of fewer than `count` seeds."""
    if len(row.values) >= count:
        return ""
    return f" ({len(row.values)} of {count})"


def _claim(roadmap: Roadmap, delta: StepEffect | None) -> list[str]:
    """`yes` or `no`; where the spec says what matters, the verdict and the chance of a better
    seed.
    """
    if roadmap.matters is None:
        return [decided_text(delta)]
    if delta is None or delta.verdict is None:
        return ["", ""]
    return [delta.verdict, cell(delta.improvement, ".2f")]


def _mean_text(row: StepRow) -> str:
    if row.summary is None:
        return "–"
    mean = number_text(row.summary.mean, row.decimals)
    if row.summary.std is None:
        return mean
    return f"{mean} ± {number_text(row.summary.std, row.decimals)}"


def number_text(value: float, decimals: int, sign: str = "") -> str:
    """`93.67`, or `3.1e-10` where zeros would stand before the digits that are needed; with
    `sign` "+" also a plus is shown.

    Negative decimals round before the point, in a power of ten.
    """
    if 0 <= decimals <= _MOST_DECIMALS or (decimals > 0 and abs(value) >= _SMALL):
        return f"{value:{sign}z.{decimals}f}"
    if value == 0:
        return "0"
    digits = max(0, decimals + math.floor(math.log10(abs(value))))
    return f"{value:{sign}.{digits}e}"


def delta_text(delta: StepEffect | None, before: str | None = None) -> str:
    """The difference, its interval, and against which step where that is not the one `before`.

    Without `before` nothing is said of that. Where some trials did not train as they should, how
    many stands beside it.
    """
    if delta is None:
        return ""
    parts = [_difference_text(delta)]
    if delta.rates:
        parts.append(delta.rates.text)
    text = "; ".join(filter(None, parts))
    if before is not None and delta.versus != before:
        text += f" vs {delta.versus}"
    if delta.caveat:
        text += "*"
    return text


def _difference_text(delta: StepEffect) -> str:
    if delta.mean is None:
        return ""
    mean = number_text(delta.mean, delta.decimals, "+")
    if delta.ci95 is None:
        return mean
    low, high = (number_text(end, delta.decimals, "+") for end in delta.ci95)
    return f"{mean} [{low}, {high}]"


def p_text(delta: StepEffect | None) -> str:
    """The corrected p-value."""
    if delta is None or delta.adjusted_p_value is None:
        return ""
    if delta.adjusted_p_value < 0.001:
        return "<0.001"
    return _beside_level(delta.adjusted_p_value)


def _beside_level(p: float) -> str:
    """Three decimals, and more beside the level."""
    return f"{p:.{_decimals_beside_level(p, 3)}f}"


def rounded_p(p: float | None) -> float | None:
    """A p-value for others' tables: three significant digits, and more beside the level; never so
    small that they would write it with an exponent, which is easily overlooked.
    """
    if p is None:
        return None
    p = max(p, _LEAST_P)
    return round(p, _decimals_beside_level(p, 2 - math.floor(math.log10(p))))


def _decimals_beside_level(p: float, decimals: int) -> int:
    """So many decimals, and more where rounding would put `p` on the other side of the level."""
    while (round(p, decimals) < LEVEL) != (p < LEVEL):
        decimals += 1
    return decimals


def decided_text(delta: StepEffect | None) -> str:
    """Tell whether the effect can be told from the chance between seeds."""
    if delta is None or delta.adjusted_p_value is None:
        return ""
    return "yes" if delta.is_decided else "no"


def outcome_text(row: StepRow) -> str:
    """Say how the trials ended, `finished` alone when all did; says if a collapse was expected."""
    total = sum(row.outcomes.values())
    parts = [
        spaced(name) if count == total else f"{count} {spaced(name)}"
        for name, count in sorted(row.outcomes.items())
    ]
    text = ", ".join(parts)
    collapsed = row.outcomes.get(Outcome.COLLAPSED, 0)
    if collapsed and row.variant.expects_collapse:
        return f"{text} (expected)"
    if row.variant.expects_collapse and row.outcomes.get(Outcome.FINISHED):
        return f"{text} (collapse was expected)"
    return text


def missing_text(row: StepRow) -> str:
    """`2 diverged, 1 failed`: how trials ended or stand that did not finish; empty where all
    did.
    """
    others = {
        name: count for name, count in sorted(row.outcomes.items()) if name != Outcome.FINISHED
    }
    return tally(others)


def direction_text(mode: str) -> str:
    """`higher is better`, or `lower is better`."""
    return "higher is better" if mode == "max" else "lower is better"


def when_text(roadmap: Roadmap) -> str:
    """The epoch at which the metric was read, in words."""
    if roadmap.epoch == "best":
        return "at the epoch that validates best"
    has_epochs = all(row.variant.config.unit == "epoch" for row in roadmap.rows)
    return "at the last epoch" if has_epochs else "at the end of training"


def search_text(search: Search, metric: str = "") -> str:
    """Say how far a search is, or what it found; `metric` where figures are wanted, too."""
    if search.chosen is None:
        text = f"{search.title}: the search has tried {search_state(search)}"
        if search.held_up_by:
            return (
                f"{text} and is blocked by {', '.join(search.held_up_by)}, which failed; "
                "`orchestrator resume` retries"
            )
        text += "" if search.variant.is_known else ": it waits for an earlier search"
        return "; ".join([text, *_conditions(search)])
    tried = f"{search.goal} combinations with {'seeds' if len(search.schema.seeds) > 1 else 'seed'}"
    tried += f" {', '.join(map(str, search.schema.seeds))}"
    tried += f", {search.pruned} of them stopped early" if search.pruned else ""
    text = f"{search.title}: {change_text(search.chosen.values)}, found by a search over {tried}"
    if not metric:
        return text
    seconds = f"{duration_text(search.seconds)} of training"
    beyond = f"; no {' and no '.join(search.not_beyond)} was tried" if search.not_beyond else ""
    counted = f"; its trials ({seconds}) and seeds are not counted anywhere else."
    return f"{text}, {_reached_text(search, metric)}{beyond}{_front_text(search)}{counted}"


def _reached_text(search: Search, metric: str) -> str:
    """Say what the chosen combination reached, and why that is too good to be expected again."""
    chosen, schema = search.chosen, search.schema
    if chosen is None or chosen.mean is None:
        return "none of whose trials finished"
    reached = f"where it reached {metric} {chosen.mean:.4g}"
    flattered = "on the seeds that chose it, so optimistic"
    if schema.metric and schema.within:
        others = f"{schema.metric[1].name} {chosen.means[schema.metric[1].name]:.4g}"
        return (
            f"{reached} and {others}, the best of those within {schema.within:g} of the best "
            f"{metric}, {flattered}"
        )
    return f"{reached}, the best of {search.goal}, {flattered}"


def _front_text(search: Search) -> str:
    """The Pareto set of a search by several metrics; empty of another."""
    if not search.front:
        return ""
    names = ", ".join(goal.name for goal in search.schema.metric or [])
    points = "; ".join(point_text(point) for point in search.front)
    return f"; Pareto set for {names} ({len(search.front)} of {search.goal}): {points}"


def point_text(point: Tried) -> str:
    """`lr: 0.002, depth: 3: val/acc1 90.1, params 20220`."""
    means = ", ".join(f"{name} {figure_text(value)}" for name, value in point.means.items())
    return f"{change_text(point.values)}: {means}"


def figure_text(value: float) -> str:
    """Four digits, or a large whole number with all of its own."""
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"


def _conditions(search: Search) -> list[str]:
    """Say what is looked for by another setting's choice."""
    texts = {key: condition_text(search, key) for key in search.schema.space}
    return [f"{key} is searched {text}" for key, text in texts.items() if text]


def condition_text(search: Search, key: str) -> str:
    """`where train.optimizer is sgd`; empty of a setting that every combination has."""
    text = search.conditions.text_of(key)
    return f"where {text}" if text else ""


def search_state(search: Search) -> str:
    """`4 of 12 combinations`."""
    return f"{sum(point.has_ended for point in search.tried)} of {search.goal} combinations"


def setting_text(value: Any) -> str:
    """The setting as a spec writes it, on one line; of a long one the beginning and the end."""
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{k}: {setting_text(v)}" for k, v in value.items()) + "}"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = "none" if value is None else str(value)
    return gist(text, _LONGEST_SETTING)


def _has_references(roadmap: Roadmap, metric: str = "") -> bool:
    return any(_reference_text(row, metric) for row in roadmap.rows)


def _reference_text(row: StepRow, metric: str = "") -> str:
    """Return what was published of the metric of the report, or of a further one."""
    reference = row.variant.reference or {}
    value = reference.get("value")
    if metric:
        value = reference.get("also", row.variant.published).get(metric)
    return cell(value)
