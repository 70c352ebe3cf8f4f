"""Pydantic's errors in words that name what was found, what is allowed and what to do."""

from collections.abc import Callable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.document import Document, Location
from orchestrator.errors import did_you_mean, did_you_mean_one_of
from orchestrator.schema import MISSING_CHANGE


def add_validation_problems(
    document: Document, error: ValidationError, model: type[BaseModel], place: Callable[[Location], Location]
) -> None:
    """Note every part of `error` as a problem of the document, at the place that `place` gives for a path inside `model`."""
    for part in error.errors(include_url=False):
        path: Location = tuple(key for key in part["loc"] if key != "")  # the figure for all regimes has no name in the file
        at_key = part["type"] in ("extra_forbidden", "missing", MISSING_CHANGE)
        if path and path[-1] == "[key]":  # a mapping's key, not its value
            path, at_key = path[:-1], True
        document.add_problem(place(path), _message(part, path, model), at_key=at_key)


def _message(part: Any, path: Location, model: type[BaseModel]) -> str:
    key = ".".join(map(str, path))
    found = part["input"]
    match part["type"]:
        case "extra_forbidden":
            allowed = list(_fields_at(model, path[:-1]))
            return f"unknown key '{path[-1]}'{did_you_mean_one_of(str(path[-1]), allowed)}"
        case "missing":
            return f"key '{path[-1]}' is missing"
        case "literal_error":
            expected = part["ctx"]["expected"]
            allowed = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
            return f"{key} cannot be {found!r}; allowed: {', '.join(allowed)}{did_you_mean(str(found), allowed)}"
        case kind if kind == MISSING_CHANGE:
            return str(part["msg"])
        case "value_error":
            return str(part["ctx"]["error"])
        case "string_pattern_mismatch":
            return f"'{found}' cannot be a name: letters, digits, '_', '.' and single '-' only"
        case "model_type" | "dict_type":
            return f"{key or 'a spec'}: it should be a mapping of keys to values, found {_short(found)}"
        case "too_short":
            return f"{key}: it should have at least one item"
        case _:
            return (
                f"{key}: {part['msg'].replace('Input should', 'it should').replace('valid list', 'list')}, found {_short(found)}"
            )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "nothing" if value is None else repr(value)


def _fields_at(model: type[BaseModel], path: Location) -> tuple[str, ...]:
    """The keys that the settings at `path` inside `model` may have."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:  # an index or a name that the user chose: the model stays what it was
            continue
        model = next(_models_in(field.annotation), model)
    return tuple(dict.fromkeys(str(field.validation_alias or field.alias or name) for name, field in model.model_fields.items()))


def _models_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
