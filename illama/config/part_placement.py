"""Parts in their places: whether they go together with the rest of a network, and what they cost in
it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from illama.config.imports import UserCodeError
from illama.config.part_checks import Measured, leak, measured
from illama.config.parts import BUILT_IN, Part

if TYPE_CHECKING:
    from illama.config.model import ModelConfig


def check_parts(config: "ModelConfig") -> None:
    """Measure the parts that are not measured yet, and note what they cost in `config`.

    Raises `ValidationError` at the setting of a part that cannot be made, or that does not go
    together with the rest.
    """
    problems: list[InitErrorDetails] = []
    for kind in BUILT_IN:
        choices = list(config.choices(kind))
        for index, part in enumerate(choices):
            if not isinstance(part, Part) or part.params is not None:
                continue
            try:
                choices[index] = _placed(config, kind, index, part)
            except UserCodeError as error:
                listed = isinstance(getattr(config, kind), tuple)
                problems.append(_problem((kind, index) if listed else (kind,), part, error))
        if choices != list(config.choices(kind)):
            listed = isinstance(getattr(config, kind), tuple)
            config.__dict__[kind] = tuple(choices) if listed else choices[0]
    if problems:
        raise ValidationError.from_exception_data("ModelConfig", problems)


def _problem(place: tuple[str | int, ...], part: Part, error: UserCodeError) -> InitErrorDetails:
    reason = PydanticCustomError("value_error", "{error}", {"error": str(error)})
    return InitErrorDetails(type=reason, loc=place, input=part.name)


def _placed(config: "ModelConfig", kind: str, index: int, part: Part) -> Part:
    """The part with its size in all its places. Raises `UserCodeError`."""
    listed = isinstance(getattr(config, kind), tuple)
    params = macs = 0
    probed: set[str] = set()
    for layer in _layers(config, kind, index if listed else None):
        place = config.place(layer)
        found = measured(kind, part, place)
        _check_abilities(config, kind, part, found, place.attention)
        if place.attention not in probed and (why := leak(kind, part, place)):
            raise UserCodeError(f"{part.name}: {why}")
        probed.add(place.attention)
        params, macs = params + found.params, macs + found.macs
    return part.model_copy(update={"params": params, "macs": macs})


def _layers(config: "ModelConfig", kind: str, index: int | None) -> Iterator[int]:
    """Layers of all places that a part stands in; those of a norm twice, and the last one's once
    more.
    """
    if kind == "position":
        yield 0
        return
    if kind == "readout":
        yield config.depth
        return
    blocks = range(config.depth) if index is None else (index,)
    for layer in blocks:
        yield from (layer,) * (2 if kind == "norm" else 1)
    if kind == "norm" and index in (None, config.depth - 1):
        yield config.depth


def _check_abilities(
    config: "ModelConfig", kind: str, part: Part, found: Measured, attention: str
) -> None:
    """Raises `UserCodeError` where the part cannot do what the rest of the network asks of it."""
    if attention not in found.masks:
        raise _refusal(part, "masks", found.masks, f"attention is {attention}")
    if attention != "bidirectional" and config.mask_form not in found.mask_forms:
        raise _refusal(part, "mask_forms", found.mask_forms, f"mask_form is {config.mask_form}")
    if config.class_token not in found.class_tokens:
        about = f"class_token is {config.class_token}"
        raise _refusal(part, "class_tokens", found.class_tokens, about)
    if found.needs_grid and config.scan != "raster":
        raise UserCodeError(f"{part.name} needs its patches row by row, but scan is {config.scan}")
    if kind == "mixer" and not found.rotates and config.rotates:
        raise UserCodeError(
            f"{part.name} does not rotate queries and keys, so position {config.position} would "
            "have no effect: use learned or none"
        )


def _refusal(part: Part, ability: str, allowed: Any, found: str) -> UserCodeError:
    words = ", ".join(allowed) or "nothing"
    return UserCodeError(
        f"{part.name} works only with {words}, but model.{found} (its module declares this in "
        f"`{ability}`)"
    )
