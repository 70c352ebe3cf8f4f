"""What a sweep will cost and what it will be able to show, before it is run. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from illama.cost import size_of
from orchestrator.errors import counted
from orchestrator.spec.designs import has_road
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.comparison import effect_between
from orchestrator.stats.inference import Effect
from orchestrator.stats.power import detectable_difference, typical_spread
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec

Known = tuple[TrialSpec, TrialRecord]

_TRAINING_PER_FORWARD = 3
"""FLOPs of a training iteration over those of its way forward: the way back is two more."""


@dataclass(frozen=True)
class Estimate:
    """What is left to do, and what the whole will show."""

    trials: int
    """Still to be trained."""
    train_seconds: float | None
    """Summed over them; unknown before any trial is done, unless the spec says what the hardware does."""
    basis: str
    """Where `train_seconds` come from."""
    gpu_hours: float | None = None
    """Of what is left; none on the CPU."""
    price: float | None = None
    """Of what is left, in the currency of the spec's `cost`."""
    spread: float | None = None
    """Typical standard deviation of the differences between steps, from the trials that are done; the metric's unit."""
    detectable_difference: float | None = None
    """The difference that the seeds find with 80 % power, in the metric's unit; none before a spread is known."""
    detectable_range: tuple[float, float] | None = None
    """The same for the steadiest and the most spread step, with what few seeds leave open."""
    comparisons: int = 1
    """That the report will test at most, and correct for."""
    detectable_in_stds: float | None = None
    """The same in units of the spread, which needs no trial; none with a single seed."""

    def to_json(self) -> dict[str, Any]:
        """The form in `plan --json`."""
        return asdict(self)


def estimate_of(spec: SweepSpec, left: Sequence[Known], known: Sequence[Known]) -> Estimate:
    """`left` is what there is to train; `known` are all trials of the plan, whose finished ones say how long one takes."""
    rate, basis = _seconds_per_flop(spec, known)
    share = _share_of_judged(known)
    flops_left = [(t, _flops_left(spec, t, r) * (share if t.pruning else 1.0)) for t, r in left]
    seconds = None if rate is None else sum(rate * flops for _, flops in flops_left)
    gpus = [trial.resources.gpus_in_all for trial, _ in left]
    gpu_hours = None
    if rate is not None and any(gpus):
        gpu_hours = (
            sum(rate * flops * trial.resources.gpus_in_all for trial, flops in flops_left) / 3600
        )
    price = spec.schema.cost.price_per_gpu_hour if spec.schema.cost else None
    spread = typical_spread([effect for effect in _effects(spec, known) if effect])
    comparisons = max(1, comparisons_of(spec, [trial for trial, _ in known]))
    looks = len(spec.schema.adaptive.looks) if spec.schema.adaptive else 1
    in_stds = None
    if spec.schema.metric.test != "sign_flip":
        in_stds = detectable_difference(1.0, spec.schema.most_seeds, comparisons * looks)
    found = spread if in_stds else None
    return Estimate(
        trials=len(left),
        train_seconds=seconds,
        basis=basis,
        gpu_hours=gpu_hours,
        price=gpu_hours * price if gpu_hours is not None and price is not None else None,
        spread=spread.value if spread else None,
        detectable_difference=in_stds * found.value if in_stds and found else None,
        detectable_range=(in_stds * found.range[0], in_stds * found.range[1])
        if in_stds and found
        else None,
        comparisons=comparisons,
        detectable_in_stds=in_stds,
    )


def comparisons_of(spec: SweepSpec, trials: Sequence[TrialSpec]) -> int:
    """How many comparisons the report's family will have: pairs of variants, each pair once, and averages over cells."""
    fingerprints = {(trial.regime, trial.variant): trial.fingerprint for trial in reversed(trials)}
    designs = [design for design in spec.schema.design if _is_tested(spec, design.name)]
    on_road = has_road(spec.schema.design)
    of_pairs = {
        design.name for design in spec.schema.design if design.is_road or design.compares_two_cells
    }
    pairs = set()
    for variant in spec.road:
        is_pair = not on_road or variant.design in of_pairs
        if variant.follows and is_pair and _is_tested(spec, variant.design):
            names = ((variant.regime, variant.name), (variant.regime, variant.follows))
            sides = frozenset(fingerprints.get(name, "/".join(name)) for name in names)
            pairs |= {sides} if len(sides) == 2 else set()
    averages = sum(design.averages(len(spec.schema.steps)) for design in designs)
    return len(pairs) + averages * len({variant.regime for variant in spec.road})


def _is_tested(spec: SweepSpec, design: str) -> bool:
    return spec.schema.family is None or design in spec.schema.family


def _seconds_per_flop(spec: SweepSpec, known: Sequence[Known]) -> tuple[float | None, str]:
    """From finished trials where there are some, else from what the spec says of the hardware."""
    whole = [(trial, record) for trial, record in known if record.outcome is not Outcome.PRUNED]
    rates = [r.seconds / flops for t, r in whole if r.seconds and (flops := _flops(spec, t))]
    if rates:
        return median(rates), f"{counted(len(rates), 'trial')} already done"
    if spec.schema.cost and all(trial.config.network for trial, _ in known):
        return 1 / spec.schema.cost.flops_per_second, "the spec's cost.flops_per_second"
    return None, "not known before the first trial is done"


def _share_of_judged(known: Sequence[Known]) -> float:
    """Of their epochs, how many the trials had that a search's rule might stop early; all of them before any is done."""
    shares = [r.epoch / t.config.total for t, r in known if t.pruning and r.state is State.DONE]
    return fmean(shares) if shares else 1.0


def _flops(spec: SweepSpec, trial: TrialSpec) -> float:
    """Of the whole training, of as many images as the spec says; without that, in units of one image for each epoch.

    Of a training whose network nobody knows in units of one iteration.
    """
    _, flops = size_of(trial.config)
    if flops is None:
        return float(trial.config.total)
    images = spec.schema.cost.images_per_epoch if spec.schema.cost else 1
    return float(flops) * _TRAINING_PER_FORWARD * images * trial.config.total


def _flops_left(spec: SweepSpec, trial: TrialSpec, record: TrialRecord) -> float:
    return _flops(spec, trial) * (1 - trial.reached(record.epoch) / trial.config.total)


def _effects(spec: SweepSpec, known: Sequence[Known]) -> list[Effect | None]:
    """Differences along the road, between steps that finished."""
    name = spec.reported_metric.name
    values: dict[tuple[str, str], dict[int, float]] = {}
    for trial, record in known:
        if record.outcome is Outcome.FINISHED and name in record.metrics:
            values.setdefault((trial.regime, trial.variant), {})[trial.seed] = record.metrics[name]
    nothing: Mapping[int, float] = {}
    return [
        effect_between(
            values.get((v.regime, v.name), nothing),
            values.get((v.regime, v.follows), nothing),
            spec.schema.metric.test,
        )
        for v in spec.variants
        if v.follows is not None and v.design == "roadmap"
    ]
