"""The report as plain records, one for each line of a data frame."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow


def step_records(roadmap: Roadmap) -> list[dict[str, Any]]:
    """One record for each variant of the report, of all designs, in the report's order.

    `ci95_low` and `ci95_high` bound the mean, and those behind `delta_previous_` and
    `delta_baseline_` the differences; p-values are corrected over the report's family.
    """
    return [_step_record(row) for row in _rows(roadmap)]


def trial_records(roadmap: Roadmap) -> list[dict[str, Any]]:
    """One record for each trial of the report: how it ended, and every metric that is reported.

    A metric is None where the trial did not train to the end or did not record it.
    """
    return [record for row in _rows(roadmap) for record in _trial_records(row)]


def _rows(roadmap: Roadmap) -> list[StepRow]:
    """Rows of the road and of the other designs, each variant once."""
    rows = {row.variant.label: row for row in roadmap.rows}
    for section in roadmap.sections:
        for row in section.rows:
            rows.setdefault(row.variant.label, row)
    return list(rows.values())


def _step_record(row: StepRow) -> dict[str, Any]:
    variant, summary = row.variant, row.summary
    low, high = (summary.ci95 if summary else None) or (None, None)
    record = {
        "regime": variant.regime,
        "step": variant.name,
        "design": variant.design,
        "side": variant.side,
        "seeds": len(row.values),
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "ci95_low": low,
        "ci95_high": high,
    }
    record |= _effect_record("delta_previous", row.delta_previous)
    record |= _effect_record("delta_baseline", row.delta_baseline)
    record |= {
        "outcomes": dict(row.outcomes),
        "params": row.params,
        "flops": row.flops,
        "train_seconds": row.train_seconds,
    }
    for name, other in row.also.items():
        record[name] = other.summary.mean if other.summary else None
    return record


def _effect_record(name: str, delta: StepEffect | None) -> dict[str, Any]:
    effect = delta.effect if delta else None
    low, high = (effect.ci95 if effect else None) or (None, None)
    return {
        name: effect.mean if effect else None,
        f"{name}_ci95_low": low,
        f"{name}_ci95_high": high,
        f"{name}_p_value": delta.adjusted_p_value if delta else None,
        f"{name}_verdict": delta.verdict if delta else None,
        f"{name}_versus": delta.versus if delta else None,
    }


def _trial_records(row: StepRow) -> Iterator[dict[str, Any]]:
    metrics: Mapping[str, StepRow] = {row.metric.name: row, **row.also}
    for seed, outcome in row.outcome_of.items():
        yield {
            "regime": row.variant.regime,
            "step": row.variant.name,
            "design": row.variant.design,
            "side": row.variant.side,
            "seed": seed,
            "outcome": outcome,
            **{name: of_metric.values.get(seed) for name, of_metric in metrics.items()},
            "fingerprint": row.fingerprints.get(seed),
            "path": row.paths.get(seed),
        }
