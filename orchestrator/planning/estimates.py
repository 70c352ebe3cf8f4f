"""Cost and power of a sweep before it is run. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from illama.cost import size_of
from orchestrator.analysis.reading import figure_of
from orchestrator.errors import counted
from orchestrator.spec.designs import has_road
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.comparison import effect_between
from orchestrator.stats.inference import Effect
from orchestrator.stats.power import detectable_difference, typical_spread
from orchestrator.stats.registry import TESTS
from orchestrator.trial import KnownTrial, Outcome, State, TrialSpec, variant_label

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
    spread = typical_spread([effect for effect in _effects(spec, trials) if effect])
    comparisons = max(1, comparisons_of(spec, [known.spec for known in trials]))
    in_stds = _detectable_in_stds(spec, comparisons)
    difference = bounds = None
    if in_stds and spread:
        difference = in_stds * spread.value
        bounds = in_stds * spread.range[0], in_stds * spread.range[1]
    return Estimate(
        trials=len(left),
        train_seconds=None if rate is None else sum(rate * one for one in flops),
        basis=basis,
        gpu_hours=gpu_hours,
        price=_price(spec, gpu_hours),
        spread=spread.value if spread else None,
        detectable_difference=difference,
        detectable_range=bounds,
        comparisons=comparisons,
        detectable_in_stds=in_stds,
    )


def _flops_left_of(spec: SweepSpec, left: Sequence[KnownTrial], share: float) -> list[float]:
    """FLOPs of each trial that is left; `share` of those that a search's rule may stop."""
    return [_flops_left(spec, known) * (share if known.spec.pruning else 1.0) for known in left]


def _gpu_hours(
    rate: float | None, left: Sequence[KnownTrial], flops: Sequence[float]
) -> float | None:
    """GPU-hours of what is left, at `rate` seconds per FLOP; None on the CPU or without a rate."""
    gpus = [known.spec.resources.gpus_in_all for known in left]
    if rate is None or not any(gpus):
        return None
    return sum(rate * one * count for one, count in zip(flops, gpus, strict=True)) / 3600


def _price(spec: SweepSpec, gpu_hours: float | None) -> float | None:
    price = spec.schema.cost.price_per_gpu_hour if spec.schema.cost else None
    if gpu_hours is None or price is None:
        return None
    return gpu_hours * price


def _detectable_in_stds(spec: SweepSpec, comparisons: int) -> float | None:
    """Detectable difference in standard deviations; None where sign flips test, or for one seed."""
    if TESTS[spec.schema.metric.test].judge:
        return None
    looks = len(spec.schema.adaptive.looks) if spec.schema.adaptive else 1
    return detectable_difference(1.0, spec.schema.most_seeds, comparisons * looks)


def comparisons_of(spec: SweepSpec, trials: Sequence[TrialSpec]) -> int:
    """Size of the report's family: pairs of variants, each pair once, and averages over cells."""
    fingerprints = {trial.variant_label: trial.fingerprint for trial in reversed(trials)}
    designs = [design for design in spec.schema.design if _is_tested(spec, design.name)]
    on_road = has_road(spec.schema.design)
    of_pairs = {
        design.name for design in spec.schema.design if design.is_road or design.compares_two_cells
    }
    pairs = set()
    for variant in spec.road:
        is_pair = not on_road or variant.design in of_pairs
        if variant.follows and is_pair and _is_tested(spec, variant.design):
            labels = variant.label, variant_label(variant.regime, variant.follows)
            sides = frozenset(fingerprints.get(label, label) for label in labels)
            pairs |= {sides} if len(sides) == 2 else set()
    averages = sum(design.averages(len(spec.schema.steps)) for design in designs)
    return len(pairs) + averages * len({variant.regime for variant in spec.road})


def _is_tested(spec: SweepSpec, design: str) -> bool:
    return spec.schema.family is None or design in spec.schema.family


def _seconds_per_flop(spec: SweepSpec, trials: Sequence[KnownTrial]) -> tuple[float | None, str]:
    """Seconds for a FLOP, and where that is from: finished trials, or else the spec's hardware."""
    rates = []
    for known in trials:
        seconds = known.record.seconds
        if seconds and known.record.outcome is not Outcome.PRUNED:
            flops = _flops(spec, known.spec)
            rates += [seconds / flops] if flops else []
    if rates:
        return median(rates), f"{counted(len(rates), 'trial')} already done"
    if spec.schema.cost and all(known.spec.config.network for known in trials):
        return 1 / spec.schema.cost.flops_per_second, "the spec's cost.flops_per_second"
    return None, "a time estimate needs one finished trial"


def _share_of_judged(trials: Sequence[KnownTrial]) -> float:
    """Part of their epochs that trials had which a search's rule might stop early; 1 before any is
    done.
    """
    shares = [
        known.record.epoch / known.spec.config.total
        for known in trials
        if known.spec.pruning and known.record.state is State.DONE
    ]
    return fmean(shares) if shares else 1.0


def _flops(spec: SweepSpec, trial: TrialSpec) -> float:
    """FLOPs of a whole training, of as many images an epoch as the spec says, or else of one.

    Of a user training, whose FLOPs nobody knows, its iterations.
    """
    _, flops = size_of(trial.config)
    if flops is None:
        return float(trial.config.total)
    images = spec.schema.cost.images_per_epoch if spec.schema.cost else 1
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
        if variant.follows is not None and variant.design == "roadmap":
            here = values.get(variant.label, {})
            there = values.get(variant_label(variant.regime, variant.follows), {})
            effects.append(effect_between(here, there, spec.schema.metric.test))
    return effects
