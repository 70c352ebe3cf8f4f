"""Designs that a spec may ask for, by name. Another one is a file and a line here.

What its cells show is worked out in `orchestrator.analysis.design_effects`, which has a table of
its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from illama.spelling import did_you_mean
from orchestrator.spec.designs.base import (
    ALL_STEPS,
    BASELINE,
    Design,
    DesignError,
    Ground,
    PlannedCell,
    SkippedCell,
)
from orchestrator.spec.designs.factorial import Factorial
from orchestrator.spec.designs.leave_one_out import LeaveOneOut
from orchestrator.spec.designs.one_factor import OneFactor
from orchestrator.spec.designs.orders import Orders
from orchestrator.spec.designs.roadmap import Roadmap

__all__ = [
    "ALL_STEPS",
    "BASELINE",
    "DESIGNS",
    "Design",
    "DesignError",
    "Ground",
    "PlannedCell",
    "SkippedCell",
    "has_road",
    "read_design",
]

DESIGNS: dict[str, type[Design]] = {
    "roadmap": Roadmap,
    "one_factor": OneFactor,
    "leave_one_out": LeaveOneOut,
    "factorial": Factorial,
    "orders": Orders,
}


def has_road(designs: Sequence[Design]) -> bool:
    """Tell whether one of the designs trains the road."""
    return any(design.is_road for design in designs)


def read_design(value: Any) -> Any:
    """The design that a spec writes as `roadmap`, `{orders: 3}` or `{factorial: {fraction: 1/2}}`.

    Raises `ValidationError` where there is no such design or an option has a wrong value, and
    `ValueError` where the design has no such option.
    """
    options = _long_form(value)
    if not isinstance(options, Mapping):
        return value  # refused by pydantic, in its words for what is no mapping
    name = options.get("name")
    kind = DESIGNS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _unknown(name, "name" in options)
    _check_options(kind, options)
    return kind.model_validate(options)


def _check_options(kind: type[Design], options: Mapping[Any, Any]) -> None:
    """Raises `ValueError` where the design has no such option."""
    allowed = sorted(kind.model_fields.keys() - {"name"})
    for option in options:
        if option != "name" and option not in allowed:
            takes = f"it takes {', '.join(allowed) or 'no options'}"
            hint = did_you_mean(str(option), allowed)
            raise ValueError(f"design {options['name']} has no option '{option}'; {takes}{hint}")


def _long_form(value: Any) -> Any:
    """The design as a mapping of its name and options.

    Raises `ValueError` where the design has no short form.
    """
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, Mapping) or len(value) != 1 or "name" in value:
        return value
    [(name, options)] = value.items()
    if isinstance(options, Mapping):
        return {"name": name, **options}
    kind = DESIGNS.get(name)
    if kind is None:
        return {"name": name}
    if kind.short_option is None:
        allowed = ", ".join(sorted(kind.model_fields.keys() - {"name"})) or "no options"
        raise ValueError(
            f"design {name}: {options!r} is not a mapping of options; it takes {allowed}"
        )
    return {"name": name, kind.short_option: options}


def _unknown(name: Any, is_given: bool) -> ValidationError:
    """The error of a design that does not exist, in the form of pydantic's own."""
    if not is_given:
        missing = InitErrorDetails(type="missing", loc=("name",), input=name)
        return ValidationError.from_exception_data("design", [missing])
    expected = ", ".join(f"'{known}'" for known in DESIGNS)
    literal = InitErrorDetails(
        type="literal_error", loc=("name",), input=name, ctx={"expected": expected}
    )
    return ValidationError.from_exception_data("design", [literal])
