"""Keys of a step and of what stands beside it: changes, references, resources."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from illama.config import Settings
from orchestrator.metrics import METRICS
from orchestrator.spec.search_schema import SearchSchema

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$", max_length=80)
]
"""Letters, digits, `_`, `.` and single `-`: it becomes part of a file's name."""

Changes = dict[str, Any]
"""Dotted settings and their new values, such as `{model.norm: rmsnorm}`."""

MISSING_CHANGE = "missing_change"
"""Type of the error about a step that says nowhere what it changes; it is told at the step's name.
"""


def _gigabytes(value: Any) -> Any:
    """`500MB` as 0.5; numbers are GB already."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"\d+(\.\d+)? *[kmgt]i?b", value, re.IGNORECASE):
        raise ValueError(
            f"memory should be in GB, or have a unit as in 500MB and 2GiB, found '{value}'"
        )
    return TypeAdapter(ByteSize).validate_python(value) / 1e9


class ResourcesSchema(Settings):
    """Resources that one trial occupies while it runs."""

    nodes: PositiveInt = 1
    """Machines that it is spread over; the rest is of each of them. More than one needs
    `--executor ray`.
    """
    cpus: PositiveFloat = 1
    """CPU cores; torch uses as many threads."""
    gpus: float = Field(default=0, ge=0)
    """GPUs; a fraction shares one."""
    time_limit: PositiveFloat | None = None
    """Seconds that one attempt may take; a trial that hangs is ended then, and tried again by
    `resume`.
    """
    memory: Annotated[PositiveFloat, BeforeValidator(_gigabytes)] | None = None
    """GB of the host's memory, or with a unit: `500MB`, `2GiB`. Ray places the trial by it; a trial
    that takes more is ended as out of memory, and goes again with half the micro-batch.
    """

    @field_validator("gpus")
    @classmethod
    def _whole_or_a_share_of_one(cls, value: float) -> float:
        if value > 1 and not value.is_integer():
            raise ValueError(
                "gpus above 1 should be a whole number: a trial shares one GPU or has several "
                "whole ones"
            )
        return value


class ReferenceSchema(Settings):
    """A published figure, shown beside ours."""

    value: float
    """The value of the sweep's metric; the metric's own name, such as `val/acc1`, may stand for
    `value`.
    """
    source: str
    """The place where it was published."""
    of: str = ""
    """The metric that `value` is of, where it was named."""
    also: dict[str, float] = {}
    """Figures of further metrics from the same source, by their names."""

    @model_validator(mode="before")
    @classmethod
    def _metric_names(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = {key: item for key, item in value.items() if _is_figure(key, item)}
        if not named:
            return value
        rest = {key: item for key, item in value.items() if key not in named}
        if "value" not in value:
            first, *_ = named
            rest |= {"value": named.pop(first), "of": first}
            rest.setdefault("source", "")
        if not named:
            return rest
        return {**rest, "also": {**rest.get("also", {}), **named}}

    def by_metric(self, own: str) -> dict[str, float]:
        """All figures; `own` is the sweep's metric."""
        return {self.of or own: self.value, **self.also}


def _is_figure(key: str, value: Any) -> bool:
    """Tell whether a key of a reference is a metric of its own name."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return key in METRICS or (is_number and key not in ReferenceSchema.model_fields)


def by_regime(value: Any) -> Any:
    """One reference for all regimes goes by the empty name."""
    if isinstance(value, Mapping) and not all(isinstance(one, Mapping) for one in value.values()):
        return {"": value}
    return value


class SideSchema(Settings):
    """An alternative beside a step: measured and reported, but the road does not go on from it."""

    change: Changes = {}
    """The changes on top of the step it stands beside, or of the step that `on` names; may be left
    out where `regimes` has one.
    """
    on: Name | None = None
    """The step, or `baseline`, that the change is made to instead: a control. Its effect is taken
    against that step.
    """
    note: str = ""
    """A remark of the author's about the step, shown with its row."""
    expect: Literal["collapse"] | None = None
    """A collapse that is part of the claim."""
    reference: dict[str, ReferenceSchema] = {}
    """A published figure: `{value: 75.0, source: ...}`, or one for each regime by its name."""
    regimes: dict[Name, Changes] = {}
    """Further changes in these regimes only."""
    resources: ResourcesSchema | None = None
    """Instead of the sweep's."""
    search: SearchSchema | None = None
    """Further settings, which it finds for itself."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`{model.mask_form: additive}` is short for `{change: {model.mask_form: additive}}`."""
        if isinstance(value, Mapping) and value and not set(value) & set(cls.model_fields):
            return {"change": value}
        return value

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if "change" not in self.model_fields_set and not self.regimes and not self.search:
            raise PydanticCustomError(MISSING_CHANGE, "key 'change' is missing")
        return self

    @field_validator("reference", mode="before")
    @classmethod
    def _one_for_all_regimes(cls, value: Any) -> Any:
        return by_regime(value)


class StepSchema(SideSchema):
    """A step of the roadmap."""

    name: Name
    """Unique within the sweep."""
    change: Changes = {}
    """The changes on top of the step before; may be left out where `regimes` has one."""
    on: None = None
    """The step that it builds on: of side steps only, for the road is one."""
    side: dict[Name, SideSchema] = {}
    """Alternatives beside this step, by name."""
    requires: list[Name] = []
    """Steps without which this one makes no sense; cells of a design that lack one are skipped."""
    conflicts: list[Name] = []
    """Steps that this one cannot stand beside; cells with both are skipped."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return value
