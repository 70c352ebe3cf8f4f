"""Keys of a `search`: the settings that a step finds for itself before it is trained."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from illama.config import Settings
from orchestrator.fingerprint import canonical_json
from orchestrator.spec.goals import Goal
from orchestrator.spec.limits import MOST_TRIED
from orchestrator.spec.samplers import SAMPLERS, check_sampler


class SpaceSchema(Settings):
    """The range in which one setting is looked for: between two ends, or among choices."""

    low: float | None = None
    high: float | None = None
    """Ends that belong to the space; of a setting that is a whole number, only whole ones are
    tried.
    """
    log: bool = False
    """Even in the logarithm."""
    step: PositiveFloat | None = None
    """Distance between two neighbours, from `low` on."""
    choices: Annotated[list[Any], Field(max_length=1000)] | None = None
    """The choices, one of which is taken; a list alone stands for them."""
    when: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    """Choices of other settings, one or a list of them, beside which alone this one is looked for;
    beside others it has its default.
    """

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"choices": value}
        return value

    @model_validator(mode="after")
    def _is_a_space(self) -> Self:
        if self.choices is not None:
            self._check_choices(self.choices)
        elif self.low is None or self.high is None:
            raise ValueError(
                "a setting is searched in a list, or between `low` and `high`: "
                "{low: 1e-4, high: 1e-2, log: true}"
            )
        else:
            self._check_range(self.low, self.high)
        return self

    def _check_choices(self, choices: list[Any]) -> None:
        if self.model_fields_set - {"when"} != {"choices"}:
            raise ValueError("give either a list of choices or low and high, not both")
        different = set(map(canonical_json, choices))
        if len(choices) < 2 or len(different) < len(choices):
            raise ValueError(f"a search needs two or more choices, all different, found {choices}")

    def _check_range(self, low: float, high: float) -> None:
        if low >= high:
            raise ValueError(f"low {low:g} is not below high {high:g}")
        if self.log and low <= 0:
            raise ValueError(f"with log, low must be above 0, found {low:g}")
        if self.step is not None and self.log:
            raise ValueError("step has no meaning with log: leave one of them out")
        if self.step is not None and self.step > high - low:
            raise ValueError(f"step {self.step:g} leads beyond high {high:g}")


class PruneSchema(Settings):
    """The rule that stops a combination early: Optuna's `PercentilePruner`, held against the
    generations before alone.
    """

    after: PositiveInt
    """Epochs that each is given; at the end of this one and of each behind it but the last, its
    best so far is looked at.
    """
    percentile: Annotated[float, Field(gt=0, lt=100)] = 50
    """The best so many percent of those that finished before say what is good enough: 50 is their
    median, 75 more patient.
    """


class SearchSchema(Settings):
    """Settings that a step finds for itself before it is trained with the sweep's seeds."""

    space: Annotated[dict[str, SpaceSchema], Field(min_length=1)]
    """Dotted settings and where each is looked for."""
    trials: Annotated[int, Field(gt=0, le=MOST_TRIED)] | None = None
    """Number of combinations that are tried; of a grid all."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1000)] = [
        1000,
        1001,
        1002,
    ]
    """Seeds of the search alone: what is chosen by a seed flatters it. The mean over them is
    compared.
    """
    repeats: PositiveInt = 1
    """Number of times that the whole search is done, each with seeds and suggestions of its own, to
    replicate its luck.
    """
    sampler: Annotated[str, AfterValidator(check_sampler)] = "tpe"
    """Name in `SAMPLERS`. `tpe`: Optuna's, which looks where it was good. `grid`: every
    combination.
    """
    at_once: Annotated[PositiveInt, Field(le=MOST_TRIED)] = 4
    """A generation: combinations that are suggested together, knowing only those of the generations
    before.
    """
    prune: PruneSchema | None = None
    """Stop early what is worse than most before it."""
    metric: Annotated[list[Goal], Field(min_length=2, max_length=4)] | None = None
    """The sweep's metric and further ones, for a search of what none beats in all of them; by
    default the sweep's alone. The best by the first one goes on.
    """
    within: PositiveFloat | None = None
    """Greatest loss by the first metric, in its unit, of combinations that may be chosen: of those
    the best by the second is taken.
    """

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        tries_all = SAMPLERS[self.sampler].tries_all
        if tries_all and self.trials is not None:
            raise ValueError(
                f"a {self.sampler} tries every combination: leave out 'trials', or use another "
                "sampler, such as tpe"
            )
        if not tries_all and self.trials is None:
            raise ValueError("key 'trials' is missing: the number of combinations to try")
        return self

    @model_validator(mode="after")
    def _has_several_metrics(self) -> Self:
        if self.metric is None and self.within is not None:
            raise ValueError(
                "'within' limits how much worse the first of several metrics may be: add "
                "metric: [val/acc1, params], or leave out 'within'"
            )
        if self.metric is not None and self.prune is not None:
            raise ValueError(
                "'prune' would stop by one metric what may be good by another: leave out 'prune' "
                "or 'metric'"
            )
        names = [goal.name for goal in self.metric or []]
        if len(set(names)) < len(names):
            raise ValueError(f"each metric may be listed once, found {', '.join(names)}")
        return self

    def identifying(self) -> dict[str, Any]:
        """The keys that its suggestions depend on.

        More trials of the same search go on from those that are there, and so do more repeats,
        which differ in their seeds. Keys that version 0.1 did not have are left out where they are
        not given.
        """
        left_out = {"trials", "repeats", "within"}
        left_out |= {key for key in ("prune", "metric") if getattr(self, key) is None}
        asked = self.model_dump(mode="json", exclude=left_out)
        for space in asked["space"].values():
            if space["when"] is None:
                del space["when"]
        return asked

    def seeds_of(self, repeat: int) -> list[int]:
        """Seeds of one repeat, from 0: each takes those behind the one before, so that none is used
        twice.
        """
        width = max(self.seeds) - min(self.seeds) + 1
        return [seed + repeat * width for seed in self.seeds]
