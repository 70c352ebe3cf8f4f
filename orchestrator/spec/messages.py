"""Pydantic's errors in words that name what was found, what is allowed and what to do."""

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from illama.config.settings import field_named, section_of
from illama.spelling import did_you_mean
from orchestrator.errors import did_you_mean_one_of
from orchestrator.spec.document import Document, Location
from orchestrator.spec.step_schema import MISSING_CHANGE

_LONGEST_FOUND = 100
"""Letters of a wrong value that a message repeats."""


def add_validation_problems(
    document: Document,
    error: ValidationError,
    model: type[BaseModel],
    place: Callable[[Location], Location],
) -> None:
    """Note every part of `error` as a problem of the document, at the place that `place` gives for
    a path inside `model`.
    """
    for part in error.errors(include_url=False):
        path: Location = tuple(
            key for key in part["loc"] if key != ""
        )  # the figure for all regimes has no name in the file
        at_key = part["type"] in ("extra_forbidden", "missing", MISSING_CHANGE)
        if path and path[-1] == "[key]":  # a mapping's key, not its value
            path, at_key = path[:-1], True
        if part["type"] == "missing" and document.has(place(path)):
            # it is there, and wrong: that was said
            continue
        message = _message(part, path, model)
        if isinstance(part["input"], list) and _is_of_step(place(path)):
            message += _SEVERAL_VALUES
        document.add_problem(place(path), message, at_key=at_key)


_SEVERAL_VALUES = (
    "; a step has one value for each setting: for several, write a side step for each, or beside "
    "'change' a grid, such as grid: {train.lr: [1e-3, 3e-3]}"
)


def _is_of_step(location: Location) -> bool:
    """Tell whether it is a value that a step or side step changes."""
    return location[:1] == ("steps",) and any("." in str(key) for key in location[2:])


def _message(part: Any, path: Location, model: type[BaseModel]) -> str:
    kind = part["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path, list(_fields_at(model, path[:-1])))
    if kind == "literal_error":
        return _not_allowed(part, path)
    if kind == "missing":
        return f"key '{path[-1]}' is missing"
    if kind == MISSING_CHANGE:
        return str(part["msg"])
    if kind == "value_error":
        return str(part["ctx"]["error"])
    return _wrong_kind(part, ".".join(map(str, path)))


def _unknown_key(path: Location, allowed: list[str]) -> str:
    return f"unknown key '{path[-1]}'{did_you_mean_one_of(str(path[-1]), allowed)}"


def _not_allowed(part: Any, path: Location) -> str:
    expected = part["ctx"]["expected"]
    allowed = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    if part["loc"][-1] == "[key]":
        return _unknown_key(path, allowed)
    key, found = ".".join(map(str, path)), part["input"]
    meant = did_you_mean(str(found), allowed)
    return f"{key} cannot be {_short(found)}; allowed: {', '.join(allowed)}{meant}"


def _wrong_kind(part: Any, key: str) -> str:
    found, kind = part["input"], part["type"]
    if kind == "string_pattern_mismatch":
        return f"'{found}' cannot be a name: letters, digits, '_', '.' and single '-' only"
    if kind in ("model_type", "dict_type"):
        what = f"{key}: it should be" if key else "a spec is"
        return f"{what} a mapping of keys to values, found {_short(found)}"
    if kind == "too_short":
        fewest = part["ctx"]["min_length"]
        return f"{key}: it should have at least {'one item' if fewest == 1 else f'{fewest} items'}"
    wanted = re.sub(r"^\w+ should", "it should", part["msg"]).replace("valid list", "list")
    if kind in ("int_parsing", "float_parsing", "bool_parsing", "int_from_float"):
        wanted = wanted.partition(", ")[0]  # why it could not be read is seen from what was found
    return f"{key}: {wanted}, found {_short(found)}"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    if value in ({}, []):
        return f"an empty {_KINDS[type(value)]}"
    if type(value) in _KINDS:
        return f"a {_KINDS[type(value)]}"
    text = repr(value)
    if len(text) <= _LONGEST_FOUND:
        return text
    return f"{text[:_LONGEST_FOUND]}..."


_KINDS: Mapping[type, str] = {dict: "mapping", list: "list"}


def _fields_at(model: type[BaseModel], path: Location) -> tuple[str, ...]:
    """The keys that the settings at `path` inside `model` may have."""
    for part in path:
        field = field_named(model, str(part))
        if field is None:  # an index or a name that the user chose: the model stays what it was
            continue
        model = section_of(field) or next(_models_in(field.annotation), model)
    return tuple(
        dict.fromkeys(
            str(field.validation_alias or field.alias or name)
            for name, field in model.model_fields.items()
        )
    )


def _models_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
