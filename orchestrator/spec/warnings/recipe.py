"""Recipes that change together with something else, or on one side of a comparison alone."""

import math
from collections.abc import Mapping
from typing import Any

from illama.config import Config
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.controls import has_control, side_step
from orchestrator.spec.warnings.lookup import (
    ARCHITECTURE,
    DATA,
    RECIPE,
    aspect_of,
    ground_of,
    is_user_training,
    new_changes,
    own_changes,
    regime_of,
    searched_by,
    sides_of,
    variant_named,
    where,
)
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_step
from orchestrator.trial import Variant

_BATCH, _RATE = "train.batch_size", "train.lr"


@of_step
def confounded_step(spec: SweepSpec, variant: Variant) -> Found:
    """A step that changes two things at once, without a side step that changes one of them."""
    parts: dict[str, dict[str, Any]] = {}
    if is_user_training(variant):
        return
    for key, value in own_changes(spec, variant).items():
        parts.setdefault(aspect_of(key), {})[key] = value
    ground = ground_of(variant)
    is_resolved = any(has_control(spec, variant, ground, part) for part in parts.values())
    if len(parts) < 2 or is_resolved:
        return
    what = " and ".join(f"{aspect} ({', '.join(part)})" for aspect, part in parts.items())
    message = (
        f"step '{variant.name}' changes {what} at once{where(spec, variant)}: its effect cannot be "
        "attributed to either one"
    )
    chosen = next(aspect for aspect in (RECIPE, DATA) if aspect in parts)
    regime = regime_of(spec, variant, parts[chosen])
    control = side_step(f"{variant.name}_{chosen}_only", parts[chosen], ground, regime)
    yield SpecWarning("confounded-step", message, variant.line, control)


@of_step
def one_sided_recipe(spec: SweepSpec, variant: Variant) -> Found:
    """A recipe that is retuned after the architecture has changed, which the old one never gets."""
    recipe = _recipe_changes(spec, variant)
    changed = _architecture_before(spec, variant)
    if is_user_training(variant) or variant.side or not recipe or not changed:
        return
    if has_control(spec, variant, "baseline", recipe):
        return
    keys = ", ".join(recipe)
    message = (
        f"step '{variant.name}' retunes the recipe ({keys}) after the architecture has changed "
        f"({', '.join(changed)}){where(spec, variant)}: the baseline never gets that recipe, so "
        "the gain of the whole road mixes the two"
    )
    regime = regime_of(spec, variant, recipe)
    control = side_step(f"{variant.name}_on_baseline", recipe, "baseline", regime)
    yield SpecWarning("one-sided-recipe", message, variant.line, control)


def _recipe_changes(spec: SweepSpec, variant: Variant) -> Mapping[str, Any]:
    changes = own_changes(spec, variant)
    return {key: value for key, value in changes.items() if aspect_of(key) == RECIPE}


def _architecture_before(spec: SweepSpec, variant: Variant) -> list[str]:
    """The steps before that changed the architecture."""
    before = [variant_named(spec, variant.regime, name) for name in variant.cell.steps[:-1]]
    return [step.name for step in before if step and _changes_architecture(step)]


def _changes_architecture(variant: Variant) -> bool:
    return any(aspect_of(key) == ARCHITECTURE for key in variant.changes)


@of_step
def batch_without_rate(spec: SweepSpec, variant: Variant) -> Found:
    """Another batch size at the learning rate that suited the old one."""
    ground = variant_named(spec, variant.regime, ground_of(variant))
    if ground is None or variant.on or not _changes_batch_alone(spec, variant):
        return
    before, after = (one.config.setting(_BATCH) for one in (ground, variant))
    rate = variant.config.setting(_RATE)
    known = all(_is_positive(value) for value in (before, after, rate))
    if not known or before == after or _has_rate_beside(spec, variant):
        return
    message = (
        f"step '{variant.name}' changes the batch from {before} to {after} and keeps the learning "
        f"rate of {rate:g}, which was chosen for the old batch: its effect mixes the two, and an "
        f"epoch has {before / after:.3g} times as many updates"
    )
    # For Adam the rate goes with the root of the batch; a user training's optimiser is not known.
    scaled = float(f"{rate * math.sqrt(after / before):.2g}")
    control = ""
    if isinstance(variant.config, Config) and scaled != rate:
        control = _with_rate(spec, variant, scaled)
    yield SpecWarning("batch-without-rate", message, variant.line, control)


def _changes_batch_alone(spec: SweepSpec, variant: Variant) -> bool:
    changes = new_changes(spec, variant).keys()
    return _BATCH in changes and _RATE not in {*changes, *searched_by(spec, variant)}


def _with_rate(spec: SweepSpec, variant: Variant, rate: float) -> str:
    """A side step that is the same at another learning rate."""
    changes = {_RATE: rate}
    if variant.side:
        changes = {**new_changes(spec, variant), _RATE: rate}
    regime = regime_of(spec, variant, {_BATCH: None})
    return side_step(f"{variant.name}_scaled_lr", changes, regime=regime)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def _has_rate_beside(spec: SweepSpec, variant: Variant) -> bool:
    """Tell whether the same batch stands beside it at another learning rate."""
    size = variant.config.setting(_BATCH)
    alike = [side for side in sides_of(spec, variant) if side.config.setting(_BATCH) == size]
    return any(_RATE in side.changes and side.on in (None, variant.follows) for side in alike)
