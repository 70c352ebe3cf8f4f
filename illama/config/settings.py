"""Base class of all groups of settings, and how their mistakes are told. Knows no torch."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from illama.spelling import did_you_mean


class Settings(BaseModel):
    """A group of settings: unknown keys are refused, values never change after they were
    checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    is_written: ClassVar[bool] = True
    """True if a spec writes these settings as a section of their own."""

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would take `true` for 1 wherever a number is wanted."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if _has_bool(value) and _is_of_numbers(kind):
            raise PydanticCustomError("number_type", "Input should be a number")
        return value

    def written(self, name: str) -> Any:
        """Setting that a spec writes as `name`; None where there is none."""
        return getattr(self, name, None)

    def changes(self, name: str) -> bool:
        """Tell whether the setting is another than its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)


@dataclass(frozen=True)
class SectionOf:
    """Mark of a field whose value a spec writes as a section of these settings."""

    schema: type[Settings]


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Settings that may stand in a field that is a section; None for any other field."""
    marks = [mark for mark in field.metadata if isinstance(mark, SectionOf)]
    if marks:
        return marks[0].schema
    kinds = (field.annotation, *get_args(field.annotation))
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return next((kind for kind in models if getattr(kind, "is_written", True)), None)


def is_open(field: FieldInfo) -> bool:
    """Tell whether a field takes a mapping of any keys."""
    kinds = (field.annotation, *get_args(field.annotation))
    return Any in kinds or any(
        getattr(kind, "__origin__", kind) in (dict, Mapping) for kind in kinds
    )


def field_named(model: type[BaseModel], key: str) -> FieldInfo | None:
    """The field that a spec writes as `key`; None where there is none."""
    for name, field in model.model_fields.items():
        if key == (field.alias or name):
            return field
    return None


def one_of(names: Collection[str]) -> BeforeValidator:
    """Check that a setting is one of `names`, told as pydantic tells of a `Literal`.

    For names that are registered: they are looked at when a value is checked.
    """

    def check(value: Any) -> Any:
        if isinstance(value, str) and value in names:
            return value
        *others, last = [repr(name) for name in names]
        expected = f"{', '.join(others)} or {last}"
        raise PydanticKnownError("literal_error", {"expected": expected})

    return BeforeValidator(check)


def explain(error: ValidationError) -> str:
    """Explain what is wrong with somebody's settings: one line per problem, with the setting, what
    was found, and the nearest match.
    """
    problems = error.errors()
    if any(problem["loc"][-1:] == ("name",) for problem in problems):
        # all that is missing follows from the unknown name
        problems = [
            problem
            for problem in problems
            if problem["type"] != "missing" or problem["loc"][-1] == "name"
        ]
    return "\n".join(_explain_one(problem, error.title) for problem in problems)


def _explain_one(problem: Any, title: str) -> str:
    path = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        return f"{path} is missing"
    if problem["type"] == "extra_forbidden":
        *sections, key = problem["loc"]
        if owner := _owner_of(str(key), sections):
            return (
                f"{path} is not a setting here; {owner}.{key} is a setting of the section {owner}"
            )
        known = [
            field.alias or name for name, field in _group(title, sections).model_fields.items()
        ]
        return f"{path} is not a setting{did_you_mean(str(key), known)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] != "value_error":
        message += f", found {problem['input']!r}"
    return ": ".join(filter(None, [path, message]))


_SECTIONS = {
    "model": "ModelConfig",
    "data": "DataConfig",
    "train": "TrainConfig",
    "runtime": "RuntimeConfig",
}


def _owner_of(key: str, sections: Iterable[str]) -> str | None:
    """The other section that has a setting of this very name."""
    groups = {group.__name__: group.model_fields for group in _kinds_of(Settings)}
    owners = [section for section, name in _SECTIONS.items() if key in groups.get(name, {})]
    return next((section for section in owners if section not in sections), None)


def _group(title: str, sections: Iterable[str]) -> type[BaseModel]:
    """The group of settings that `sections` lead to from the one called `title`."""
    group: type[BaseModel] = next(known for known in _kinds_of(Settings) if known.__name__ == title)
    for section in sections:
        field = field_named(group, str(section))
        group = (section_of(field) if field else None) or group
    return group


def _kinds_of(base: type[Settings]) -> Iterator[type[Settings]]:
    """Every group of settings that is derived from `base`, those of the first level first."""
    kinds = base.__subclasses__()
    yield from kinds
    for kind in kinds:
        yield from _kinds_of(kind)


def is_finite(value: Any) -> bool:
    """Tell whether no number in it, at any depth, is infinite or NaN: JSON has none of them."""
    if isinstance(value, dict):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _has_bool(value: Any) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, list | tuple) and any(map(_has_bool, value))
    )


def _is_of_numbers(kind: Any) -> bool:
    """Tell whether `kind` has numbers in it, and nothing that `true` could be meant for."""
    kinds = set(_simple_kinds(kind))
    return bool(kinds & {int, float}) and kinds <= {int, float, type(None)}


def _simple_kinds(kind: Any) -> Iterable[Any]:
    """The types that an annotation is made of, lists and tuples taken apart."""
    parts = getattr(kind, "__metadata__", None) is not None and get_args(kind)[:1]
    parts = parts or get_args(kind)
    if not parts:
        return [kind]
    return [simple for part in parts if part is not ... for simple in _simple_kinds(part)]
