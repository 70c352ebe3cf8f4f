"""Trainings that start from a file: what it has learned before, and from which images."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from illama.config import Config, DataConfig
from illama.weights.initial import init_path
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.controls import has_control, side_step
from orchestrator.spec.warnings.lookup import ground_of, new_changes, regime_of, variant_named
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_step, of_sweep
from orchestrator.trial import Variant

_INIT = "train.init"


@of_step
def pretrained_step(spec: SweepSpec, variant: Variant) -> Found:
    """A step that starts from a file, compared with one that does not, or from another file."""
    changes = {
        key: value
        for key, value in new_changes(spec, variant).items()
        if key == _INIT or key.startswith(f"{_INIT}.")
    }
    ground = variant_named(spec, variant.regime, ground_of(variant))
    if not changes or ground is None or not isinstance(variant.config, Config):
        return
    if variant.on or _is_resolved(spec, variant, changes):
        return
    before = _file_of(ground) or "random weights"
    after = _file_of(variant) or "random weights"
    message = (
        f"step '{variant.name}' starts from {after}, and '{ground.name}', which it is compared "
        f"with, from {before}: the effect includes what the file had already learned"
    )
    others = new_changes(spec, variant).keys() - changes.keys()
    target = ground.name if others else "baseline"
    control = ""
    if others or ground.name != "baseline":
        regime = regime_of(spec, variant, changes)
        control = side_step(f"{variant.name}_init_only", changes, target, regime)
    yield SpecWarning("pretrained-step", message, variant.line, control)


def _is_resolved(spec: SweepSpec, variant: Variant, changes: dict[str, Any]) -> bool:
    """Tell whether a side step beside it shows what the file alone does."""
    return any(
        has_control(spec, variant, ground, changes) for ground in (ground_of(variant), "baseline")
    )


@of_sweep
def initial_leak(spec: SweepSpec) -> Found:
    """Files of our own that were trained on images which this sweep validates on."""
    told: set[str] = set()
    for variant in spec.variants:
        file, data = _file_of(variant), variant.config.images
        found = _trained_on(spec, variant)
        if file is None or file in told or found is None or not isinstance(data, DataConfig):
            continue
        # Splits are nested: what is held out of a larger training set is held out of a smaller one.
        seen = data.val_fraction - found.val_fraction
        if seen <= 0:
            continue
        told.add(file)
        message = (
            f"'{variant.name}' starts from {file}, which was trained on {data.name} with "
            f"val_fraction {found.val_fraction:g}: {seen / data.val_fraction:.0%} of the images "
            "that this sweep validates on were among its training images, which makes its result "
            "optimistic; start from a file that was trained with val_fraction "
            f"{data.val_fraction:g}"
        )
        yield SpecWarning("initial-leak", message, variant.line)


def _file_of(variant: Variant) -> str | None:
    if variant.config.init is None:
        return None
    return variant.config.init.checkpoint


def _trained_on(spec: SweepSpec, variant: Variant) -> DataConfig | None:
    """Return the data of the initial weights' trial; None where it had another data set."""
    config = variant.config
    if config.init is None:
        return None
    try:
        path = init_path(config.init, spec.schema.runtime.data_dir)
    except OSError:  # told where the plan needs the file
        return None
    known, own = _data_beside(path), config.images
    if known is None or not isinstance(own, DataConfig):
        return None
    if (known.name, known.folder) != (own.name, own.folder):
        return None
    return known


def _data_beside(checkpoint: Path) -> DataConfig | None:
    """Read what `trial.json` beside a checkpoint says of its images; None where it says nothing."""
    try:
        settings = json.loads((checkpoint.parent / "trial.json").read_text("utf-8"))["settings"]
        return DataConfig.model_validate(settings["data"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError, RecursionError):
        return None
