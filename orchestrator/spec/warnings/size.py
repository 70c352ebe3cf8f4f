"""Networks of another size: parameters or FLOPs are a rival explanation of any effect."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from illama.config import ModelConfig
from illama.cost import macs, parameter_count
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.controls import side_step
from orchestrator.spec.warnings.lookup import in_regime, sides_of, variant_named
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_sweep
from orchestrator.trial import Variant

_UNITS = (64, 32, 16, 8, 4, 2, 1)
"""Numbers that SwiGLU's width may be rounded to multiples of instead."""


@of_sweep
def size_drift(spec: SweepSpec) -> Found:
    """Steps with more or fewer parameters or FLOPs than before, each told once for all regimes."""
    by_step: dict[str, list[Variant]] = {}
    for variant in spec.variants:
        if _drifts_for_itself(spec, variant):
            by_step.setdefault(variant.name, []).append(variant)
    for drifting in by_step.values():
        yield _told(spec, drifting)
    yield from _beside_others(spec)


def _beside_others(spec: SweepSpec) -> Found:
    """Side steps on a ground of their own (`on`) that are not as large as it, one warning for each
    ground: they are alternatives to it, unless they are a control of size.
    """
    by_ground: dict[str, list[Variant]] = {}
    for variant in spec.variants:
        ground = variant_named(spec, variant.regime, variant.on or "")
        if ground is None or variant.design != "roadmap" or _is_control(spec, variant):
            continue
        if drifts(ground, variant, spec.schema.tolerance):
            by_ground.setdefault(ground.label, []).append(variant)
    for label, drifting in by_ground.items():
        sizes = [f"{variant.name} {_sizes(spec, variant)}" for variant in drifting]
        message = (
            f"side steps of {label} have a different size ({'; '.join(sizes)}): size alone may "
            "explain their effects"
        )
        yield SpecWarning("size-drift", message, drifting[0].line)


def _is_control(spec: SweepSpec, variant: Variant) -> bool:
    """Tell whether a side step has the size of the step that it belongs to, on the ground before
    that step: what size alone does.
    """
    step = variant_named(spec, variant.regime, variant.step)
    ground = variant_named(spec, variant.regime, variant.on or "")
    if step is None or ground is None or step.follows != ground.name:
        return False
    tolerance = spec.schema.tolerance
    is_as_large = "parameters" not in drifts(step, variant, tolerance)
    return is_as_large and bool(drifts(ground, step, tolerance))


def _sizes(spec: SweepSpec, variant: Variant) -> str:
    """Say by how much its size is another than its ground's: `+2.0% parameters and +3.1% FLOPs`."""
    ground = variant_named(spec, variant.regime, variant.on or variant.follows or "")
    assert ground is not None
    beyond = drifts(ground, variant, spec.schema.tolerance)
    return " and ".join(f"{drift:+.1%} {what}" for what, drift in beyond.items())


def _drifts_for_itself(spec: SweepSpec, variant: Variant) -> bool:
    """Tell whether its size differs from that of the step before, and no other step is the
    cause.
    """
    tolerance = spec.schema.tolerance
    ground = _ground(spec, variant)
    if variant.design != "roadmap" or ground is None or variant.on:
        return False  # told of all of them together
    if not drifts(ground, variant, tolerance):
        return False
    step = variant_named(spec, variant.regime, variant.step)
    if variant.side and step is not None and not drifts(step, variant, tolerance):
        return False  # as large as the step that it belongs to, which is told
    sides = sides_of(spec, variant)
    return not any(_resolves(side, variant, ground, tolerance) for side in sides)


def _told(spec: SweepSpec, drifting: Sequence[Variant]) -> SpecWarning:
    """One warning about a step, with its sizes in every regime."""
    parts = []
    for variant in drifting:
        ground = _ground(spec, variant)
        assert ground is not None
        regime = in_regime(variant.regime)
        parts.append(f"{_sizes(spec, variant)} compared with {ground.name}{regime}")
    first = drifting[0]
    ground = _ground(spec, first)
    assert ground is not None
    message = f"step '{first.name}' has {', '.join(parts)}: size alone may explain its effect"
    control = _control(first, ground, spec.schema.tolerance)
    return SpecWarning("size-drift", message, first.line, control)


def _ground(spec: SweepSpec, variant: Variant) -> Variant | None:
    return variant_named(spec, variant.regime, variant.follows or "")


def drifts(ground: Variant, variant: Variant, tolerance: float) -> Mapping[str, float]:
    """The shares by which sizes differ, of those that differ by more than the tolerance."""
    before, after = ground.config.network, variant.config.network
    if before is None or after is None:
        return {}
    sizes = {"parameters": parameter_count, "FLOPs": macs}
    # The user's own network may have no parameters at all.
    shares = {what: size(after) / max(1, size(before)) - 1 for what, size in sizes.items()}
    return {what: share for what, share in shares.items() if abs(share) > tolerance}


def _resolves(side: Variant, variant: Variant, ground: Variant, tolerance: float) -> bool:
    """Tell whether it is the same step at the ground's size, or the ground at the step's."""
    if side.on is None:
        return not drifts(ground, side, tolerance)
    return side.on == ground.name and "parameters" not in drifts(variant, side, tolerance)


def _control(variant: Variant, ground: Variant, tolerance: float) -> str:
    """The step with SwiGLU rounded to the old size, else the ground at the new width.

    Nothing where neither comes near, or where size is all that the step changes.
    """
    model, before = variant.config.network, ground.config.network
    if not isinstance(model, ModelConfig) or not isinstance(before, ModelConfig):
        return ""  # which setting of the user's network is its size, nobody says
    unit = _unit_of_size(model, parameter_count(before), tolerance)
    if unit is not None:
        return side_step(f"{variant.name}_same_size", {"model.multiple_of": unit})
    if before.has_parts:  # measured at one width, and nobody knows what they have at another
        return ""
    width = _width_of_size(before, parameter_count(model), tolerance)
    change = {"model.embed_dim": width}
    if width is None or change == dict(variant.changes):
        return ""
    return side_step(f"{variant.name}_size_only", change, ground.name)


def _unit_of_size(model: ModelConfig, params: int, tolerance: float) -> int | None:
    """The unit of SwiGLU's hidden width at which the network has about so many parameters."""
    if model.feed_forward != "swiglu":
        return None

    def distance(unit: int) -> float:
        return abs(parameter_count(model.model_copy(update={"multiple_of": unit})) / params - 1)

    unit = min(_UNITS, key=distance)
    if distance(unit) > tolerance:
        return None
    return unit


def _width_of_size(model: ModelConfig, params: int, tolerance: float) -> int | None:
    """The width at which the network has about so many parameters, if any whole width does."""
    unit = 2 * model.num_heads  # rotary embeddings need heads of even width
    widths = range(unit, 2 * model.embed_dim + 1, unit)

    def count(width: int) -> int:
        return parameter_count(model.model_copy(update={"embed_dim": width}))

    place = min(bisect_left(widths, params, key=count), len(widths) - 1)  # they grow with the width
    counts = {width: count(width) for width in widths[max(0, place - 1) : place + 1]}
    width = min(counts, key=lambda width: abs(counts[width] - params))
    if abs(counts[width] / params - 1) > tolerance:
        return None
    return width
