"""Sizes and lengths that only results tell: of a user training, once its trials say so."""

from collections.abc import Iterator, Sequence

from orchestrator.analysis.rows import StepRow
from orchestrator.outcomes import TRAINED
from orchestrator.spec.warnings import SpecWarning
from orchestrator.trial import KnownTrial, variant_label


def drift_in_results(
    rows: Sequence[StepRow],
    trials: Sequence[KnownTrial],
    tolerance: float,
    known: Sequence[SpecWarning],
) -> list[SpecWarning]:
    """Steps whose trials say that they are larger or longer than the step before.

    `known` is what the plan has warned of: it is not told twice.
    """
    by_label = {row.variant.label: row for row in rows}
    iterations = _iterations(trials)
    found: list[SpecWarning] = []
    for row in rows:
        ground, step = (_beside(row, by_label, name) for name in _names(row))
        if row.variant.config.network is not None or row.variant.on or ground is None:
            continue
        if row.variant.side and step is not None:
            ground = _nearer(row, step, ground, tolerance)
        drifts = [*_size_drift(row, ground, tolerance)]
        drifts += _compute_drift(row, ground, iterations, tolerance)
        found += [warning for warning in drifts if not _is_told(warning, row, known)]
    return found


def _is_told(warning: SpecWarning, row: StepRow, known: Sequence[SpecWarning]) -> bool:
    start = f"step '{row.variant.name}' "
    return any(one.code == warning.code and one.message.startswith(start) for one in known)


def _names(row: StepRow) -> tuple[str, str]:
    """Names of the variant that a row is compared with, and of the step that it belongs to."""
    return row.variant.follows or "", row.variant.step


def _beside(row: StepRow, by_label: dict[str, StepRow], name: str) -> StepRow | None:
    return by_label.get(variant_label(row.variant.regime, name))


def _nearer(row: StepRow, step: StepRow, ground: StepRow, tolerance: float) -> StepRow:
    """The step that a side step belongs to, if it is as large; otherwise what it is compared
    with.
    """
    if any(_sizes(row, step, tolerance)):
        return ground
    return step


def _sizes(row: StepRow, ground: StepRow, tolerance: float) -> Iterator[str]:
    sizes = {
        "parameters": (ground.params, row.params),
        "FLOPs": (ground.flops, row.flops),
    }
    for what, (before, after) in sizes.items():
        if before and after and abs(after / before - 1) > tolerance:
            yield f"{after / before - 1:+.1%} {what}"


def _size_drift(row: StepRow, ground: StepRow, tolerance: float) -> Iterator[SpecWarning]:
    sizes = " and ".join(_sizes(row, ground, tolerance))
    if sizes:
        message = (
            f"step '{row.variant.name}' has {sizes} compared with {ground.variant.label}, as its "
            "trials report: size alone may explain its effect; add a side step of equal size"
        )
        yield SpecWarning("size-drift", message, row.variant.line)


def _compute_drift(
    row: StepRow, ground: StepRow, iterations: dict[str, list[int]], tolerance: float
) -> Iterator[SpecWarning]:
    """Trainings that are all longer, or all shorter, than all of the other side."""
    after, before = (iterations.get(one.variant.label, []) for one in (row, ground))
    if not after or not before or max(min(after), min(before)) <= min(max(after), max(before)):
        return
    ratio = (sum(after) / len(after)) / (sum(before) / len(before))
    if abs(ratio - 1) > tolerance:
        message = (
            f"step '{row.variant.name}' trained {ratio:.3g} times as many iterations as "
            f"{ground.variant.label}: compute alone may explain its effect; train both equally long"
        )
        yield SpecWarning("compute-drift", message, row.variant.line)


def _iterations(trials: Sequence[KnownTrial]) -> dict[str, list[int]]:
    """Iterations of the trials that trained to the end, by the labels of variants."""
    found: dict[str, list[int]] = {}
    for known in trials:
        iterations = known.record.iterations
        if known.record.outcome not in TRAINED:
            continue
        if isinstance(iterations, int) and iterations > 0:
            found.setdefault(known.spec.variant_label, []).append(iterations)
    return found
