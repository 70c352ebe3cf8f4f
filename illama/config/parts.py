"""Parts of the network by name: a built-in name, or a function `module:function` with its keyword
parameters as settings.

    mixer: {name: "moh:mixture_of_heads", top_k: 2}
    mixer: [attention, attention, {name: agent, side: 2}]       one for each block

Knows no torch: what a part can do and what it costs is found out in `illama.config.part_checks`.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, NonNegativeInt, PlainValidator, TypeAdapter, create_model
from pydantic_core import PydanticCustomError

from illama.config.functions import arguments_of, options_of, settings_of
from illama.config.imports import UserCodeError, function_of, identity_of, refuse_other_code
from illama.config.settings import Settings
from illama.parts import PARTS

if TYPE_CHECKING:
    from torch import nn

    from illama.parts.place import Place

BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "mixer": ("attention",),
    "feed_forward": ("gelu", "swiglu"),
    "norm": ("layernorm", "rmsnorm"),
    "position": ("none", "learned", "rope", "learned+rope", "rope2d", "learned+rope2d"),
    "readout": ("token", "mean"),
}
"""Names of `illama.model`'s own parts, which have no settings, by the setting that they stand
in.
"""
PART_KINDS = tuple(BUILT_IN)
"""Settings of `model` that may name a part."""
_RESOLVED = {"name", "function", "code", "options"}


class Part(Settings):
    """A part of the network that a function makes."""

    is_written: ClassVar[bool] = False
    """A spec writes a name and the function's settings instead."""

    name: str
    """The part's name as the spec has it: a name in `illama.parts.PARTS`, or `module:function`."""
    function: str
    """`module:function`."""
    code: str
    """Identity of its code; see `illama.config.imports.identity_of`."""
    options: dict[str, Any]
    """Settings of the function: all of somebody's own, of a part of ours those that are not its
    defaults.
    """
    params: NonNegativeInt | None = None
    """Parameters, in all places that it stands in together; None before it is measured."""
    macs: NonNegativeInt | None = None
    """Multiply-accumulates for one image, in all places together."""

    def written(self, name: str) -> Any:
        """Setting of its function; None where there is none of that name."""
        if name == "name":
            return self.name
        return arguments_of("part", self.function, self.options).get(name)

    @property
    def identity(self) -> Mapping[str, Any]:
        """All of it that decides the numbers."""
        return {"function": self.function, "code": self.code, "options": self.options}

    @property
    def text(self) -> str:
        """Name and options, for people."""
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        if not options:
            return self.name
        return f"{self.name} ({options})"

    @property
    def is_ours(self) -> bool:
        """True if it comes with this package."""
        return self.function.startswith("illama.")


def identity_in(choice: str | Part) -> Any:
    """All of a choice that decides the numbers: a built-in part is its name."""
    if isinstance(choice, str):
        return choice
    return dict(choice.identity)


def text_of(choice: str | Part) -> str:
    """Name of a built-in part, or name and options of another."""
    if isinstance(choice, str):
        return choice
    return choice.text


def part_setting(kind: str) -> BeforeValidator:
    """Validator of a setting that names a part, or lists one for each block where `kind` stands in
    all.
    """
    one = PlainValidator(lambda value: _resolved(kind, value))
    several: TypeAdapter[Any] = TypeAdapter(tuple[Annotated[Any, one], ...])

    def validate(value: Any) -> Any:
        if isinstance(value, list | tuple) and kind not in ("position", "readout"):
            return several.validate_python(value)
        return _resolved(kind, value)

    return BeforeValidator(validate)


def _resolved(kind: str, value: Any) -> "str | Part":
    if isinstance(value, Part):
        return value
    if isinstance(value, Mapping) and value.keys() >= _RESOLVED:
        return Part.model_validate(value)
    if isinstance(value, Mapping) and "name" not in value:
        raise UserCodeError(f"{kind} needs a name: {{name: module:function, and its settings}}")
    name = value.get("name") if isinstance(value, Mapping) else value
    own = {key: item for key, item in value.items() if key != "name"} if name != value else {}
    if name in BUILT_IN[kind]:
        if own:
            raise UserCodeError(f"{name} has no settings, found '{min(map(str, own))}'")
        return str(name)
    function = function_behind(kind, name)
    if function is None:
        raise _unknown(kind, name)
    settings = settings_of("part", function)
    if "place" not in inspect.signature(function_of(function)).parameters:
        raise UserCodeError(
            f"{function} must have a parameter 'place', which says where the part is used"
        )
    checked = settings.model_validate({"name": name, **own})
    return Part(
        name=name,
        function=function,
        code=identity_of(function),
        options=_options(checked, is_ours=function.startswith("illama.")),
    )


def _options(checked: Settings, *, is_ours: bool) -> dict[str, Any]:
    if not is_ours:
        return options_of(checked)
    changed = checked.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    changed.pop("name", None)
    return changed


def _unknown(kind: str, name: Any) -> PydanticCustomError:
    allowed = [*BUILT_IN[kind], *PARTS[kind], "your own module:function"]
    expected = ", ".join(f"'{known}'" for known in allowed)
    return PydanticCustomError(
        "literal_error", "Input should be one of {expected}", {"expected": expected}
    )


def function_behind(kind: str, name: object) -> str | None:
    """The `module:function` that a name stands for in the setting `kind`; None for a built-in name
    or an unknown one.
    """
    if not isinstance(name, str) or name in BUILT_IN[kind]:
        return None
    return name if ":" in name else PARTS[kind].get(name)


def with_parts(model: type[Settings], settings: Mapping[str, Any]) -> type[Settings]:
    """The settings `model` with those of the parts that `settings` name; functions that cannot be
    used are left out.
    """
    found: dict[str, Any] = {}
    for kind in BUILT_IN:
        written = settings.get(kind)
        choices = written if isinstance(written, list | tuple) else (written,)
        for choice in choices:
            name = choice.get("name") if isinstance(choice, Mapping) else choice
            if (function := function_behind(kind, name)) is None:
                continue
            try:
                found[kind] = (settings_of("part", function), ...)
            except UserCodeError:  # told where the settings are resolved
                continue
    if not found:
        return model
    return create_model(model.__name__, __base__=model, **found)


def make_part(part: Part, place: "Place") -> "nn.Module":
    """The part as a module, its first values drawn from the global generators.

    Raises `UserCodeError` where the code is not that of the plan, or something else than a module
    is returned.
    """
    from torch import nn

    refuse_other_code(part.function, part.code)
    made = function_of(part.function)(place, **arguments_of("part", part.function, part.options))
    if not isinstance(made, nn.Module):
        raise UserCodeError(
            f"{part.function} returned {type(made).__name__}; expected a torch.nn.Module"
        )
    return made
