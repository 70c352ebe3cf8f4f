"""Figures of other images on the two sides of a comparison."""

from collections.abc import Mapping
from typing import Any

from illama.config import DataConfig, UserData
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.lookup import DATA, aspect_of, line_of, new_changes, where
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_step, of_sweep
from orchestrator.trial import Variant


@of_step
def other_images(spec: SweepSpec, variant: Variant) -> Found:
    """A step whose effect compares figures of other images."""
    keys = [key for key in new_changes(spec, variant) if aspect_of(key) == DATA]
    if keys:
        message = (
            f"step '{variant.name}' changes {', '.join(keys)}{where(spec, variant)}: unless the "
            "validation images stay the same, its effect compares results on two different test "
            "sets"
        )
        yield SpecWarning("other-images", message, variant.line)


@of_sweep
def regimes_with_other_images(spec: SweepSpec) -> Found:
    """Regimes or recipes of the same data set that hold out other images of it."""
    baselines = [variant for variant in spec.variants if variant.follows is None]
    by_name: dict[str, dict[str, list[str]]] = {}
    for variant in baselines:
        data = variant.config.images
        if data is not None:
            splits = by_name.setdefault(data.name, {})
            splits.setdefault(repr(sorted(_settings(data).items())), []).append(variant.regime)
    for name, splits in by_name.items():
        if len(splits) < 2:
            continue
        groups = " and ".join(", ".join(regimes) for regimes in splits.values())
        message = (
            f"{groups} hold out different images of {name}: effects within each are valid, but "
            "comparing one with the other, as `orchestrator compare` does, compares two different "
            "test sets"
        )
        key = "regimes" if spec.schema.regimes else "recipes"
        yield SpecWarning("regimes-other-images", message, line_of(key, spec))


def _settings(data: DataConfig | UserData) -> Mapping[str, Any]:
    return data.model_dump(mode="json", exclude={"name"})
