"""Seeds only where they are needed: which steps are not decided yet, and which variants therefore get more. Pure.

A step is looked at with the first seeds of the spec, then with twice as many, and so on. An undecided one asks for the next
look's seeds, for its own variant and for the one that it is held against. What a look showed is never taken back, and each look
is paid for (`orchestrator.stats.inference.sequential_effect`), so stopping keeps the error rate; `benchmarks/calibration.py`
measures it.
"""

from collections.abc import Callable, Mapping, Sequence

from illama.config import DataConfig, ForeignData
from orchestrator.analysis.roadmap import StepRow, build_roadmap
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.inference import LEVEL
from orchestrator.trial import TrialRecord, TrialSpec


def more_seeds(
    spec: SweepSpec,
    dataset_digest: Callable[[DataConfig | ForeignData | None], str],
    record_of: Callable[[TrialSpec], TrialRecord],
) -> Mapping[str, Sequence[int]]:
    """The seeds beyond the spec's first ones that are wanted now, by the variants' labels."""
    adaptive = spec.schema.adaptive
    counts: dict[str, int] = {}
    if adaptive is None:
        return {}
    for look, following in zip(adaptive.looks, adaptive.looks[1:], strict=False):
        wanted = {label: range(adaptive.start, count) for label, count in counts.items()}
        trials = trials_of(spec, dataset_digest, more_seeds=wanted)
        rows = build_roadmap(spec, trials, record_of, spec.schema.metric).rows
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


def _is_open(row: StepRow) -> bool:
    """A step with collapsed and finished trials has no p-value; more seeds would not give it one."""
    p = row.delta_previous.adjusted_p_value if row.delta_previous else None
    return p is not None and p >= LEVEL


def _is_done(row: StepRow, look: int) -> bool:
    """Whether every trial of this look has ended."""
    ended = set(row.values) | {
        seed for seed, outcome in row.outcome_of.items() if outcome not in _NOT_ENDED
    }
    return set(range(look)) <= ended


_NOT_ENDED = ("pending", "running", "interrupted", "lost")
