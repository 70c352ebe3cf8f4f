"""What may stand in a spec: the keys, their types and their meaning. `sweeps/README.md` shows each by example."""

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

from illama.config import RuntimeConfig, Settings
from orchestrator.fingerprint import canonical_json
from orchestrator.metrics import METRICS, Mode

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*(-[A-Za-z0-9_.]+)*$", max_length=80)
]
"""Letters, digits, `_`, `.` and single `-`: it becomes part of a file's name."""

Changes = dict[str, Any]
"""Dotted settings and their new values, such as `{model.norm: rmsnorm}`."""

MOST_TRIALS = 10_000
"""Of a sweep, and of its searches: planning looks at each, at a rate of some thousand a second."""
_MOST_TRIED = 5_000

MISSING_CHANGE = "missing_change"
"""Type of the error about a step that says nowhere what it changes; it is told at the step's name."""


class MetricSchema(Settings):
    """The number that the report compares."""

    name: str = "val/acc1"
    """As MLflow shows it."""
    mode: Mode = "max"
    """Which direction is better; known of the metrics that our trainings record."""
    epoch: Literal["last", "best"] = "last"
    """`last`: read when training ends. `best`: at the epoch that validates best, as many papers do; biased upwards, so the plan
    warns."""
    also: list[str] = []
    """Further metrics that the report shows beside it: described, never tested."""

    @model_validator(mode="before")
    @classmethod
    def _known_mode(cls, value: Any) -> Any:
        known = METRICS.get(str(value.get("name"))) if isinstance(value, Mapping) else None
        return {"mode": known.mode, **value} if known else value

    @model_validator(mode="after")
    def _direction(self) -> Self:
        if self.name in METRICS and METRICS[self.name].mode != self.mode:
            raise ValueError(f"mode {self.mode} would call a worse {self.name} an improvement")
        return self


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
    """What one trial occupies while it runs."""

    nodes: PositiveInt = 1
    """Machines that it is spread over; the rest is of each of them. More than one needs `--executor ray`."""
    cpus: PositiveFloat = 1
    """CPU cores; torch uses as many threads."""
    gpus: float = Field(default=0, ge=0)
    """GPUs; a fraction shares one."""
    time_limit: PositiveFloat | None = None
    """Seconds that one attempt may take; a trial that hangs is ended then, and tried again by `resume`."""
    memory: Annotated[PositiveFloat, BeforeValidator(_gigabytes)] | None = None
    """GB of the host's memory, or with a unit: `500MB`, `2GiB`. Ray places the trial by it; a trial that takes more is ended as
    out of memory, and goes again with half the micro-batch."""

    @field_validator("gpus")
    @classmethod
    def _whole_or_a_share_of_one(cls, value: float) -> float:
        if value > 1 and not value.is_integer():
            raise ValueError(
                "gpus above 1 should be a whole number: a trial shares one GPU or has several"
            )
        return value


class CostSchema(Settings):
    """What is known of the hardware, for estimates before any trial is done."""

    images_per_epoch: PositiveInt
    """Training images."""
    flops_per_second: PositiveFloat
    """That all devices of one trial reach together in training, not their peak."""
    price_per_gpu_hour: PositiveFloat | None = None
    """In whatever currency."""


class ReferenceSchema(Settings):
    """A published figure, shown beside ours."""

    value: float
    """Of the sweep's metric; the metric's own name, such as `val/acc1`, may stand for `value`."""
    source: str
    """Where it was published."""
    of: str = ""
    """The metric that `value` is of, where it was named."""
    also: dict[str, float] = {}
    """Figures of further metrics from the same source, by their names."""

    @model_validator(mode="before")
    @classmethod
    def _metric_names(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        named = [key for key in value if key in METRICS]
        rest = {key: item for key, item in value.items() if key not in METRICS}
        first = (
            {"value": value[named[0]], "of": named.pop(0)} if named and "value" not in value else {}
        )
        return {**rest, **first, **({"also": {key: value[key] for key in named}} if named else {})}

    def by_metric(self, own: str) -> dict[str, float]:
        """All figures; `own` is the sweep's metric."""
        return {self.of or own: self.value, **self.also}


def _by_regime(value: Any) -> Any:
    """One reference for all regimes goes by the empty name."""
    if isinstance(value, Mapping) and {"value", "source", *METRICS} & set(value):
        return {"": value}
    return value


class SpaceSchema(Settings):
    """Where one setting is looked for: between two ends, or among choices."""

    low: float | None = None
    high: float | None = None
    """Ends that belong to the space; of a setting that is a whole number, only whole ones are tried."""
    log: bool = False
    """Even in the logarithm."""
    step: PositiveFloat | None = None
    """Between two neighbours, from `low` on."""
    choices: Annotated[list[Any], Field(max_length=1000)] | None = None
    """One of these; a list alone stands for it."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"choices": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_a_space(self) -> Self:
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise ValueError(
                    "a list of choices has no ends: give either the list or low and high"
                )
            if len(self.choices) < 2 or len(set(map(canonical_json, self.choices))) < len(
                self.choices
            ):
                raise ValueError(
                    f"a search needs at least two choices, each once, found {self.choices}"
                )
        elif self.low is None or self.high is None:
            raise ValueError(
                "a setting is looked for in a list, or between `low` and `high`: {low: 1e-4, high: 1e-2, log: true}"
            )
        elif self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        elif self.log and self.low <= 0:
            raise ValueError(f"log needs a low end above 0, found {self.low:g}")
        elif self.step is not None and self.log:
            raise ValueError("step has no meaning with log: leave one of them out")
        elif self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} leads beyond high {self.high:g}")
        return self


class PruneSchema(Settings):
    """When a combination is stopped early: Optuna's `PercentilePruner`, held against the generations before alone."""

    after: PositiveInt
    """Epochs that each is given; at the end of this one and of each behind it but the last, its best so far is looked at."""
    percentile: Annotated[float, Field(gt=0, lt=100)] = 50
    """The best so many percent of those that finished before say what is good enough: 50 is their median, 75 more patient."""


class SearchSchema(Settings):
    """Settings that a step finds for itself before it is trained with the sweep's seeds."""

    space: Annotated[dict[str, SpaceSchema], Field(min_length=1)]
    """Dotted settings and where each is looked for."""
    trials: Annotated[int, Field(gt=0, le=_MOST_TRIED)] | None = None
    """How many combinations are tried; of a grid all."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1000)] = [
        1000
    ]
    """Of the search alone: what is chosen by a seed flatters it. The mean over them is compared."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """`tpe`: Optuna's, which looks where it was good. `grid`: every combination."""
    at_once: Annotated[PositiveInt, Field(le=_MOST_TRIED)] = 4
    """A generation: combinations that are suggested together, knowing only those of the generations before."""
    prune: PruneSchema | None = None
    """Stop early what is worse than most before it."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.sampler == "grid" and self.trials is not None:
            raise ValueError(
                "a grid tries every combination: leave out 'trials', or take sampler tpe or random"
            )
        if self.sampler != "grid" and self.trials is None:
            raise ValueError("key 'trials' is missing: how many combinations are tried")
        return self


class SideSchema(Settings):
    """An alternative beside a step: measured and reported, but the road does not go on from it."""

    change: Changes = {}
    """On top of the step it stands beside, or of the step that `on` names; may be left out where `regimes` has one."""
    on: Name | None = None
    """The step, or `baseline`, that the change is made to instead: a control. Its effect is taken against that step."""
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
        return _by_regime(value)


class StepSchema(SideSchema):
    """A rung of the roadmap."""

    name: Name
    """Unique within the sweep."""
    change: Changes = {}
    """On top of the step before; may be left out where `regimes` has one."""
    on: None = None
    """Of side steps only: the road is one."""
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


class DesignSchema(Settings):
    """How steps become variants."""

    name: Literal["roadmap", "one_factor", "leave_one_out", "factorial", "orders"]
    """`roadmap`: each step on top of the one before. `one_factor`: each step alone on the baseline. `leave_one_out`: all steps
    but one. `factorial`: all combinations. `orders`: the roadmap in other orders."""
    steps: list[Name] = []
    """Of `factorial`: these alone; by default all steps."""
    fraction: Literal["1", "1/2", "1/4", "1/8"] = "1"
    """Of `factorial`: a balanced part of all combinations."""
    count: Annotated[PositiveInt, Field(le=1000)] = 3
    """Of `orders`: how many others; `{orders: 3}` for short."""
    seed: int = Field(default=0, ge=0)
    """Of `orders`: which ones are drawn."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """`roadmap`, `{orders: 3}` and `{factorial: {fraction: 1/2}}`."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and len(value) == 1 and "name" not in value:
            [(name, options)] = value.items()
            return (
                {"name": name, **options}
                if isinstance(options, Mapping)
                else {"name": name, "count": options}
            )
        return value

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        allowed = {"factorial": {"steps", "fraction"}, "orders": {"count", "seed"}}.get(
            self.name, set()
        )
        if stray := self.model_fields_set - allowed - {"name"}:
            options = ", ".join(sorted(allowed)) or "no options"
            raise ValueError(f"design {self.name} has no option '{min(stray)}'; it takes {options}")
        return self


class AdaptiveSchema(Settings):
    """Seeds that are added only where a step is not decided."""

    start: Annotated[int, Field(ge=2)]
    """Seeds of every variant to begin with."""
    max: Annotated[int, Field(ge=3)]
    """Seeds at which a step that is still not decided is left so."""
    until: Literal["decided"] = "decided"
    """The corrected p-value is below 0.05, every look at the figures paid for."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max <= self.start:
            raise ValueError(
                f"max {self.max} is not more than start {self.start}; for a fixed number of seeds write a list"
            )
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which the figures are looked at: doubled each time, since every look has its price."""
        found = [self.start]
        while found[-1] < self.max:
            found.append(min(2 * found[-1], self.max))
        return tuple(found)


class SweepSchema(Settings):  # type: ignore[no-redef]  # `seeds` has two forms, read by two fields
    """One YAML file and all that it asks for."""

    name: Name
    """Of the sweep's folder in the store and of the MLflow experiment."""
    metric: MetricSchema = MetricSchema()
    """What the report compares."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_TRIALS)]
    """Every variant is trained once with each; `{start: 3, max: 12, until: decided}` fills in the first ones."""
    adaptive: AdaptiveSchema | None = Field(default=None, validation_alias="seeds")
    """The long form of `seeds`."""
    baseline: dict[Literal["model", "data", "train"], dict[str, Any]]
    """The configuration before any step."""
    reference: dict[str, ReferenceSchema] = {}
    """A published figure of the baseline, as of a step."""
    search: SearchSchema | None = None
    """Settings that the baseline finds for itself, in each regime and recipe."""
    steps: Annotated[list[StepSchema], Field(max_length=500)] = []
    """The road, in order."""
    design: Annotated[list[DesignSchema], Field(min_length=1)] = [DesignSchema(name="roadmap")]
    """One design or a list of them; cells that coincide are trained once."""
    regimes: dict[Name, Changes] = {}
    """The same road from other baselines, by name."""
    recipes: dict[Name, Changes] = {}
    """A second axis beside `regimes`: the same road under other recipes."""
    tolerance: float = Field(default=0.02, ge=0)
    """Share of parameters or FLOPs that a step may add or take before the plan warns."""
    resources: ResourcesSchema = ResourcesSchema()
    """Of each trial."""
    max_concurrent: PositiveInt | None = None
    """Trials at the same time, however many would fit."""
    cost: CostSchema | None = None
    """For estimates before any trial is done."""
    runtime: RuntimeConfig = RuntimeConfig()
    """How to run; never part of a trial's identity."""

    @property
    def most_seeds(self) -> int:
        """Of any variant, where seeds are added as needed."""
        return self.adaptive.max if self.adaptive else len(self.seeds)

    @field_validator("reference", mode="before")
    @classmethod
    def _one_for_all_regimes(cls, value: Any) -> Any:
        return _by_regime(value)

    @field_validator("seeds", mode="before")
    @classmethod
    def _first_seeds(cls, value: Any) -> Any:
        start = value.get("start") if isinstance(value, Mapping) else None
        if start is None:
            return (
                [0] if isinstance(value, Mapping) else value
            )  # what is wrong with the mapping is told of `adaptive`
        return list(range(start)) if isinstance(start, int) and 0 < start < 1000 else [0]

    @field_validator("adaptive", mode="before")
    @classmethod
    def _only_the_long_form(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else None

    @field_validator("design", mode="before")
    @classmethod
    def _one_design(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping) else value
