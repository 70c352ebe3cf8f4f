"""Questions that several warnings ask of a spec."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Variant

ARCHITECTURE, RECIPE, DATA = "architecture", "recipe", "data"
_MASK_SCHEDULE = "train.soft_mask"
"""A training setting that acts on the network: it belongs to the architecture's side."""


def aspect_of(key: str) -> str:
    """Name what a setting is about: `architecture`, `recipe` or `data`."""
    if key.startswith(("model.", f"{_MASK_SCHEDULE}.")) or key == _MASK_SCHEDULE:
        return ARCHITECTURE
    if key.startswith("data."):
        return DATA
    return RECIPE


def is_user_training(variant: Variant) -> bool:
    """Tell whether a function of the user trains it: which setting is architecture, nobody says."""
    return variant.config.network is None


def ground_of(variant: Variant) -> str:
    """The variant that its change is made to, and that its effect is mostly taken against."""
    return variant.on or variant.follows or ""


def variant_named(spec: SweepSpec, regime: str, name: str) -> Variant | None:
    """A variant of a regime by its name."""
    for variant in spec.variants:
        if (variant.regime, variant.name) == (regime, name):
            return variant
    return None


def search_of(spec: SweepSpec, regime: str, name: str) -> Search | None:
    """The search of a variant, where it has one."""
    for search in spec.searches:
        if (search.variant.regime, search.variant.name) == (regime, name):
            return search
    return None


def road_of(spec: SweepSpec, regime: str) -> list[Variant]:
    """The baseline and the steps of one regime in their order, without side steps."""
    return [variant for variant in spec.variants if variant.regime == regime and variant.is_on_road]


def own_changes(spec: SweepSpec, variant: Variant) -> dict[str, Any]:
    """Return what the spec says that it changes, without what it finds by a search of its own."""
    found = searched_by(spec, variant)
    return {key: value for key, value in variant.changes.items() if key not in found}


def searched_by(spec: SweepSpec, variant: Variant) -> Collection[str]:
    """The settings that a search of its own finds."""
    search = search_of(spec, variant.regime, variant.name)
    if search is None:
        return ()
    return search.schema.space.keys()


def sides_of(spec: SweepSpec, variant: Variant) -> list[Variant]:
    """The side steps at the place of a step, on whatever ground."""
    place = variant.regime, variant.step
    return [side for side in spec.variants if side.side and (side.regime, side.step) == place]


def new_changes(spec: SweepSpec, variant: Variant) -> dict[str, Any]:
    """`own_changes` without those that a side step has from the step that it stands beside.

    What there is to say of these is said of that step.
    """
    changes = own_changes(spec, variant)
    step = variant_named(spec, variant.regime, variant.step)
    if not variant.side or variant.on or step is None:
        return changes
    return {
        key: value
        for key, value in changes.items()
        if key not in step.changes or step.changes[key] != value
    }


def regime_of(spec: SweepSpec, variant: Variant, changes: Mapping[str, Any]) -> str:
    """The regime that the step makes these changes in, where not in all."""
    for step in spec.schema.steps:
        if step.name == variant.name:
            parts = variant.regime.split(".")
            own = (part for part in parts if step.regimes.get(part, {}).keys() & changes.keys())
            return next(own, "")
    return ""


def where(spec: SweepSpec, variant: Variant) -> str:
    """` in regime tiny`, where the step is another one in each."""
    return in_regime(regime_of(spec, variant, variant.changes))


def in_regime(regime: str) -> str:
    """` in regime tiny`; empty where the sweep has none."""
    if not regime:
        return ""
    return f" in regime {regime}"


def line_of(key: str, spec: SweepSpec) -> int:
    """The line of a key of the whole spec; 0 if it is not in the spec's own file."""
    return spec.document.line((key,)) if spec.document else 0


def steps_that(steps: Iterable[Variant], verb: str) -> str:
    """`step 'a' changes`, `steps 'a', 'b' and 'c' change`, each name once."""
    *first, last = [f"'{name}'" for name in dict.fromkeys(step.name for step in steps)]
    if not first:
        return f"step {last} {verb}s"
    return f"steps {', '.join(first)} and {last} {verb}"
