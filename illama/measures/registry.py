"""Built-in measures by name, and how a spec's `measure` is read."""

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from illama.config.functions import function_behind, options_of, settings_of
from illama.config.imports import function_of, identity_of
from illama.config.settings import Settings
from illama.measures.base import Quantity
from illama.spelling import did_you_mean

MEASURES: Mapping[str, str] = {
    name: f"illama.measures.{name}:{name}"
    for name in (
        "calibration",
        "attention_rank",
        "causality",
        "robustness",
        "efficiency",
        "training_dip",
        "quantization",
        "transfer",
        "shape_texture",
        "landscape",
        "segmentation",
        "ade20k",
        "token_merging",
        "repq",
        "early_exit",
    )
}
"""Functions of the built-in measures as `module:function`. Another one is a file and a line here.

Its module has a `NUMERICS_VERSION`, which is raised when its numbers change."""


_RESERVED = frozenset({"name", "every"})
"""Keys of a request that are no options of the measure."""


class Request(Settings):
    """Measure that a spec asks for, with all of its options."""

    name: str
    """The measure's name as the spec has it."""
    function: str
    """`module:function`."""
    code: str
    """Identity of its code; see `illama.config.imports.identity_of`."""
    options: dict[str, Any]
    """Every option, defaults included."""
    given: dict[str, Any] = {}
    """Options that the spec sets."""
    every: int | None = None
    """Epochs between two measurements along the training; None for the finished network alone."""

    def __hash__(self) -> int:
        return hash((self.function, self.code))


def function_in(request: Request) -> Callable[..., Any]:
    """Function of the measure. Raises `UserCodeError` where it cannot be imported."""
    return _imported(request.function)


def quantities_of(request: Request) -> Mapping[str, Quantity]:
    """Return what a measure's author says of its numbers; empty where that is nothing."""
    found = getattr(function_in(request), "quantities", {})
    return found if isinstance(found, Mapping) else {}


def needs_of(request: Request) -> Sequence[str]:
    """Methods that a network must have."""
    return tuple(getattr(function_in(request), "needs", ()))


def missing_data(request: Request, directory: Path) -> str:
    """Return the reason why further files that the measure reads cannot be used; empty where they
    can, or it reads none. `directory` is the folder of all data.
    """
    look = getattr(function_in(request), "reads", None)
    if look is None:
        return ""
    try:
        look(directory, request.options)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def read_request(value: Any) -> Request:
    """The measure that a spec writes as `calibration`, `{name: calibration, bins: 10}` or `mine:f`.

    `every`, a number of epochs, is no option of a measure: it says when along the training it is
    taken as well.

    Raises `ValueError` with what is wrong: an unknown name or option, a value of another type, a
    function that cannot be imported.
    """
    if isinstance(value, Request):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ValueError(
            "a measure should be a name, 'module:function', or a mapping with its 'name' and its "
            f"options, found {value!r}"
        )
    name = value["name"]
    function = MEASURES.get(name) or function_behind("measure", name, MEASURES)
    if function is None:
        raise ValueError(_unknown(name))
    given = {str(key): option for key, option in value.items() if key not in _RESERVED}
    every = _checked_every(name, value.get("every"))
    options = _checked(name, function, given)
    return Request(
        name=name,
        function=function,
        code=identity_of(function),
        options=options,
        given=given,
        every=every,
    )


def labelled(requests: Sequence[Request]) -> dict[str, Request]:
    """Requests by the name that a report shows: with the given options where a name is repeated.

    Raises `ValueError` where two are the same.
    """
    counts = Counter(request.name for request in requests)
    found: dict[str, Request] = {}
    for request in requests:
        label = request.name
        if counts[label] > 1 and request.given:
            options = ", ".join(f"{key}={value}" for key, value in sorted(request.given.items()))
            label = f"{label} ({options})"
        if label in found:
            raise ValueError(f"measure {label} is listed twice; list each one once")
        found[label] = request
    return found


def _checked_every(name: str, every: Any) -> int | None:
    if every is None:
        return None
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ValueError(
            f"measure {name}: every is the number of epochs from one measurement to the next, 1 or "
            f"more, found {every!r}"
        )
    return every


def _imported(function: str) -> Callable[..., Any]:
    if function not in MEASURES.values():
        return function_of(function)
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _checked(name: str, function: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the measure, those that are `given` over its defaults."""
    _imported(function)  # ours, before a folder of the user is searched for it
    kind = settings_of("measure", function)
    allowed = [str(field.alias) for field in kind.model_fields.values() if field.alias != "name"]
    if "every" in allowed:
        raise ValueError(
            f"measure {name} has an option 'every', which is reserved for when a sweep measures: "
            "rename it"
        )
    is_open = kind.model_config.get("extra") == "allow"
    for option in given:
        if option not in allowed and not is_open:
            takes = f"it takes {', '.join(allowed) or 'no options'}"
            hint = did_you_mean(option, allowed)
            raise ValueError(f"measure {name} has no option '{option}'; {takes}{hint}")
    try:
        return options_of(kind.model_validate({"name": name, **given}))
    except ValidationError as error:
        told = "; ".join(_told(kind, problem) for problem in error.errors())
        raise ValueError(f"measure {name}: {told}") from error


def _told(kind: type[Settings], problem: Any) -> str:
    """One problem of the options in a clause: the option, what it should be, what was found."""
    field = kind.model_fields.get(str(problem["loc"][0]))
    option = field.alias if field else problem["loc"][0]
    return f"{option}: {problem['msg']}, found {problem['input']!r}"


def _unknown(name: str) -> str:
    return (
        f"there is no measure '{name}'; allowed: {', '.join(MEASURES)}, or your own function as "
        f"'module:function'{did_you_mean(name, MEASURES)}"
    )
