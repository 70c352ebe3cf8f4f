"""View of a sweep in MLflow: the names, params, tags and metrics of its runs. Pure; `mirror` writes
them.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from illama.config import Workload
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.rows import StepRow
from orchestrator.outcomes import Outcome, State
from orchestrator.report.words import change_text, rounded_p
from orchestrator.spec.search_space import SEARCH, Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.attempts_file import hosts_of
from orchestrator.store.mlflow_runs import run_key
from orchestrator.text import cut, printable
from orchestrator.tracking.names import mlflow_name
from orchestrator.trial import TrialRecord, TrialSpec, Variant, variant_label

_PARAM_LENGTH = 250
"""Longer values help nobody to compare, and servers before MLflow 2.8 refuse them at 500."""
TAG_LENGTH = 4000
"""The oldest limit of a server is 5000 bytes."""
_SECONDS_DECIMALS = 1
_COPY = "sweep.yaml"
"""Name of a spec in the store."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Summary:
    """Summary of a variant's trials in its run."""

    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    status: str
    """The status in MLflow's words, once every trial has ended."""
    curves: Collection[str]
    """Metrics that the trials have curves of; MLflow's UI draws the others as bars where they have
    no step.
    """


@dataclass(frozen=True)
class Asked:
    """Parameters of a trial's run, from the spec."""

    params: Mapping[str, str]
    source: str
    """Name of its file."""


def road_names(variants: Sequence[Variant]) -> dict[str, str]:
    """A name for each variant, by label, that sorts as the road reads: `3 causal_mask`, `3a` for
    what stands beside it.
    """
    numbers: dict[str, str] = {}
    rung, beside, regime = -1, 0, None
    rungs = Counter(variant.regime for variant in variants if not variant.side)
    width = len(str(max(rungs.values(), default=1) - 1))
    for variant in variants:
        if variant.regime != regime:
            rung, regime = -1, variant.regime
        rung, beside = (rung, beside + 1) if variant.side else (rung + 1, 0)
        letter = _LETTERS[min(beside, len(_LETTERS)) - 1] if beside else ""
        numbers[variant.label] = f"{rung:0{width}}{letter}"
    return {
        variant.label: variant_label(variant.regime, f"{numbers[variant.label]} {variant.name}")
        for variant in variants
    }


def search_runs(spec: SweepSpec) -> list[tuple[Search, Variant]]:
    """The runs that stand for searches: each the one that its trials are below."""
    return [
        (it, replace(it.variant, name=it.name, design=SEARCH, changes={})) for it in spec.searches
    ]


def parents_in_order(spec: SweepSpec) -> dict[str, tuple[Variant, str]]:
    """Whatever has a run with trials below, in the order of the road, and the name of the run; by
    label.
    """
    names = road_names(spec.road)
    found: dict[str, tuple[Variant, str]] = {}
    runs = search_runs(spec)
    for variant in spec.road:
        for search, run in runs:
            if search.label == variant.label:
                found[run.label] = (run, f"{names[variant.label]}{search.suffix}")
        found[variant.label] = (variant, names[variant.label])
    return found


def params_of(spec: SweepSpec, variant: Variant) -> dict[str, str]:
    """Return what one compares by: the step, and every setting that any step of the sweep changes,
    with this variant's values.
    """
    regime = {"regime": variant.regime} if variant.regime else {}
    own = {"step": variant.step, "variant": variant.name} | regime | _in_turn(spec, variant)
    searched = (search for search, run in search_runs(spec) if run.label == variant.label)
    space = [mlflow_name(key) for search in searched for key in search.schema.space]
    return own | dict.fromkeys(space, "searched")


def trial_params(spec: SweepSpec, trial: TrialSpec, step: str) -> dict[str, str]:
    """The parameters of a trial as by `params_of`, and the seed; `step` is the rung of the trial's
    variant.
    """
    regime = {"regime": trial.regime} if trial.regime else {}
    own = {"step": step, "variant": trial.variant, "seed": str(trial.seed)} | regime
    return own | _changed(spec, trial.config)


def source_of(spec: SweepSpec) -> str:
    """Name of the file that the sweep is written in; of the store's copy of it, which has another
    name, the sweep's.
    """
    is_copy = spec.path.name == _COPY and spec.path.parent.name == spec.name
    return f"{spec.name}.yaml" if is_copy else spec.path.name


def trial_tags(trial: TrialSpec, provenance: Mapping[str, Any], source: str) -> dict[str, str]:
    """The tags of a trial's run that never change; `source` is `source_of` its spec."""
    return {
        "sweep.kind": kind_of(trial.is_of_search),
        "sweep.trial": run_key(trial),
        "sweep.name": trial.sweep,
        "sweep.variant": trial.variant,
        "sweep.regime": trial.regime,
        "sweep.seed": str(trial.seed),
        "sweep.fingerprint": trial.fingerprint,
        "sweep.git_uncommitted": str(provenance.get("git_diff") or ""),
        "mlflow.source.name": source,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": str(provenance.get("git_commit") or ""),
    }


def kind_of(is_of_search: bool, what: str = "trial") -> str:
    """The tag by which trials of the report are told from those of searches, and variants
    likewise.
    """
    return "search" if is_of_search else what


def state_of(record: TrialRecord, size: int) -> str:
    """Return a state that changes with all news of a trial besides its curves; `size` is that of
    `attempts.jsonl`, which only grows.
    """
    return f"{record.state} {record.outcome or ''} {size}"


def state_tags(
    record: TrialRecord, attempts: Sequence[Mapping[str, Any]], state: str
) -> dict[str, str]:
    """The tags of a trial's run that tell how it stands; `attempts` are the lines of
    `attempts.jsonl`, `state` is `state_of` all this.
    """
    begun = [event for event in attempts if event["event"] == "start"]
    hosts = dict.fromkeys(host for event in begun for host in hosts_of(event))
    devices = [str(event.get("device", "")) for event in begun]
    return {
        "sweep.iteration": str(record.iteration),
        "sweep.attempts": str(record.attempts),
        "sweep.outcome": str(record.outcome or record.state),
        "sweep.cause": printable(record.cause or "")[:TAG_LENGTH],
        "sweep.host": ", ".join(hosts)[:TAG_LENGTH],
        "sweep.device": "".join(devices[-1:])[:TAG_LENGTH],
        "sweep.state": state,
    }


def summary_of(spec: SweepSpec, row: StepRow, *, is_whole: bool) -> Summary:
    """A line of the report as metrics and tags; p-values only where it `is_whole`: each is
    corrected for all others.
    """
    variant, metric = row.variant, spec.reported_metric.name
    metrics: dict[str, float | None] = {}
    if row.summary:
        # first: MLflow's page for comparing runs opens on the metric that was written first
        metrics |= _spread(metric, row)
        metrics |= {
            "variant/seeds": float(len(row.compared_values)),
            "variant/train_seconds": round(row.train_seconds, _SECONDS_DECIMALS),
        }
    for name, other in row.also.items():
        metrics |= _spread(name, other)
    metrics |= {"variant/params": row.params, "variant/flops": row.flops}
    tags = {
        "sweep.design": variant.design,
        "sweep.outcome": _counts(row.outcomes),
        "mlflow.note.content": _note(row),
    }
    metrics |= _at_a_glance(row.delta_previous, is_whole=is_whole)
    for against, delta in (("previous", row.delta_previous), ("baseline", row.delta_baseline)):
        metrics |= _effect(f"delta_{against}", delta, is_whole=is_whole)
        if delta:
            tags[f"sweep.versus_{against}"] = delta.versus
            tags[f"sweep.caveat_{against}"] = delta.caveat
    for name, other in row.also.items():  # described and not tested
        metrics |= _effect(f"delta_previous/{name}", other.delta_previous, is_whole=False)
    has_result = any(row.outcomes.get(outcome) for outcome in Outcome if outcome.is_result)
    found = {mlflow_name(key): float(value) for key, value in metrics.items() if value is not None}
    status = "FINISHED" if has_result else "FAILED"
    return Summary(tags, found, status, {mlflow_name(name) for name in (metric, *row.also)})


def status_of(record: TrialRecord) -> str:
    """The status in MLflow's words."""
    if record.outcome is None:
        return "RUNNING"
    return {State.DONE: "FINISHED", State.FAILED: "FAILED"}.get(record.state, "KILLED")


def _spread(metric: str, row: StepRow) -> dict[str, float | None]:
    if row.summary is None:
        return {}
    low, high = row.summary.ci95 or (None, None)
    found = {
        metric: row.summary.mean,
        f"{metric}_std": row.summary.std,
        f"{metric}_ci95_low": low,
        f"{metric}_ci95_high": high,
    }
    return _rounded(found, row.decimals)


def _effect(name: str, delta: StepEffect | None, *, is_whole: bool) -> dict[str, float | None]:
    if delta is None:
        return {}
    low, high = delta.ci95 or (None, None)
    found = {f"{name}/mean": delta.mean, f"{name}/ci95_low": low, f"{name}/ci95_high": high}
    found = _rounded(found, delta.decimals)
    if not is_whole:
        return found
    # how many failed is another question
    kind = "rate_p_value" if delta.rates else "p_value"
    return found | {f"{name}/{kind}": rounded_p(delta.adjusted_p_value)}


def _at_a_glance(delta: StepEffect | None, *, is_whole: bool) -> dict[str, float | None]:
    """Effect and p-value under names that the table of MLflow's UI has room for: it cuts them
    after some ten characters.
    """
    if delta is None or delta.mean is None:
        return {}
    found: dict[str, float | None] = {"effect/delta": round(delta.mean, delta.decimals)}
    if is_whole and not delta.rates:
        found["effect/p"] = rounded_p(delta.adjusted_p_value)
    return found


def _rounded(values: Mapping[str, float | None], decimals: int) -> dict[str, float | None]:
    """The values with the digits that the report shows: MLflow's UI shows all that it is given."""
    return {key: None if value is None else round(value, decimals) for key, value in values.items()}


def _counts(outcomes: Mapping[str, int]) -> str:
    """`6 finished`, or `5 finished, 1 failed`."""
    return ", ".join(
        f"{count} {outcome}"
        for outcome, count in sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))
    )


def _note(row: StepRow) -> str:
    variant = row.variant
    if variant.follows is None:
        return "The baseline."
    where = "on the road"
    if variant.side:
        where = "beside the road"
    if variant.on:
        where = f"beside the road, on {variant.on}"
    return f"{change_text(variant.changes)} ({where})"[:TAG_LENGTH]


def _in_turn(spec: SweepSpec, variant: Variant) -> dict[str, str]:
    """The changed settings; where repeated searches settle them in turn, all values."""
    each = [_changed(spec, one.config) for one in variant.repeated or (variant,)]
    return {key: " or ".join(dict.fromkeys(one[key] for one in each)) for key in each[0]}


def _changed(spec: SweepSpec, config: Workload) -> dict[str, str]:
    return {mlflow_name(key): _shown(config.setting(key)) for key in spec.varied}


def _shown(value: Any) -> str:
    """The value as a spec writes it, short enough to compare."""
    if value is None:
        value = "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return cut(printable(text), _PARAM_LENGTH)


def summary_key(variant: Variant) -> str:
    """The key that ties a variant to its one run of means."""
    return f"{kind_of(variant.design == SEARCH, 'variant')}: {variant.label}"
