"""Metrics that flatter, or that measure something else on the two sides of a step."""

from collections.abc import Mapping, Sequence

from illama.config import Config, data_directory
from illama.measures import missing_data
from orchestrator.metrics import AVERAGED
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.controls import on_one_line
from orchestrator.spec.warnings.lookup import line_of, new_changes, steps_that
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_sweep
from orchestrator.trial import Variant

_TRAINING_LOSS = "train/loss"
_TARGETS = (
    *("train.label_smoothing", "train.mixup", "train.cutmix"),
    *("model.exits", "train.exit_weight"),
)
"""Settings that change what the training loss is measured against, or adds up."""
_AVERAGE = "train.ema"


@of_sweep
def best_epoch(spec: SweepSpec) -> Found:
    """A metric that is a maximum over the images that it reports on."""
    metric = spec.schema.metric
    if metric.epoch != "best" or spec.has_test_part:
        return
    message = (
        f"{metric.name} is read at the epoch with the best validation result: a maximum over the "
        "same images that it reports on, which is optimistic for every step, most of all for "
        "noisy ones"
    )
    control = _metric([metric.name, *metric.also], {"mode": metric.mode, "epoch": "last"})
    yield SpecWarning("best-epoch", message, line_of("metric", spec), control)


@of_sweep
def absent_data_of_measures(spec: SweepSpec) -> Found:
    """Data sets that a measure reads, and that are not on this machine."""
    directory = data_directory(spec.schema.runtime.data_dir)
    for request in spec.schema.measure:
        if why := missing_data(request, directory):
            message = f"measure {request.name} will fail on machines without its data: {why}"
            yield SpecWarning("measure-data-absent", message, line_of("measure", spec))


@of_sweep
def other_targets(spec: SweepSpec) -> Found:
    """Training losses that are measured against other targets on the two sides of a step."""
    if _TRAINING_LOSS not in _shown(spec):
        return
    steps = _changing(spec, _TARGETS)
    if not steps:
        return
    message = (
        f"{steps_that(steps, 'change')} {_keys(spec, steps, _TARGETS)}: {_TRAINING_LOSS} is then "
        "measured against different targets, so its change says nothing about the network; use "
        "val/loss, whose targets stay the same"
    )
    yield SpecWarning("other-targets", message, steps[0].line, _instead(spec))


@of_sweep
def other_average(spec: SweepSpec) -> Found:
    """Figures of averaged weights, where a step changes how they are averaged."""
    shown = [name for name in _shown(spec) if name.startswith(AVERAGED)]
    steps = _changing(spec, (_AVERAGE,))
    if not shown or not steps:
        return
    plain = shown[0].replace("_ema/", "/")
    message = (
        f"{steps_that(steps, 'change')} {_AVERAGE}, and {', '.join(shown)} is measured on the "
        f"averaged weights: its change mixes the effect of averaging with that of training; also "
        f"show {plain}, which is measured on the weights themselves"
    )
    yield SpecWarning("other-average", message, steps[0].line, _beside(spec, plain))


def _shown(spec: SweepSpec) -> list[str]:
    return [spec.schema.metric.name, *spec.schema.metric.also]


def _changing(spec: SweepSpec, keys: Sequence[str]) -> list[Variant]:
    """Steps of our own training that change one of these settings."""
    ours = [step for step in spec.variants if step.is_step and isinstance(step.config, Config)]
    return [step for step in ours if new_changes(spec, step).keys() & set(keys)]


def _keys(spec: SweepSpec, steps: Sequence[Variant], keys: Sequence[str]) -> str:
    changed = {key for step in steps for key in new_changes(spec, step)}
    return ", ".join(key for key in keys if key in changed)


def _instead(spec: SweepSpec) -> str:
    """The metrics with the validation loss in the training loss's place."""
    instead = {_TRAINING_LOSS: "val/loss"}
    names = [instead.get(name, name) for name in _shown(spec)]
    return _metric(list(dict.fromkeys(names)), _reading(spec))


def _beside(spec: SweepSpec, name: str) -> str:
    """The metrics with one more; none where it is there already."""
    if name in _shown(spec):
        return ""
    return _metric([*_shown(spec), name], _reading(spec))


def _reading(spec: SweepSpec) -> dict[str, str]:
    """Keys that say how the spec's metric is read, beside its name."""
    metric = spec.schema.metric
    if metric.epoch == "last":
        return {"mode": metric.mode}
    return {"mode": metric.mode, "epoch": metric.epoch}


def _metric(names: Sequence[str], reading: Mapping[str, str]) -> str:
    """The key `metric` of a spec, with further metrics behind the first."""
    name, *also = names
    value: dict[str, object] = {"name": name, **reading}
    if also:
        value["also"] = also
    return f"metric: {on_one_line(value)}"
