"""Cost and power of a sweep before it is run. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, median
from typing import Any

from illama.cost import size_of
from orchestrator.analysis.reading import figure_of
from orchestrator.errors import counted
from orchestrator.outcomes import Outcome, State
from orchestrator.spec.designs import has_road
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.comparison import effect_between
from orchestrator.stats.inference import Effect
from orchestrator.stats.power import Ranged, detectable_difference, typical_spread
from orchestrator.stats.registry import TESTS
from orchestrator.trial import KnownTrial, TrialSpec, variant_label

_TRAINING_PER_FORWARD = 3
"""FLOPs of a training iteration over those of its way forward: the way back is two more."""


@dataclass(frozen=True)
class Estimate:
    """Cost of what is left to do, and power of the whole."""

    trials: int
    """Number of trials still to be trained."""
    train_seconds: float | None
    """Training seconds of these trials, summed. None before any trial is done, unless the spec says
    what the hardware does.
    """
    basis: str
    """Origin of `train_seconds`, in words."""
    gpu_hours: float | None = None
    """GPU-hours of what is left; None on the CPU."""
    price: float | None = None
    """Price of what is left, in the currency of the spec's `cost`."""
    spread: float | None = None
    """Typical standard deviation of the differences between steps, from the trials that are done;
    the metric's unit.
    """
    detectable_difference: float | None = None
    """Difference that the seeds find with 80 % power, in the metric's unit; None before a spread is
    known.
    """
    detectable_range: tuple[float, float] | None = None
    """Detectable difference of the steadiest and of the most spread step."""
    comparisons: int = 1
    """Largest number of comparisons that the report will test and correct for."""
    detectable_in_stds: float | None = None
    """Detectable difference in units of the spread, which needs no trial; None for one seed."""

    def with_spread(self, spread: Ranged) -> "Estimate":
        """The estimate with the difference that can be detected at this spread between seeds."""
        in_stds = self.detectable_in_stds
        if not in_stds:
            return replace(self, spread=spread.value)
        low, high = spread.range
        return replace(
            self,
            spread=spread.value,
            detectable_difference=in_stds * spread.value,
            detectable_range=(in_stds * low, in_stds * high),
        )

    def to_json(self) -> dict[str, Any]:
        """The form in `plan --json`."""
        return asdict(self)


def estimate_of(
    spec: SweepSpec, left: Sequence[KnownTrial], trials: Sequence[KnownTrial]
) -> Estimate:
    """Cost of `left`, the trials still to be trained, and power of the whole.

    Finished ones among `trials`, all of the plan, say how long a training takes and how seeds
    spread.
    """
    rate, basis = _seconds_per_flop(spec, trials)
    flops = _flops_left_of(spec, left, _share_of_judged(trials))
    gpu_hours = _gpu_hours(rate, left, flops)
    comparisons = max(1, comparisons_of(spec, [known.spec for known in trials]))
    estimate = Estimate(
        trials=len(left),
        train_seconds=_train_seconds(rate, flops),
        basis=basis,
        gpu_hours=gpu_hours,
        price=_price(spec, gpu_hours),
        comparisons=comparisons,
        detectable_in_stds=_detectable_in_stds(spec, comparisons),
    )
    spread = typical_spread([effect for effect in _effects(spec, trials) if effect])
    if spread is None:
        return estimate
    return estimate.with_spread(spread)


def _flops_left_of(spec: SweepSpec, left: Sequence[KnownTrial], share: float) -> list[float]:
    """FLOPs of each trial that is left; `share` of those that a search's rule may stop."""
    flops = []
    for known in left:
        whole = _flops_left(spec, known)
        flops.append(whole * share if known.spec.pruning else whole)
    return flops


def _train_seconds(rate: float | None, flops: Sequence[float]) -> float | None:
    if rate is None:
        return None
    return sum(rate * one for one in flops)


def _gpu_hours(
    rate: float | None, left: Sequence[KnownTrial], flops: Sequence[float]
) -> float | None:
    """GPU-hours of what is left, at `rate` seconds per FLOP; None on the CPU or without a rate."""
    gpus = [known.spec.resources.gpus_in_all for known in left]
    if rate is None or not any(gpus):
        return None
    return sum(rate * one * count for one, count in zip(flops, gpus, strict=True)) / 3600


def _price(spec: SweepSpec, gpu_hours: float | None) -> float | None:
    cost = spec.schema.cost
    if gpu_hours is None or cost is None or cost.price_per_gpu_hour is None:
        return None
    return gpu_hours * cost.price_per_gpu_hour


def _detectable_in_stds(spec: SweepSpec, comparisons: int) -> float | None:
    """Detectable difference in standard deviations; None where sign flips test, or for one seed."""
    if TESTS[spec.schema.metric.test].judge:
        return None
    looks = max(1, len(spec.schema.looks))
    return detectable_difference(1.0, spec.schema.most_seeds, comparisons * looks)


def comparisons_of(spec: SweepSpec, trials: Sequence[TrialSpec]) -> int:
    """Size of the report's family: pairs of variants, each pair once, and averages over cells."""
    designs = [design for design in spec.schema.design if _is_tested(spec, design.name)]
    averages = sum(design.averages(len(spec.schema.steps)) for design in designs)
    regimes = {variant.regime for variant in spec.road}
    return len(_pairs(spec, trials)) + averages * len(regimes)


def _pairs(spec: SweepSpec, trials: Sequence[TrialSpec]) -> set[frozenset[str]]:
    """Both sides of each comparison of two variants; those that are one training are no pair."""
    fingerprints = {trial.variant_label: trial.fingerprint for trial in reversed(trials)}
    pairs = set()
    for variant in spec.road:
        if variant.follows and _is_pair(spec, variant.design):
            labels = variant.label, variant_label(variant.regime, variant.follows)
            pairs.add(frozenset(fingerprints.get(label, label) for label in labels))
    return {sides for sides in pairs if len(sides) == 2}


def _is_pair(spec: SweepSpec, name: str) -> bool:
    """Tell whether the variants of a design are tested one by one, each against another."""
    if not _is_tested(spec, name):
        return False
    designs = spec.schema.design
    if not has_road(designs):
        return True
    of_pairs = [design for design in designs if design.is_road or design.compares_two_cells]
    return name in {design.name for design in of_pairs}


def _is_tested(spec: SweepSpec, design: str) -> bool:
    return spec.schema.family is None or design in spec.schema.family


def _seconds_per_flop(spec: SweepSpec, trials: Sequence[KnownTrial]) -> tuple[float | None, str]:
    """Seconds for a FLOP, and where that is from: finished trials, or else the spec's hardware."""
    rates = [rate for known in trials for rate in _rates(spec, known)]
    if rates:
        return median(rates), f"{counted(len(rates), 'trial')} already done"
    if spec.schema.cost and all(known.spec.config.network for known in trials):
        return 1 / spec.schema.cost.flops_per_second, "the spec's cost.flops_per_second"
    return None, "a time estimate needs one finished trial"


def _rates(spec: SweepSpec, known: KnownTrial) -> Iterator[float]:
    """Seconds for a FLOP of a trial that is done; nothing of others."""
    seconds, flops = known.record.seconds, _flops(spec, known.spec)
    if seconds and flops and known.record.outcome is not Outcome.PRUNED:
        yield seconds / flops


def _share_of_judged(trials: Sequence[KnownTrial]) -> float:
    """Part of their epochs that trials had which a search's rule might stop early; 1 before any is
    done.
    """
    shares = [
        known.record.epoch / known.spec.config.total
        for known in trials
        if known.spec.pruning and known.record.state is State.DONE
    ]
    return fmean(shares or [1.0])


def _flops(spec: SweepSpec, trial: TrialSpec) -> float:
    """FLOPs of a whole training, of as many images an epoch as the spec says, or else of one.

    Of a user training, whose FLOPs nobody knows, its iterations.
    """
    _, flops = size_of(trial.config)
    if flops is None:
        return float(trial.config.total)
    images = 1
    if spec.schema.cost:
        images = spec.schema.cost.images_per_epoch
    return float(flops) * _TRAINING_PER_FORWARD * images * trial.config.total


def _flops_left(spec: SweepSpec, known: KnownTrial) -> float:
    trial = known.spec
    trained = trial.reached(known.record.epoch) / trial.config.total
    return _flops(spec, trial) * (1 - trained)


def _effects(spec: SweepSpec, trials: Sequence[KnownTrial]) -> list[Effect | None]:
    """Differences along the road, between steps that finished."""
    values: dict[str, dict[int, float]] = {}
    for known in trials:
        trial, record = known.spec, known.record
        is_finished = record.outcome is Outcome.FINISHED
        figure = figure_of(record, spec.reported_metric) if is_finished else None
        if figure is not None:
            values.setdefault(trial.variant_label, {})[trial.seed] = figure
    effects = []
    for variant in spec.variants:
        if variant.follows is not None and variant.is_step:
            here = values.get(variant.label, {})
            there = values.get(variant_label(variant.regime, variant.follows), {})
            effects.append(effect_between(here, there, spec.schema.metric.test))
    return effects
