"""Keys of a sweep, their types and their meaning. `sweeps/README.md` shows each by example."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from illama.config import RuntimeConfig, Settings
from illama.config.settings import one_of
from illama.measures import Request, read_request
from orchestrator.metrics import METRICS, Mode
from orchestrator.spec.designs import DESIGNS, Design, read_design
from orchestrator.spec.ending_command import checked_command
from orchestrator.spec.limits import MOST_TRIALS
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.spec.step_schema import (
    Changes,
    Name,
    ReferenceSchema,
    ResourcesSchema,
    StepSchema,
    by_regime,
)
from orchestrator.stats.registry import TESTS


class MetricSchema(Settings):
    """The number that the report compares."""

    name: str = "val/acc1"
    """The metric's name, as MLflow shows it."""
    mode: Mode = "max"
    """The direction that is better; known of the metrics that our trainings record."""
    epoch: Literal["last", "best"] = "last"
    """`last`: read when training ends. `best`: at the epoch, or logged iteration, at which this
    metric was best, as many papers do; biased upwards, so the plan warns."""
    also: list[str] = []
    """Further metrics that the report shows beside it: described, never tested."""
    test: Annotated[str, one_of(TESTS)] = "paired"
    """Test of a difference, declared before looking. `paired`: the t-test of differences by seed.
    `welch`: the t-test of independent samples, for seeds that two steps share in name alone.
    `sign_flip`: the exact test of differences by seed, which assumes no distribution."""
    matters: PositiveFloat | None = None
    """Smallest difference of interest, in the metric's unit: smaller ones are equivalent."""

    @model_validator(mode="before")
    @classmethod
    def _known_mode(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        known = METRICS.get(str(value.get("name")))
        if known is None:
            return value
        return {"mode": known.mode, **value}

    @model_validator(mode="after")
    def _direction(self) -> Self:
        if self.name in METRICS and METRICS[self.name].mode != self.mode:
            raise ValueError(f"mode {self.mode} would call a worse {self.name} an improvement")
        return self


class CostSchema(Settings):
    """Facts about the hardware, for estimates before any trial is done."""

    images_per_epoch: PositiveInt
    """Training images."""
    flops_per_second: PositiveFloat
    """Operations that all devices of one trial reach together in training, not their peak."""
    price_per_gpu_hour: PositiveFloat | None = None
    """The price in whatever currency."""


class BudgetSchema(Settings):
    """Budget of a sweep; no trial is started once it is spent."""

    hours: PositiveFloat | None = None
    """Hours of training, of all trials together."""
    gpu_hours: PositiveFloat | None = None
    """The same, times the GPUs of each trial."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.hours is None and self.gpu_hours is None:
            raise ValueError("a budget has hours, gpu_hours or both, such as {gpu_hours: 100}")
        return self


def _known_design(name: str) -> str:
    if name not in DESIGNS:
        raise ValueError(f"there is no design '{name}'; allowed: {', '.join(DESIGNS)}")
    return name


AnyDesign = Annotated[Design, BeforeValidator(read_design)]
"""One of `DESIGNS`, with its options."""


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
                f"max {self.max} must be larger than start {self.start}; for a fixed number of "
                "seeds write a list"
            )
        return self

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which the figures are looked at: doubled each time, since every
        look has its price.
        """
        found = [self.start]
        while found[-1] < self.max:
            found.append(min(2 * found[-1], self.max))
        return tuple(found)


class SweepSchema(Settings):  # type: ignore[no-redef]  # `seeds` has two forms, read by two fields
    """One YAML file and all that it asks for."""

    name: Name
    """The name of the sweep's folder in the store and of the MLflow experiment."""
    description: str = ""
    """Purpose of the sweep, in the author's words."""
    tags: dict[str, str | int | float | bool] = {}
    """Words to find it by, in the report's JSON and in MLflow."""
    metric: MetricSchema = MetricSchema()
    """Metric that the report compares."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST_TRIALS)]
    """Every variant is trained once with each; `{start: 3, max: 12, until: decided}` fills in the
    first ones.
    """
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
    design: Annotated[list[AnyDesign], Field(min_length=1)] = [read_design("roadmap")]
    """One design or a list of them; cells that coincide are trained once."""
    measure: Annotated[list[Annotated[Request, BeforeValidator(read_request)]], Field()] = []
    """Measures of each finished network beside its accuracy, such as `calibration`, or a function
    of the user's; described in the report, never tested."""
    family: (
        Annotated[list[Annotated[str, AfterValidator(_known_design)]], Field(min_length=1)] | None
    ) = None
    """Designs whose comparisons are tested and corrected together; `all`, the default, are those
    of every table. What other designs show is then described."""
    regimes: dict[Name, Changes] = {}
    """The same road from other baselines, by name."""
    recipes: dict[Name, Changes] = {}
    """A second axis beside `regimes`: the same road under other recipes."""
    tolerance: float = Field(default=0.02, ge=0)
    """Share of parameters or FLOPs that a step may add or take before the plan warns."""
    resources: ResourcesSchema = ResourcesSchema()
    """Resources that each trial takes."""
    max_concurrent: PositiveInt | None = None
    """Trials at the same time, however many would fit."""
    keep: Literal["all", "end", "none"] = "all"
    """Checkpoints of trainings that have ended: all, those of the last step of the road, or none.
    """
    budget: BudgetSchema | None = None
    """Hours after which no further trial is started."""
    on_finish: Annotated[str, AfterValidator(checked_command)] | None = None
    """Command that is called when a run that trained something has ended by itself."""
    cost: CostSchema | None = None
    """Facts about the hardware, for estimates before any trial is done."""
    runtime: RuntimeConfig = RuntimeConfig()
    """Settings of the run; never part of a trial's identity."""

    @property
    def most_seeds(self) -> int:
        """The most seeds that any variant may have, where seeds are added as needed."""
        return len(self.possible_seeds)

    @property
    def possible_seeds(self) -> Sequence[int]:
        """Seeds that variants may have, where seeds are added as needed; else those of all."""
        if self.adaptive is None:
            return self.seeds
        return range(self.adaptive.max)

    @property
    def looks(self) -> Sequence[int]:
        """Numbers of seeds at which results are looked at; empty where all have the same seeds."""
        if self.adaptive is None:
            return ()
        return self.adaptive.looks

    @field_validator("reference", mode="before")
    @classmethod
    def _one_for_all_regimes(cls, value: Any) -> Any:
        return by_regime(value)

    @field_validator("seeds", mode="before")
    @classmethod
    def _first_seeds(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        start = value.get("start")
        if isinstance(start, int) and 0 < start < 1000:
            return list(range(start))
        return [0]  # what is wrong with the mapping is told of `adaptive`

    @field_validator("adaptive", mode="before")
    @classmethod
    def _only_the_long_form(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return value
        return None

    @field_validator("family", mode="before")
    @classmethod
    def _all_or_some(cls, value: Any) -> Any:
        if value == "all":
            return None
        return _listed(value, str)

    @field_validator("design", mode="before")
    @classmethod
    def _one_design(cls, value: Any) -> Any:
        return _listed(value, (str, Mapping))


def _listed(value: Any, one: type | tuple[type, ...]) -> Any:
    """A value in the long form: a list of one where it stands alone."""
    if isinstance(value, one):
        return [value]
    return value
