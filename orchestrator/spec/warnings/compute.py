"""Trainings of another length: more compute is a rival explanation of any effect."""

import re
from typing import Any

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.controls import has_control, side_step
from orchestrator.spec.warnings.lookup import (
    ground_of,
    is_user_training,
    new_changes,
    regime_of,
    variant_named,
    where,
)
from orchestrator.spec.warnings.recipe import one_sided_recipe
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_step
from orchestrator.trial import Variant

_OURS = "train.epochs"
_LENGTH = re.compile(
    r"((max|num|n|total|train|training)_?)?(epochs|iterations|iters|steps|updates)"
)
"""Names that a user training gives to how long it trains."""


@of_step
def compute_drift(spec: SweepSpec, variant: Variant) -> Found:
    """A step that trains longer than what it is compared with, or less long."""
    ground = variant_named(spec, variant.regime, ground_of(variant))
    # A control's length is its author's choice.
    changes = {} if variant.on else new_changes(spec, variant)
    for key in changes:
        if ground is None or not _is_length(variant, key):
            continue
        before, after = (one.config.setting(key) for one in (ground, variant))
        if not _differ(before, after, spec.schema.tolerance):
            continue
        length = {key: changes[key]}
        if _is_told_or_resolved(spec, variant, length):
            continue
        message = (
            f"step '{variant.name}' sets {key} to {after}, {after / before:.3g} times the {before} "
            f"of '{ground.name}'{where(spec, variant)}: compute alone may explain its effect"
        )
        control = _control(spec, variant, changes, length)
        yield SpecWarning("compute-drift", message, variant.line, control)


def _is_length(variant: Variant, key: str) -> bool:
    if not is_user_training(variant):
        return key == _OURS
    return _LENGTH.fullmatch(key.rpartition(".")[2].lower()) is not None


def _differ(before: Any, after: Any, tolerance: float) -> bool:
    are_numbers = all(isinstance(one, int | float) and one > 0 for one in (before, after))
    return are_numbers and abs(after / before - 1) > tolerance


def _is_told_or_resolved(spec: SweepSpec, variant: Variant, length: dict[str, Any]) -> bool:
    """Tell whether another warning says it, or a control shows what the length alone does."""
    is_told = any(one_sided_recipe(spec, variant))
    grounds = (ground_of(variant), "baseline")
    others = len(new_changes(spec, variant)) > 1 or ground_of(variant) != "baseline"
    return is_told or (
        others and any(has_control(spec, variant, ground, length) for ground in grounds)
    )


def _control(
    spec: SweepSpec, variant: Variant, changes: dict[str, Any], length: dict[str, Any]
) -> str:
    """The length alone: for what the step is compared with, or, where it is all, for the
    baseline.
    """
    ground = ground_of(variant)
    regime = regime_of(spec, variant, length)
    if len(changes) > 1:
        return side_step(f"{variant.name}_length_only", length, ground, regime)
    if ground != "baseline":
        return side_step(f"{variant.name}_on_baseline", length, "baseline", regime)
    return ""
