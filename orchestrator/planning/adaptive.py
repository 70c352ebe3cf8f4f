"""Seeds only where they are needed: which steps are not decided yet, and which variants therefore get more. Pure.

A step is looked at with the first seeds of the spec, then with twice as many, and so on. An undecided one asks for the next
look's seeds, for its own variant and for the one that it is held against. What a look showed is never taken back, and each look
is paid for (`orchestrator.stats.inference.sequential_effect`), so stopping keeps the error rate; `benchmarks/calibration.py`
measures it.
"""

from collections.abc import Callable, Mapping, Sequence

from illama.config import DataConfig, UserData
from orchestrator.analysis.family import Rules, with_family
from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import TrialRecord, TrialSpec


def more_seeds(
    spec: SweepSpec,
    dataset_digest: Callable[[DataConfig | UserData | None], str],
    record_of: Callable[[TrialSpec], TrialRecord],
    earlier_looks: int = 0,
) -> Mapping[str, Sequence[int]]:
    """The seeds beyond the spec's first ones that are wanted now, by the variants' labels.

    `earlier_looks` are paid for here as they are in the report (`build_roadmap`).
    """
    adaptive = spec.schema.adaptive
    counts: dict[str, int] = {}
    if adaptive is None:
        return {}
    for look, following in zip(adaptive.looks, adaptive.looks[1:], strict=False):
        wanted = {label: range(adaptive.start, count) for label, count in counts.items()}
        trials = trials_of(spec, dataset_digest, more_seeds=wanted)
        roadmap = build_roadmap(spec, trials, record_of, spec.schema.metric)
        rows = _judged(spec, roadmap, adaptive.looks, earlier_looks)
        by_label = {row.variant.label: row for row in rows}
        for row in rows:
            other = by_label.get(_other_label(row))
            if (
                other is not None
                and _is_open(row)
                and all(_is_done(one, look) for one in (row, other))
            ):
                for one in (row, other):
                    counts[one.variant.label] = following
    return {label: list(range(adaptive.start, count)) for label, count in counts.items()}


def _other_label(row: StepRow) -> str:
    """The variant that the row's effect is taken against."""
    versus = row.delta_previous.versus if row.delta_previous else ""
    return f"{row.variant.regime}/{versus}" if row.variant.regime else versus


def _judged(
    spec: SweepSpec, roadmap: Roadmap, looks: Sequence[int], earlier_looks: int
) -> Sequence[StepRow]:
    """The rows with p-values that are corrected over what is known so far.

    More comparisons never lower a p-value, so a step that is open now stays open; one that is decided now may open again.
    """
    rules = Rules(
        spec.schema.metric,
        looks,
        looks_before=earlier_looks,
        designs=spec.schema.family,
        counts_to_come=False,
    )
    return with_family(roadmap.rows, roadmap.sections, rules)[0]


def _is_open(row: StepRow) -> bool:
    """A step of which some trials did not train as they should is not settled by more seeds."""
    delta = row.delta_previous
    return delta is not None and delta.verdict == "open" and delta.rates is None


def _is_done(row: StepRow, look: int) -> bool:
    """Whether every trial of this look has ended."""
    return set(range(look)) <= set(row.ended)
