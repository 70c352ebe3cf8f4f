"""Dataclasses and pydantic models that a user's function takes, as sections of a spec.

A section is checked as strictly as our own settings: an unknown key is refused at its place, which
neither dataclasses nor pydantic do by themselves. Only what a spec writes is laid over the
function's default; the rest of that default stays as it is.
"""

import dataclasses
import inspect
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticSerializationError, PydanticUndefined

from illama.config.settings import SectionOf, Settings

_MISSING = inspect.Parameter.empty


def as_section(kind: Any, default: Any) -> Any:
    """`kind`, checked strictly where it is a dataclass or a pydantic model, or an optional one.

    `default` is the parameter's default, or `inspect.Parameter.empty`.
    """
    cls = _class_in(kind)
    if cls is None:
        return kind
    schema = _schema_of(cls, _Default(default if isinstance(default, cls) else _MISSING))

    def validate(value: Any, original: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, Mapping):
            return original(value)
        checked = schema.model_validate(value)
        return original(checked.model_dump(by_alias=True, warnings=False))

    return Annotated[kind, WrapValidator(validate), SectionOf(schema)]


def _class_in(kind: Any) -> type | None:
    """The one dataclass or pydantic model that `kind` is, beside None; None where there is no
    one.
    """
    found = [one for one in (kind, *get_args(kind)) if _is_model(one) or _is_dataclass(one)]
    return found[0] if len(found) == 1 and not get_args(found[0]) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


class _Default:
    """A default, compared by being the same object: dataclasses need not be hashable."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Default) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@cache
def _schema_of(cls: type, default: _Default) -> type[Settings]:
    """Fields of a dataclass or pydantic model as settings, with the defaults of an instance."""
    fields: dict[str, Any] = {}
    for index, (name, kind, fallback) in enumerate(_fields_of(cls)):
        value = fallback
        if default.value is not _MISSING:
            value = getattr(default.value, name, fallback)
        if _can_be_written(kind, value):
            is_absent = value is _MISSING or _is_not_finite(
                value
            )  # a spec has no word for infinity
            given = ... if is_absent else value
            fields[f"field_{index}"] = (
                as_section(kind, value),
                Field(default=given, alias=name),
            )

    class Section(Settings):
        model_config = ConfigDict(extra=_extra_of(cls), arbitrary_types_allowed=True)

    made: type[Settings] = create_model(cls.__name__, __base__=Section, **fields)
    return made


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _fields_of(cls: type) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default of each field."""
    if issubclass(cls, BaseModel):
        for name, field in cls.model_fields.items():
            kind = Annotated[field.annotation, *field.metadata] if field.metadata else None
            value = field.get_default(call_default_factory=True, validated_data={})
            fallback = _MISSING if value is PydanticUndefined else value
            yield field.alias or name, kind or field.annotation, fallback
        return
    kinds = get_type_hints(cls, include_extras=True)
    dataclass: Any = cls
    for one in dataclasses.fields(dataclass):
        if one.init:
            yield one.name, kinds[one.name], _default_of(one)


def _default_of(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return _MISSING


def _extra_of(cls: type) -> Any:
    """Tell whether unknown keys are taken: where a pydantic model says so itself."""
    config = getattr(cls, "model_config", {})
    return "allow" if config.get("extra") == "allow" else "forbid"


def _can_be_written(kind: Any, default: Any) -> bool:
    """Tell whether a value of this kind, and its default, can stand in a spec."""
    try:
        adapter = TypeAdapter(kind)
        if default is not _MISSING:
            adapter.dump_python(default, mode="json", warnings=False)
    except (PydanticUserError, PydanticSerializationError):
        return False
    return True
