"""The report as plain records, one for each line of a data frame."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.rows import StepRow
from orchestrator.store.trial_directory import TrialDirectory

_ENDS = ("", "_ci95_low", "_ci95_high", "_p_value", "_verdict", "_versus")
"""Ends of the names of the columns that hold an effect."""


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


def iteration_records(roadmap: Roadmap) -> list[dict[str, Any]]:
    """One record for each evaluation of each trial that has begun: every metric that it logged.

    `iteration` and, in seconds since 1970, `time` are those of the training.
    """
    return [record for row in _rows(roadmap) for record in _iteration_records(row)]


def _rows(roadmap: Roadmap) -> list[StepRow]:
    """Rows of the road and of the other designs, each variant once."""
    rows = {row.variant.label: row for row in roadmap.rows}
    for section in roadmap.sections:
        for row in section.rows:
            rows.setdefault(row.variant.label, row)
    return list(rows.values())


def _step_record(row: StepRow) -> dict[str, Any]:
    variant = row.variant
    low, high = row.ci95 or (None, None)
    record = {
        "regime": variant.regime,
        "step": variant.name,
        "design": variant.design,
        "side": variant.side,
        "seeds": len(row.values),
        "mean": row.mean,
        "std": row.std,
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
        record[name] = other.mean
    return record


def _effect_record(name: str, delta: StepEffect | None) -> dict[str, Any]:
    if delta is None:
        return dict.fromkeys(f"{name}{end}" for end in _ENDS)
    low, high = delta.ci95 or (None, None)
    values = (delta.mean, low, high, delta.adjusted_p_value, delta.verdict, delta.versus)
    return {f"{name}{end}": value for end, value in zip(_ENDS, values, strict=True)}


def _iteration_records(row: StepRow) -> Iterator[dict[str, Any]]:
    variant = row.variant
    for seed, path in sorted(row.paths.items()):
        for line in TrialDirectory(Path(path)).metrics():
            yield {
                "regime": variant.regime,
                "step": variant.name,
                "design": variant.design,
                "side": variant.side,
                "seed": seed,
                "iteration": line["iteration"],
                "time": line["time"],
                **{name: line["metrics"][name] for name in line["metrics"] if _is_own(name)},
            }


def _is_own(metric: str) -> bool:
    """Tell whether a metric is of the training, not of how busy its machine was."""
    return not metric.startswith("system/")


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
