"""One line of the report: what the trials of a variant came to, with nothing averaged away."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from illama.cost import size_of, trained_to_json
from orchestrator.analysis.copies import are_copies
from orchestrator.analysis.decimals import decimals_of_values
from orchestrator.analysis.effects import StepEffect, effect_to_json
from orchestrator.analysis.search_luck import summary_over_repeats
from orchestrator.metrics import chosen_name, decimals_of, value_of
from orchestrator.outcomes import TRAINED, Outcome, State
from orchestrator.spec.schema import MetricSchema
from orchestrator.stats.inference import Summary, summarise
from orchestrator.store.artifacts import artifacts_in
from orchestrator.store.best_epoch import BestEpochs
from orchestrator.text import tally
from orchestrator.trial import KnownTrial, Variant, variant_label

_TO_COME = {str(state) for state in State if not state.has_ended}
"""States of a trial that has not ended yet."""

ValuesBySeed = Callable[[], Mapping[int, float]]


@dataclass(frozen=True)
class StepRow:
    """One variant."""

    variant: Variant
    values: Mapping[int, float]
    """The metric by seed, of trials that trained to the end, collapsed ones too; the others are
    missing here and counted in `outcomes`.
    """
    last_values: Mapping[int, float]
    """The metric at the last epoch."""
    read_best: ValuesBySeed = field(repr=False, compare=False)
    """Reads `best_values`, which costs reading the trials' curves."""
    summary: Summary | None
    """Summary of all values where the trials ended alike, and else of the finished ones alone."""
    outcomes: Mapping[str, int]
    """Number of trials by outcome; of those that are not done by state."""
    outcome_of: Mapping[int, str]
    """Outcome of each trial, or its state, by seed."""
    params: int | None
    flops: int | None
    """FLOPs of one image forward, two for each multiply-accumulate; of a user training as its
    trials say.
    """
    train_seconds: float
    """Summed over the trials."""
    delta_previous: StepEffect | None = None
    delta_baseline: StepEffect | None = None
    paths: Mapping[int, str] = field(default_factory=dict)
    """The trials' directories by seed."""
    reused: int = 0
    """Number of trials that were trained for another step or another sweep."""
    decimals: int = 2
    """Decimals shown of the metric."""
    unrecorded: int = 0
    """Number of trials that trained to the end without recording the metric."""
    also: Mapping[str, "StepRow"] = field(default_factory=dict)
    """Rows of the same variant by the further metrics that the report shows."""
    metric: MetricSchema = field(default_factory=MetricSchema)
    """Metric of the row, and how it is tested."""
    fingerprints: Mapping[int, str] = field(default_factory=dict)
    """Fingerprints of the trials by seed: variants that share them are one and the same."""
    are_copies: bool = False
    """True if its seeds changed nothing, so that it has no spread that could be known."""
    before: str = ""
    """The step before on the road; of a side step, before the one that it belongs to."""

    @property
    def mean(self) -> float | None:
        """Mean over the seeds; None without a result."""
        return self.summary.mean if self.summary else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None with fewer than two."""
        return self.summary.std if self.summary else None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Interval of the mean; None with fewer than two seeds, or where all values are the
        same.
        """
        return self.summary.ci95 if self.summary else None

    @property
    def versus(self) -> str:
        """Name of the variant that the effect is taken against; empty without an effect."""
        if self.delta_previous is None:
            return ""
        return self.delta_previous.versus

    @property
    def versus_label(self) -> str | None:
        """Label of the variant that the effect is taken against; None without an effect."""
        if self.delta_previous is None:
            return None
        return variant_label(self.variant.regime, self.delta_previous.versus)

    @property
    def usual_decimals(self) -> int:
        """Decimals of the metric, whatever its spread."""
        return decimals_of(self.metric.name, [*self.values.values()])

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
        """True if some trials finished and others collapsed, diverged or were pruned: no one mean
        describes both.
        """
        return bool(self._ended_otherwise) and self._has_finished

    @property
    def is_collapsed(self) -> bool:
        """True if trials collapsed and none finished."""
        return bool(self.outcomes.get(Outcome.COLLAPSED)) and not self._has_finished

    @property
    def is_healthy(self) -> bool:
        """True if later steps can be compared with this one: every trial that is done learned
        something.
        """
        return self._has_finished and not self._ended_otherwise

    @property
    def is_sick(self) -> bool:
        """True if trials failed, or came to something else than `is_healthy`; not where none has
        come to an end yet.
        """
        return not self.is_healthy and not self.outcomes.keys() <= _TO_COME

    @property
    def compared_values(self) -> Mapping[int, float]:
        """Values that effects are computed from: those that `summary` is of."""
        if self.is_mixed:
            return self.finished_values
        return self.values

    @property
    def mixture(self) -> str:
        """`2 collapsed, 1 diverged`, of a row that is mixed."""
        return tally(dict(sorted(self._ended_otherwise.items())))

    @cached_property
    def ended(self) -> frozenset[int]:
        """Seeds whose trials have come to an end, good or bad."""
        return frozenset(seed for seed, end in self.outcome_of.items() if end not in _TO_COME)

    @property
    def is_waiting(self) -> bool:
        """True if trials are still to come; before a search is done, all are."""
        return len(self.ended) < max(1, len(self.outcome_of))

    @property
    def bad(self) -> Mapping[int, str]:
        """Outcomes of the trials that did not train as they should, by seed."""
        return {
            seed: self.outcome_of[seed]
            for seed in self.ended
            if self.outcome_of[seed] != Outcome.FINISHED
        }

    @property
    def is_uniform(self) -> bool:
        """True if all trials that have ended trained to the end, and all alike: a mean describes
        them.
        """
        ends = {self.outcome_of[seed] for seed in self.ended}
        return len(ends) <= 1 and ends <= set(TRAINED)

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


def make_row(variant: Variant, trials: Sequence[KnownTrial], metric: MetricSchema) -> StepRow:
    """The row of a variant from the records of its trials; the last one of a seed counts."""
    by_seed = {known.spec.seed: known for known in trials}
    to_the_end = {
        seed: known.record
        for seed, known in by_seed.items()
        if known.record.result is not None and known.record.result["outcome"] in TRAINED
    }
    best = BestEpochs(to_the_end, chosen_name(metric.name), metric.mode)
    schemas = [metric]
    schemas += [metric.model_copy(update={"name": name, "also": []}) for name in metric.also]
    row, *others = (
        _row_by(schema, variant, by_seed, partial(best.values, schema.name)) for schema in schemas
    )
    copies = are_copies(variant, list(to_the_end.values()), [schema.name for schema in schemas])
    others = [replace(other, are_copies=copies) for other in others]
    return replace(row, are_copies=copies, also=dict(zip(metric.also, others, strict=True)))


def _row_by(
    metric: MetricSchema,
    variant: Variant,
    trials: Mapping[int, KnownTrial],
    read_best: ValuesBySeed,
) -> StepRow:
    done = {
        seed: known.record.result
        for seed, known in trials.items()
        if known.record.result is not None
    }
    to_the_end = {s: result for s, result in done.items() if result["outcome"] in TRAINED}
    last = {
        seed: value
        for seed, result in to_the_end.items()
        if (value := value_of(result, metric.name)) is not None
    }
    values = read_best() if metric.epoch == "best" else last
    outcome_of = {seed: known.record.standing for seed, known in trials.items()}
    params, flops = _size(variant, to_the_end)
    finished = [
        seed for seed, outcome in outcome_of.items() if outcome == Outcome.FINISHED
    ] or values
    summary = summary_over_repeats(
        variant, {seed: values[seed] for seed in finished if seed in values}
    )
    return StepRow(
        variant=variant,
        values=values,
        last_values=last,
        read_best=read_best,
        summary=summary,
        outcomes=dict(Counter(outcome_of.values())),
        outcome_of=outcome_of,
        params=params,
        flops=flops,
        train_seconds=sum(result.get("seconds", 0.0) for result in done.values()),
        paths={
            seed: known.record.path
            for seed, known in trials.items()
            if known.record.attempts or known.record.result
        },
        reused=sum(known.is_reused for known in trials.values()),
        decimals=decimals_of_values(metric.name, [*values.values()], summary),
        unrecorded=len(to_the_end) - len(values),
        metric=metric,
        fingerprints={seed: known.spec.fingerprint for seed, known in trials.items()},
    )


def _size(
    variant: Variant, results: Mapping[int, Mapping[str, Any]]
) -> tuple[int | None, int | None]:
    """Parameters and FLOPs: counted in advance, or else what a training said of itself."""
    counted = size_of(variant.config)
    if counted[0] is not None:
        return counted
    told = [
        next((result[name] for result in results.values() if result.get(name)), None)
        for name in ("params", "flops")
    ]
    return told[0], told[1]


def of_seeds(row: StepRow, seeds: Collection[int]) -> StepRow:
    """The row as if it had no other seeds."""

    def part(of_row: Mapping[int, Any]) -> dict[int, Any]:
        return {seed: what for seed, what in of_row.items() if seed in seeds}

    outcome_of = part(row.outcome_of)
    return replace(
        row,
        values=part(row.values),
        outcome_of=outcome_of,
        outcomes=dict(Counter(outcome_of.values())),
        fingerprints=part(row.fingerprints),
    )


_OF_PREVIOUS = ("verdict", "test", "detectable", "correlation", "rates")
"""Keys of the effect on the step before that a step's own line repeats."""


def row_to_json(row: StepRow) -> dict[str, Any]:
    """The form of a step in `report --format json`."""
    variant = row.variant
    previous = effect_to_json(row.delta_previous)
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
        "note": variant.note,
        "seeds": sorted(row.values),
        "mean": row.mean,
        "std": row.std,
        "ci95": row.ci95,
        "values": {str(seed): value for seed, value in row.values.items()},
        "mean_of": _mean_of(row),
        "mixed": row.is_mixed,
        "last_epoch_mean": last and last.mean,
        "best_epoch_mean": best and best.mean,
        "delta_previous": previous,
        "delta_baseline": effect_to_json(row.delta_baseline),
        **{key: previous and previous[key] for key in _OF_PREVIOUS},
        "outcomes": dict(row.outcomes),
        "outcome_of": {str(seed): outcome for seed, outcome in row.outcome_of.items()},
        "expects_collapse": variant.expects_collapse,
        "params": row.params,
        "flops": row.flops,
        **trained_to_json(variant.config),
        "train_seconds": row.train_seconds,
        "gpu_seconds": row.train_seconds * variant.resources.gpus_in_all,
        "reused": row.reused,
        "reference": variant.reference,
        "also": {name: _described(other) for name, other in row.also.items()},
        **_artifacts_to_json(row),
    }


def _artifacts_to_json(row: StepRow) -> dict[str, Any]:
    """Files that trainings left for people, by seed, as paths below the trial's `artifacts`
    folder.
    """
    found = {str(seed): artifacts_in(Path(path)) for seed, path in sorted(row.paths.items())}
    names = {seed: [one.name for one in of.shown] for seed, of in found.items() if of.shown}
    if not names:
        return {}
    return {"artifacts": names}


def _mean_of(row: StepRow) -> str | None:
    """Words for the trials that the mean is over; None where there is no mean."""
    if row.is_mixed:
        return "finished trials"
    if row.summary is None:
        return None
    return "all trials"


def _described(row: StepRow) -> dict[str, Any]:
    """A further metric of a step: without p-values, for it is described and not tested."""
    deltas = {
        "delta_previous": effect_to_json(row.delta_previous),
        "delta_baseline": effect_to_json(row.delta_baseline),
    }
    told = ("mean", "ci95", "versus", "pairs", "std", "caveat")
    return {
        "mean": row.mean,
        "std": row.std,
        "ci95": row.ci95,
        "values": {str(seed): value for seed, value in row.values.items()},
        **{name: delta and {key: delta[key] for key in told} for name, delta in deltas.items()},
    }
