"""Seeds only where they are needed: which steps are not decided yet, and which variants therefore
get more. Pure.

A step is looked at with the first seeds of the spec, then with twice as many, and so on. An
undecided one asks for the next look's seeds, for its own variant and for the one that it is
compared with. What a look showed is never taken back, and each look is paid for
(`orchestrator.stats.inference.sequential_effect`), so stopping keeps the error rate;
`benchmarks/calibration.py` measures it.
"""

from collections.abc import Mapping, Sequence

from orchestrator.analysis.family import Rules
from orchestrator.analysis.rows import StepRow
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.analysis.steps import judged_steps
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.trials import Choice, in_order, seed_trials
from orchestrator.spec.sweep_spec import SweepSpec


def more_seeds(
    spec: SweepSpec, lookup: Lookup, earlier_looks: int = 0
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
        rows = _judged(_with_seeds(spec, lookup, wanted), adaptive.looks, earlier_looks)
        for label in _open_at(rows, look):
            counts[label] = following
    return {label: list(range(adaptive.start, count)) for label, count in counts.items()}


def _with_seeds(spec: SweepSpec, lookup: Lookup, wanted: Mapping[str, Sequence[int]]) -> Snapshot:
    """The whole sweep with its first seeds and those that are wanted so far."""
    whole, digest = Choice(), lookup.digest
    asked = [
        seed_trials(spec, whole, digest),
        seed_trials(spec, whole, digest, wanted),
    ]
    return Snapshot(spec, lookup.known(in_order(spec, asked)))


def _judged(snapshot: Snapshot, looks: Sequence[int], earlier_looks: int) -> list[StepRow]:
    """The rows with p-values that are corrected over what is known so far.

    More comparisons never lower a p-value, so a step that is open now stays open; one that is
    decided now may open again.
    """
    schema = snapshot.spec.schema
    rules = Rules(
        schema.metric,
        looks,
        looks_before=earlier_looks,
        designs=schema.family,
        counts_to_come=False,
    )
    return judged_steps(snapshot, rules)[0]


def _open_at(rows: Sequence[StepRow], look: int) -> list[str]:
    """Labels of the variants on either side of a step that is not decided at this look."""
    by_label = {row.variant.label: row for row in rows}
    found: dict[str, None] = {}
    for row in rows:
        other = by_label.get(row.versus_label or "")
        if other is None or not _is_open(row):
            continue
        if _is_done(row, look) and _is_done(other, look):
            found[row.variant.label] = found[other.variant.label] = None
    return list(found)


def _is_open(row: StepRow) -> bool:
    """A step of which some trials did not train as they should is not settled by more seeds."""
    delta = row.delta_previous
    return delta is not None and delta.verdict == "open" and delta.rates is None


def _is_done(row: StepRow, look: int) -> bool:
    """True if every trial of this look has ended."""
    return set(range(look)) <= set(row.ended)
