"""What weakens a sweep, found by looking at its spec: each with its line, and a control ready to paste. Pure."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from illama.config import ModelConfig
from illama.cost import macs, parameter_count
from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.inference import LEVEL, smallest_sign_flip_p
from orchestrator.trial import Variant

_QUOTED_ON = "'on':"
"""PyYAML writes for YAML 1.1, where `on` is a truth value; in a spec it is a word."""
ARCHITECTURE, RECIPE, DATA = "architecture", "recipe", "data"
_MASK_SCHEDULE = "train.soft_mask"
"""A training setting that acts on the network: it belongs to the architecture's side of a comparison."""


@dataclass(frozen=True)
class SpecWarning:
    """Something that weakens what the sweep can show."""

    code: str
    message: str
    line: int
    """In the spec; 0 where it concerns the whole."""
    control: str = ""
    """YAML that would resolve it, where something can."""

    def to_json(self) -> dict[str, Any]:
        """The form in `plan --json`."""
        return {
            "code": self.code,
            "message": self.message,
            "line": self.line,
            "control": self.control or None,
        }


def warnings_of(spec: SweepSpec) -> list[SpecWarning]:
    """Everything that there is to warn of, the whole sweep first, then step by step; each thing once for all regimes."""
    spec = replace(
        spec, variants=spec.road
    )  # also what is not known yet: all but what searches find is
    found = [*_few_seeds(spec), *_best_epoch(spec), *_search_overwritten(spec)]
    for variant in spec.variants:
        if variant.design == "roadmap" and variant.follows is not None:
            if (
                variant.config.model is not None
            ):  # of somebody's own training, nobody says what is architecture
                found += [
                    *_confounded(spec, variant),
                    *_one_sided_recipe(spec, variant),
                    *_size_drift(spec, variant),
                ]
                found += _other_images(spec, variant)
            found += _tuned_unequally(spec, variant)
    return list({(warning.code, warning.message): warning for warning in found}.values())


def aspect_of(key: str) -> str:
    """What a setting is about: `architecture`, `recipe` or `data`."""
    if key.startswith(("model.", f"{_MASK_SCHEDULE}.")) or key == _MASK_SCHEDULE:
        return ARCHITECTURE
    return DATA if key.startswith("data.") else RECIPE


def _few_seeds(spec: SweepSpec) -> Iterator[SpecWarning]:
    seeds = spec.schema.most_seeds
    smallest = smallest_sign_flip_p(seeds)
    if smallest > LEVEL:
        what = f"with {seeds} seed{'s' if seeds > 1 else ''} an exact sign-flip test cannot go below p = {smallest:.3g}"
        which = "the t-test that the report uses can, if differences between seeds are about normal"
        message = f"{what}: no step can be told from noise without further assumptions; {which}"
        if seeds == 1:
            message = "with 1 seed no step can be told from noise: there is neither an interval nor a p-value"
        yield SpecWarning(
            "few-seeds", message, _line_of("seeds", spec), "seeds: [0, 1, 2, 3, 4, 5]"
        )


def _best_epoch(spec: SweepSpec) -> Iterator[SpecWarning]:
    metric = spec.schema.metric
    if metric.epoch == "best":
        message = (
            f"{metric.name} is read at the epoch that validates best: a maximum over the very images that it reports on, "
            "which flatters every step and most of all the noisy ones"
        )
        also = f", also: [{', '.join(metric.also)}]" if metric.also else ""
        control = f"metric: {{name: {metric.name}, mode: {metric.mode}, epoch: last{also}}}"
        yield SpecWarning("best-epoch", message, _line_of("metric", spec), control)


def _confounded(spec: SweepSpec, variant: Variant) -> Iterator[SpecWarning]:
    """A step that changes two things at once, without a side step that changes one of them alone."""
    parts: dict[str, dict[str, Any]] = {}
    for key, value in _own_changes(spec, variant).items():
        parts.setdefault(aspect_of(key), {})[key] = value
    if len(parts) < 2:
        return
    ground = variant.on or variant.follows or ""
    if any(
        _is_control(side, variant, ground, part)
        for side in spec.variants
        for part in parts.values()
    ):
        return
    what = " and ".join(f"{aspect} ({', '.join(part)})" for aspect, part in parts.items())
    message = f"step '{variant.name}' changes {what} at once{_where(spec, variant)}: its effect belongs to neither alone"
    chosen = RECIPE if RECIPE in parts else DATA
    control = _side(
        f"{variant.name}_{chosen}_only",
        parts[chosen],
        ground,
        _regime_of(spec, variant, parts[chosen]),
    )
    yield SpecWarning("confounded-step", message, variant.line, control)


def _other_images(spec: SweepSpec, variant: Variant) -> Iterator[SpecWarning]:
    """A step whose effect compares figures of other images."""
    if keys := [key for key in _own_changes(spec, variant) if aspect_of(key) == DATA]:
        message = (
            f"step '{variant.name}' changes {', '.join(keys)}{_where(spec, variant)}: unless the validation images stay "
            "the same, its effect compares figures of two test sets"
        )
        yield SpecWarning("other-images", message, variant.line)


def _one_sided_recipe(spec: SweepSpec, variant: Variant) -> Iterator[SpecWarning]:
    """A recipe that is retuned after the architecture has changed, and that the old architecture never gets."""
    recipe = {
        key: value for key, value in _own_changes(spec, variant).items() if aspect_of(key) == RECIPE
    }
    before = set(variant.cell[:-1])
    others = [
        other for other in spec.variants if other.regime == variant.regime and other.name in before
    ]
    changed = [
        other.name
        for other in others
        if any(aspect_of(key) == ARCHITECTURE for key in other.changes)
    ]
    if variant.side or not recipe or not changed:
        return
    if any(_is_control(side, variant, "baseline", recipe) for side in spec.variants):
        return
    keys = ", ".join(recipe)
    message = (
        f"step '{variant.name}' retunes the recipe ({keys}) after the architecture has changed ({', '.join(changed)})"
        f"{_where(spec, variant)}: the baseline never gets it, so the whole road's gain mixes both"
    )
    control = _side(
        f"{variant.name}_on_baseline", recipe, "baseline", _regime_of(spec, variant, recipe)
    )
    yield SpecWarning("one-sided-recipe", message, variant.line, control)


def _search_of(spec: SweepSpec, regime: str, name: str) -> Search | None:
    return next(
        (
            search
            for search in spec.searches
            if (search.variant.regime, search.variant.name) == (regime, name)
        ),
        None,
    )


def _own_changes(spec: SweepSpec, variant: Variant) -> dict[str, Any]:
    """What the spec says that it changes, without what it has found for itself: `tuned-unequally` speaks of that."""
    search = _search_of(spec, variant.regime, variant.name)
    found = search.schema.space if search else {}
    return {key: value for key, value in variant.changes.items() if key not in found}


def _tuned_unequally(spec: SweepSpec, variant: Variant) -> Iterator[SpecWarning]:
    """A step that found settings for itself, held against one that did not look for them, or not as long."""
    search = _search_of(spec, variant.regime, variant.name)
    if search is None:
        return
    ground = variant.on or variant.follows or ""
    other = _search_of(spec, variant.regime, ground)
    alone = [key for key in search.schema.space if other is None or key not in other.schema.space]
    what = f"looks for {', '.join(alone)} and '{ground}', which it is held against, does not"
    if not alone and other and other.goal < search.goal:
        what = f"tries {search.goal} combinations and '{ground}', which it is held against, {other.goal}"
    elif not alone and other and other.schema.prune != search.schema.prune:
        what = f"stops combinations early by another rule than '{ground}', which it is held against"
    elif not alone:
        return
    where = "the top level" if ground == "baseline" else f"step '{ground}'"
    message = f"step '{variant.name}' {what}: tuning one side alone favours it; give {where} the same search"
    body = yaml.safe_dump(
        search.schema.model_dump(exclude_unset=True),
        default_flow_style=True,
        sort_keys=False,
        width=10_000,
    )
    yield SpecWarning("tuned-unequally", message, search.line, f"search: {body.strip()}")


def _search_overwritten(spec: SweepSpec) -> Iterator[SpecWarning]:
    """What a search finds, and a later step of the road sets to something else."""
    for search in spec.searches:
        regime = [
            step
            for step in spec.variants
            if step.regime == search.variant.regime and step.design == "roadmap"
        ]
        road = {step.name: step for step in regime if not step.side}
        place = list(road).index(search.variant.name) if search.variant.name in road else len(road)
        for step in list(road.values())[place + 1 :]:
            for key in _own_changes(spec, step).keys() & search.schema.space.keys():
                message = f"step '{step.name}' sets {key}, which '{search.variant.name}' looks for: what it finds is lost there"
                yield SpecWarning("search-overwritten", message, step.line)


def _size_drift(spec: SweepSpec, variant: Variant) -> Iterator[SpecWarning]:
    """More or fewer parameters or FLOPs than before are a rival explanation of any effect."""
    ground = _variant(spec, variant.regime, variant.follows or "")
    if ground is None or variant.on:  # a control's size is its author's choice
        return
    beyond = _drifts(ground, variant, spec.schema.tolerance)
    beside = [
        side
        for side in spec.variants
        if side.side and (side.regime, side.step) == (variant.regime, variant.step)
    ]
    if not beyond or any(
        _resolves_drift(side, variant, ground, spec.schema.tolerance) for side in beside
    ):
        return
    regime = f" in regime {variant.regime}" if variant.regime else ""
    sizes = " and ".join(f"{drift:+.1%} {what}" for what, drift in beyond.items())
    message = f"step '{variant.name}' has {sizes} against {ground.name}{regime}: size alone may explain its effect"
    yield SpecWarning(
        "size-drift", message, variant.line, _size_control(variant, ground, spec.schema.tolerance)
    )


def _drifts(ground: Variant, variant: Variant, tolerance: float) -> dict[str, float]:
    """By which share the sizes differ, of those that differ by more than the tolerance."""
    before, after = ground.config.model, variant.config.model
    if before is None or after is None:
        return {}
    sizes = {"parameters": parameter_count, "FLOPs": macs}
    drifts = {
        what: size(after) / max(1, size(before)) - 1 for what, size in sizes.items()
    }  # somebody's network may have none
    return {what: drift for what, drift in drifts.items() if abs(drift) > tolerance}


def _resolves_drift(side: Variant, variant: Variant, ground: Variant, tolerance: float) -> bool:
    """The same step at the ground's size, or the ground at the step's."""
    if side.on is None:
        return not _drifts(ground, side, tolerance)
    return side.on == ground.name and "parameters" not in _drifts(variant, side, tolerance)


def _size_control(variant: Variant, ground: Variant, tolerance: float) -> str:
    """The step with SwiGLU rounded to the old size, else the ground at the new width.

    Nothing where neither comes near, or size is all that the step changes.
    """
    model, before = variant.config.model, ground.config.model
    if not isinstance(model, ModelConfig) or not isinstance(
        before, ModelConfig
    ):  # which setting is the size, nobody says
        return ""
    wanted = parameter_count(before)
    if model.feed_forward == "swiglu":
        counts = {
            unit: parameter_count(model.model_copy(update={"multiple_of": unit}))
            for unit in (64, 32, 16, 8, 4, 2, 1)
        }
        unit = min(counts, key=lambda unit: abs(counts[unit] - wanted))
        if abs(counts[unit] / wanted - 1) <= tolerance:
            return _side(f"{variant.name}_same_size", {"model.multiple_of": unit})
    width = _width_of_size(before, parameter_count(model), tolerance)
    change = {"model.embed_dim": width}
    is_the_step = change == dict(variant.changes)
    return (
        _side(f"{variant.name}_size_only", change, ground.name) if width and not is_the_step else ""
    )


def _is_control(side: Variant, of: Variant, ground: str, changes: Mapping[str, Any]) -> bool:
    """Whether a side step makes these changes to `ground`, in the same regime."""
    return (
        side.side
        and side.regime == of.regime
        and side.on == ground
        and changes.items() <= side.changes.items()
    )


def _width_of_size(model: ModelConfig, params: int, tolerance: float) -> int | None:
    """The width at which the network has about so many parameters, if any whole width does."""
    unit = 2 * model.num_heads  # rotary embeddings need heads of even width
    widths = range(unit, 2 * model.embed_dim + 1, unit)

    def count(width: int) -> int:
        return parameter_count(model.model_copy(update={"embed_dim": width}))

    place = min(bisect_left(widths, params, key=count), len(widths) - 1)  # they grow with the width
    counts = {width: count(width) for width in widths[max(0, place - 1) : place + 1]}
    width = min(counts, key=lambda width: abs(counts[width] - params))
    return width if abs(counts[width] / params - 1) <= tolerance else None


def _regime_of(spec: SweepSpec, variant: Variant, changes: Mapping[str, Any]) -> str:
    """The regime that the step makes these changes in, where not in all."""
    step = next((step for step in spec.schema.steps if step.name == variant.name), None)
    parts = [
        part
        for part in variant.regime.split(".")
        if step and step.regimes.get(part, {}).keys() & changes.keys()
    ]
    return parts[0] if parts else ""


def _where(spec: SweepSpec, variant: Variant) -> str:
    regime = _regime_of(spec, variant, variant.changes)
    return f" in regime {regime}" if regime else ""


def _side(name: str, changes: Mapping[str, Any], ground: str = "", regime: str = "") -> str:
    """A side step as YAML, to be pasted into the step that the warning is about."""
    body: dict[str, Any] = {"on": ground} if ground else {}
    body |= {"regimes": {regime: dict(changes)}} if regime else {"change": dict(changes)}
    text = yaml.safe_dump(body, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return f"side:\n  {name}: {text.replace(_QUOTED_ON, 'on:')}"


def _variant(spec: SweepSpec, regime: str, name: str) -> Variant | None:
    return next(
        (variant for variant in spec.variants if (variant.regime, variant.name) == (regime, name)),
        None,
    )


def _line_of(key: str, spec: SweepSpec) -> int:
    """Where a key of the whole spec stands; 0 where it does not."""
    lines = spec.content.decode("utf-8-sig", errors="replace").splitlines()
    return next(
        (number for number, line in enumerate(lines, start=1) if re.match(rf"{key}\s*:", line)), 0
    )
