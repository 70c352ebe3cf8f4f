"""The choice of the trial whose network stands for a step.

The median seed by default: choosing the best one on the validation images is one more selection on
them, and the value that it was chosen for flatters it. Whoever wants the best seed asks for it by
that word, and is told.
"""

from dataclasses import dataclass

from illama.config import kind_of
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.errors import UsageError, counted, did_you_mean_one_of
from orchestrator.metrics import AVERAGED
from orchestrator.outcomes import TRAINED, Outcome
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec, Variant

MEDIAN, BEST = "median", "best"


@dataclass(frozen=True)
class Representative:
    """A trial with a trained network, and why it was chosen."""

    trial: TrialSpec
    record: TrialRecord
    why: str
    """The reason in words, without the trial's name."""
    use_ema: bool = False
    """True if its network is the moving average of the weights: the sweep's metric is measured on
    that."""


def has_network(record: TrialRecord) -> bool:
    """True if the trial was trained to the end, to weights that are finite."""
    return record.outcome in TRAINED


def has_networks(spec: SweepSpec) -> bool:
    """True if its trials leave networks that we can read; what a user training saves is its
    business.
    """
    return kind_of(spec.schema.baseline).can.keeps_network


def refuse_without_networks(spec: SweepSpec) -> None:
    """Raises `UsageError` where there is nothing to register."""
    if not has_networks(spec):
        title = kind_of(spec.schema.baseline).titled(spec.schema.baseline)
        message = f"{title} is your own training function, so there is no model to register"
        raise UsageError(f"{message}; its files are in each trial's folder 'checkpoint'")


def last_step(spec: SweepSpec) -> Variant:
    """Last step of the road, in the last regime; it may wait for a search and not be known yet."""
    *_, last = (variant for variant in spec.road if variant.is_on_road)
    return last


def representative(
    snapshot: Snapshot, step: str | None = None, seed: str = MEDIAN
) -> Representative:
    """The trial that stands for `step`, by default the last of the road: a seed's number, `median`
    or `best`.

    Finished trials; collapsed ones only where all are. Of an even number of seeds the worse of the
    two in the middle is the median. Raises `UsageError` for a step or a seed that is not there, and
    where none is trained to the end.
    """
    spec = snapshot.spec
    variant = _variant(spec, step)
    name, mode = spec.schema.metric.name, spec.schema.metric.mode
    trained = [
        known
        for known in snapshot.of(variant)
        if has_network(known.record) and name in known.record.metrics
    ]
    alike = [known for known in trained if known.record.outcome is Outcome.FINISHED] or trained
    if not alike:
        hint = "`orchestrator status` shows their state"
        raise UsageError(f"no trial of {variant.label} has finished; {hint}")
    # from worst to best
    ranked = sorted(alike, key=lambda known: known.record.metrics[name], reverse=mode == "min")
    use_ema = name.startswith(AVERAGED)
    which = ""
    if use_ema:
        which = f"; the moving average of its weights (EMA), on which {name} is measured"
    count = _count_text(spec, len(alike))
    if seed == MEDIAN:
        middle = ranked[(len(ranked) - 1) // 2]
        return _chosen(middle, f"the median of {count}{which}", use_ema)
    if seed == BEST:
        warning = "on the same images that it was chosen on: expect less on others"
        return _chosen(ranked[-1], f"the best of {count}, {warning}{which}", use_ema)
    by_seed = {str(known.spec.seed): known for known in trained}
    if seed not in by_seed:
        allowed = ", ".join((MEDIAN, BEST, *by_seed))
        message = f"no seed '{seed}' of {variant.label} has finished"
        raise UsageError(f"{message}; allowed: {allowed}")
    return _chosen(by_seed[seed], f"the seed that was asked for{which}", use_ema)


def _chosen(known: KnownTrial, why: str, use_ema: bool) -> Representative:
    return Representative(known.spec, known.record, why, use_ema)


def _count_text(spec: SweepSpec, seeds: int) -> str:
    """Words for what a choice among seeds goes by."""
    metric = spec.schema.metric
    text = f"{counted(seeds, 'seed')} by {metric.name}"
    if metric.epoch == "best":
        text += " at the last epoch, the one whose weights are kept"
    return text


def _variant(spec: SweepSpec, label: str | None) -> Variant:
    if label is None:
        label = last_step(spec).label
    road = {variant.label: variant for variant in spec.road}
    if label not in road:
        raise UsageError(
            f"{spec.name} has no step '{label}'{did_you_mean_one_of(label, list(road))}"
        )
    if not road[label].is_known:
        raise UsageError(
            f"{label} waits for a search and has no trials yet; `orchestrator run` continues it"
        )
    return road[label]
