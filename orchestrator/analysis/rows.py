"""One line of the report: what the trials of a variant came to, with nothing averaged away."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from illama.cost import size_of
from orchestrator.metrics import decimals_of, value_of
from orchestrator.spec.schema import MetricSchema
from orchestrator.stats.inference import (
    LEVEL,
    Effect,
    Summary,
    holm,
    paired_effect,
    sequential_effect,
    summarise,
)
from orchestrator.stats.power import seeds_needed
from orchestrator.store.best_epoch import BestEpochs
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec, Variant

_SPREADS_DIFFER = 4.0
"""Ratio of two standard deviations from which on the report warns; by chance alone it is rare from 5 seeds on."""

ValuesBySeed = Callable[[], Mapping[int, float]]


@dataclass(frozen=True)
class StepEffect:
    """A difference to another variant, and to which."""

    effect: Effect
    versus: str
    adjusted_p_value: float | None = None
    """Corrected by Holm over all steps of the sweep."""
    seeds_needed: int | None = None
    """Where it is not decided: how many seeds would probably decide it; none where 200 would not."""
    caveat: str = ""
    """What a reader must know before believing it."""
    decimals: int = 2
    """That people are shown of it."""


@dataclass(frozen=True)
class StepRow:
    """One variant."""

    variant: Variant
    values: Mapping[int, float]
    """The metric by seed, of trials that trained to the end, collapsed ones too; the others are missing here and counted in
    `outcomes`.
    """
    last_values: Mapping[int, float]
    """The metric at the last epoch."""
    read_best: ValuesBySeed = field(repr=False, compare=False)
    """Reads `best_values`, which costs reading the trials' curves."""
    summary: Summary | None
    """Of all values where the trials ended alike; of the finished ones alone where some collapsed, diverged or were pruned."""
    outcomes: Mapping[str, int]
    """How many trials ended in which way; those that are not done by their state."""
    outcome_of: Mapping[int, str]
    """The same by seed."""
    params: int | None
    flops: int | None
    """Of one image forward: two for each multiply-accumulate. Of somebody's own training what its trials say, if they do."""
    train_seconds: float
    """Summed over the trials."""
    delta_previous: StepEffect | None = None
    delta_baseline: StepEffect | None = None
    paths: Mapping[int, str] = field(default_factory=dict)
    """The trials' directories by seed."""
    reused: int = 0
    """How many of the trials were trained for another step or another sweep."""
    decimals: int = 2
    """That people are shown of the metric."""
    unrecorded: int = 0
    """How many trials trained to the end without recording the metric; an older version did not know it yet."""
    also: Mapping[str, "StepRow"] = field(default_factory=dict)
    """The same line by the further metrics that the report shows."""

    @property
    def best_values(self) -> Mapping[int, float]:
        """The metric at the epoch that was best by the report's metric: what papers often print,
        and biased upwards.
        """
        return self.read_best()

    @property
    def finished_values(self) -> Mapping[int, float]:
        """The metric of the trials that finished as they should."""
        return {
            seed: value
            for seed, value in self.values.items()
            if self.outcome_of.get(seed) == Outcome.FINISHED
        }

    @property
    def is_mixed(self) -> bool:
        """Whether some trials finished and others collapsed, diverged or were pruned: no one mean describes both."""
        return bool(self._ended_otherwise) and self._has_finished

    @property
    def is_collapsed(self) -> bool:
        """Whether trials collapsed and none finished."""
        return bool(self.outcomes.get(Outcome.COLLAPSED)) and not self._has_finished

    @property
    def is_healthy(self) -> bool:
        """Whether later steps can be held against this one: every trial that is done learned something."""
        return self._has_finished and not self._ended_otherwise

    @property
    def is_sick(self) -> bool:
        """Whether trials failed, or came to something else than `is_healthy`; not where none has come to an end yet."""
        return not self.is_healthy and not self.outcomes.keys() <= {
            State.PENDING,
            State.RUNNING,
            State.INTERRUPTED,
        }

    @property
    def compared_values(self) -> Mapping[int, float]:
        """What effects are computed from: those that `summary` is of."""
        return self.finished_values if self.is_mixed else self.values

    @property
    def mixture(self) -> str:
        """`2 collapsed, 1 diverged`, of a row that is mixed."""
        return ", ".join(f"{count} {name}" for name, count in sorted(self._ended_otherwise.items()))

    @property
    def _has_finished(self) -> bool:
        return Outcome.FINISHED in self.outcome_of.values()

    @property
    def _ended_otherwise(self) -> Mapping[str, int]:
        results = [
            str(outcome)
            for outcome in Outcome
            if outcome.is_result and outcome is not Outcome.FINISHED
        ]
        return {name: count for name, count in self.outcomes.items() if name in results}


def make_row(
    variant: Variant, trials: Mapping[int, tuple[TrialSpec, TrialRecord]], metric: MetricSchema
) -> StepRow:
    """The row of a variant from the records of its trials, by seed."""
    to_the_end = {
        seed: record
        for seed, (_, record) in trials.items()
        if record.result is not None
        and record.result["outcome"] in (Outcome.FINISHED, Outcome.COLLAPSED)
    }
    best = BestEpochs(to_the_end, metric.name, metric.mode)
    row, *others = (
        _row_by(name, metric.epoch, variant, trials, partial(best.values, name))
        for name in (metric.name, *metric.also)
    )
    return replace(row, also=dict(zip(metric.also, others, strict=True)))


def _row_by(
    metric: str,
    epoch: str,
    variant: Variant,
    trials: Mapping[int, tuple[TrialSpec, TrialRecord]],
    read_best: ValuesBySeed,
) -> StepRow:
    done = {
        seed: record.result for seed, (_, record) in trials.items() if record.result is not None
    }
    to_the_end = {
        s: result
        for s, result in done.items()
        if result["outcome"] in (Outcome.FINISHED, Outcome.COLLAPSED)
    }
    last = {
        seed: value
        for seed, result in to_the_end.items()
        if (value := value_of(result, metric)) is not None
    }
    values = read_best() if epoch == "best" else last
    outcome_of = {seed: _outcome(record) for seed, (_, record) in trials.items()}
    params, flops = size_of(variant.config)
    if params is None:
        params, flops = (
            next((r[size] for r in to_the_end.values() if r.get(size)), None)
            for size in ("params", "flops")
        )
    finished = [
        seed for seed, outcome in outcome_of.items() if outcome == Outcome.FINISHED
    ] or values
    return StepRow(
        variant=variant,
        values=values,
        last_values=last,
        read_best=read_best,
        summary=summarise([values[seed] for seed in finished if seed in values]),
        outcomes=dict(Counter(outcome_of.values())),
        outcome_of=outcome_of,
        params=params,
        flops=flops,
        train_seconds=sum(result.get("seconds", 0.0) for result in done.values()),
        paths={
            seed: record.path
            for seed, (_, record) in trials.items()
            if record.attempts or record.result
        },
        reused=sum(
            record.state is State.DONE and record.is_of_another(trial)
            for trial, record in trials.values()
        ),
        decimals=decimals_of(metric, [*values.values()]),
        unrecorded=len(to_the_end) - len(values),
    )


def effect_against(
    row: StepRow, versus: StepRow | None, looks: Sequence[int] = ()
) -> StepEffect | None:
    """The paired difference to another row, with what a reader must know of it; none where they share no seed.

    Where some trials collapsed or diverged, the difference of the others is shown without interval and p-value: which trials
    survive is itself an effect of the step. `looks` are those of seeds that are added as needed.
    """
    effect = _paired(row, versus, looks) if versus else None
    if effect is None or versus is None:
        return None
    caveats = []
    for one in (row, versus):
        if one.is_mixed:
            whose = "" if one is row else f"{one.variant.name}: "
            caveats.append(f"{whose}only seeds that finished; {one.mixture}")
            effect = Effect(effect.mean, None, None, effect.pairs, effect.std)
    wanted = (min if looks else max)(len(row.outcome_of), len(versus.outcome_of))
    if effect.pairs < wanted and not caveats:
        caveats.append(f"over {effect.pairs} of {wanted} seeds")
    if effect.std == 0.0 and effect.p_value is not None:
        caveats.append("the same difference for every seed: no interval, p by sign flips")
    if effect.p_value is not None and not row.is_collapsed:
        caveats += _spreads_differ(row, versus)
    return StepEffect(effect, versus.variant.name, caveat="; ".join(caveats), decimals=row.decimals)


def _paired(row: StepRow, versus: StepRow, looks: Sequence[int]) -> Effect | None:
    values, others = row.compared_values, versus.compared_values
    if not looks:
        return paired_effect(values, others)
    return sequential_effect(
        {seed: values[seed] - others[seed] for seed in values.keys() & others.keys()}, looks
    )


def _spreads_differ(row: StepRow, versus: StepRow) -> list[str]:
    """The known limit of the t-test (`benchmarks/results/calibration.md`)."""
    spreads = [
        one.summary.std
        for one in (row, versus)
        if one.summary and one.summary.std and len(one.compared_values) > 2
    ]
    if len(spreads) == 2 and max(spreads) > _SPREADS_DIFFER * min(spreads):
        return [
            f"spreads differ ({spreads[0]:.2g} here, {spreads[1]:.2g} there): p may be too small if one is skewed"
        ]
    return []


def corrected(deltas: Sequence[StepEffect | None]) -> list[StepEffect | None]:
    """Holm's correction over the effects that have a p-value, and the seeds that the undecided ones need."""
    p_values = holm([delta.effect.p_value if delta else None for delta in deltas])
    family = sum(p is not None for p in p_values)
    return [delta and _judged(delta, p, family) for delta, p in zip(deltas, p_values, strict=True)]


def _judged(delta: StepEffect, p_value: float | None, family: int) -> StepEffect:
    effect = delta.effect
    is_open = p_value is not None and p_value >= LEVEL and effect.std is not None
    needed = seeds_needed(effect.mean, effect.std or 0.0, family) if is_open else None
    return replace(delta, adjusted_p_value=p_value, seeds_needed=needed)


def _outcome(record: TrialRecord) -> str:
    return str(record.outcome if record.state in (State.DONE, State.FAILED) else record.state)


def row_to_json(row: StepRow) -> dict[str, Any]:
    """The form of a step in `report --format json`."""
    variant, summary = row.variant, row.summary
    best, last = (
        summarise([values[seed] for seed in row.compared_values if seed in values])
        for values in (row.best_values, row.last_values)
    )
    return {
        "name": variant.name,
        "regime": variant.regime,
        "design": variant.design,
        "side": variant.side,
        "on": variant.on,
        "changes": dict(variant.changes),
        "seeds": sorted(row.values),
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "ci95": summary.ci95 if summary else None,
        "values": {str(seed): value for seed, value in row.values.items()},
        "mean_of": "finished trials" if row.is_mixed else "all trials" if summary else None,
        "mixed": row.is_mixed,
        "last_epoch_mean": last.mean if last else None,
        "best_epoch_mean": best.mean if best else None,
        "delta_previous": effect_to_json(row.delta_previous),
        "delta_baseline": effect_to_json(row.delta_baseline),
        "outcomes": dict(row.outcomes),
        "outcome_of": {str(seed): outcome for seed, outcome in row.outcome_of.items()},
        "expects_collapse": variant.expects_collapse,
        "params": row.params,
        "flops": row.flops,
        "train_seconds": row.train_seconds,
        "gpu_seconds": row.train_seconds * variant.resources.gpus_in_all,
        "reused": row.reused,
        "reference": variant.reference,
        "also": {name: _described(other) for name, other in row.also.items()},
    }


def _described(row: StepRow) -> dict[str, Any]:
    """A further metric of a step: without p-values, for it is described and not tested."""
    summary = row.summary
    deltas = {
        "delta_previous": effect_to_json(row.delta_previous),
        "delta_baseline": effect_to_json(row.delta_baseline),
    }
    told = ("mean", "ci95", "versus", "pairs", "std", "caveat")
    return {
        "mean": summary.mean if summary else None,
        "std": summary.std if summary else None,
        "ci95": summary.ci95 if summary else None,
        "values": {str(seed): value for seed, value in row.values.items()},
        **{name: delta and {key: delta[key] for key in told} for name, delta in deltas.items()},
    }


def effect_to_json(delta: StepEffect | None) -> dict[str, Any] | None:
    """The form of an effect in `report --format json`; `p_value` is corrected."""
    if delta is None:
        return None
    effect = delta.effect
    return {
        "mean": effect.mean,
        "ci95": effect.ci95,
        "p_value": delta.adjusted_p_value,
        "versus": delta.versus,
        "p_value_uncorrected": effect.p_value,
        "p_value_sign_flip": effect.sign_flip_p,
        "pairs": effect.pairs,
        "std": effect.std,
        "seeds_needed": delta.seeds_needed,
        "caveat": delta.caveat,
    }
