"""Space that a search inside a step looks through, checked against the settings themselves, and
what came of it. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from illama.config import resolve
from orchestrator.fingerprint import canonical_json
from orchestrator.outcomes import Outcome
from orchestrator.pruning import Curve
from orchestrator.spec.changes import GroupSettings, is_set, laid_over, left_out, tried
from orchestrator.spec.conditions import Conditions
from orchestrator.spec.domains import Choices, Domain, domain_of, extremes_of
from orchestrator.spec.goals import Goal, on_the_front
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.trial import TrialSpec, Variant

SEARCH = "search"
"""The design that the trials of a search belong to."""

Values = Mapping[str, Any]
"""One point of a space: a value for each setting."""


@dataclass(frozen=True)
class Tried:
    """One point of a search, and what it came to."""

    values: Values
    variant: Variant
    trials: Sequence[TrialSpec]
    """The trials of the point, one for each of the search's seeds."""
    outcome: str
    """`finished` where all seeds did; else how one of them ended, or its state where not all have
    ended.
    """
    has_ended: bool = False
    mean: float | None = None
    """The mean of the metric over the search's seeds; only where all of them finished."""
    means: Mapping[str, float] = field(default_factory=dict)
    """The mean of each metric that the search optimizes; empty where `mean` is None."""
    failed: Sequence[str] = ()
    """Trials that failed: nothing goes on without them."""
    seconds: float = 0.0
    """Seconds of training, over the seeds that are done."""
    curves: Mapping[int, Curve] = field(default_factory=dict)
    """The metric by epoch, for each seed; only where the search prunes."""
    pruned_at: int | None = None
    """Epoch at which the first of its seeds was stopped early; only where all of them were."""

    def gains(self, goals: Sequence[Goal]) -> list[float]:
        """Return what it reached in each metric; larger is better. Only where `means` are known."""
        return [goal.gain(self.means[goal.name]) for goal in goals]


@dataclass(frozen=True)
class Search:
    """Settings that one variant finds for itself."""

    variant: Variant
    """The variant without what is searched. Where it is not known itself, the search waits for
    another one.
    """
    settings: GroupSettings
    """The settings of `variant`, as the spec writes them."""
    schema: SearchSchema
    line: int
    data_dir: Path | None = None
    """Folder of users' data, which is read to see what it is."""
    repeat: int = 0
    """The number of this repeat where the search is repeated; `schema.seeds` are this one's."""
    tried: Sequence[Tried] = ()
    """The points that are known so far, in order."""
    chosen: Tried | None = None
    """The best, once all are done."""

    @property
    def label(self) -> str:
        """The variant's."""
        return self.variant.label

    @property
    def name(self) -> str:
        """`swiglu: search`, and `swiglu: search 2` of its first repetition."""
        return f"{self.variant.name}{self.suffix}"

    @property
    def suffix(self) -> str:
        """The end of its name, which says which of several searches of a step it is."""
        if not self.repeat:
            return ": search"
        return f": search {self.repeat + 1}"

    @property
    def title(self) -> str:
        """The label, and which search of several it is."""
        if self.schema.repeats == 1:
            return self.label
        return f"{self.label}, search {self.repeat + 1}"

    @property
    def key(self) -> tuple[str, int]:
        """Key that no other search of the sweep has: the label and the repeat."""
        return self.label, self.repeat

    @property
    def trials(self) -> list[TrialSpec]:
        """The trials that are known so far."""
        return [trial for point in self.tried for trial in point.trials]

    @property
    def held_up_by(self) -> list[str]:
        """Trials that failed: the search waits until they are done."""
        return [name for point in self.tried for name in point.failed]

    @property
    def pruned(self) -> int:
        """Number of combinations that were stopped early."""
        return sum(point.pruned_at is not None for point in self.tried)

    @property
    def front(self) -> list[Tried]:
        """The Pareto set: combinations that no other beats in all metrics of the search; none where
        it goes by one.
        """
        goals = self.schema.metric
        if not goals:
            return []
        known = [point for point in self.tried if point.means]
        return [known[index] for index in on_the_front([point.gains(goals) for point in known])]

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return sum(point.seconds for point in self.tried)

    @property
    def goal(self) -> int:
        """Number of points that are tried in all."""
        limits = [limit for limit in (self.size, self.schema.trials) if limit]
        return min(limits, default=0)

    @property
    def size(self) -> int | None:
        """Points of the space; none where they cannot be counted."""
        counts = {key: domain.count for key, domain in self.domains.items()}
        known = {key: count for key, count in counts.items() if count}
        if len(known) < len(counts):
            return None
        return self.conditions.count(known)

    @cached_property
    def domains(self) -> Mapping[str, Domain]:
        """The values that each setting is searched among."""
        return {
            key: domain_of(space, is_whole=key in self.whole)
            for key, space in self.schema.space.items()
        }

    @cached_property
    def conditions(self) -> Conditions:
        """The choices that settings depend on."""
        return Conditions(self.schema.space)

    @cached_property
    def whole(self) -> frozenset[str]:
        """The settings that are whole numbers: whether 2 is one or 2.0, the setting itself says."""
        ranges = {key for key, space in self.schema.space.items() if space.choices is None}
        return frozenset(key for key in ranges if self._takes_whole_numbers(key))

    def _takes_whole_numbers(self, key: str) -> bool:
        """Tell whether the setting is a whole number where it is given the low end of its range."""
        low, _ = extremes_of(self.schema.space[key])
        config = tried(self.settings, [{**self.conditions.ground_of(key), key: low}])
        return not isinstance(config, str) and isinstance(config.setting(key), int)

    @property
    def as_it_is(self) -> Values | None:
        """The settings without any search, where the space has them."""
        values: dict[str, Any] = {}
        for key in self.conditions.order:
            if self.conditions.is_asked(key, values):
                values[key] = self.variant.config.setting(key)
        if all(self.domains[key].has(value) for key, value in values.items()):
            return values
        return None

    def is_needed_by(self, variant: Variant) -> bool:
        """Tell whether the variant has what is found here among its settings; cells of other
        designs wait for the whole road.
        """
        own = self.variant
        if variant.regime != own.regime:
            return False
        if variant.name == own.name:
            return True
        before = variant.cell.steps[: len(own.cell.steps)]
        return not own.side and (variant.design != own.design or before == own.cell.steps)

    @property
    def not_beyond(self) -> list[str]:
        """`larger train.lr`, where none was tried than the one that was chosen: better ones may lie
        beyond.
        """
        if self.chosen is None:
            return []
        found = []
        for key, domain in self.domains.items():
            values = [point.values[key] for point in self.tried if key in point.values]
            if isinstance(domain, Choices) or len(set(values)) < 3:
                continue
            ends = {min(values): "smaller", max(values): "larger"}
            end = ends.get(self.chosen.values.get(key))
            if end:
                found.append(f"{end} {key}")
        return found

    def to_json(self) -> dict[str, Any]:
        """The form in `plan --json` and in `report --format json`."""
        return {
            "variant": self.variant.name,
            "regime": self.variant.regime,
            "space": {
                key: space.model_dump(exclude_unset=True)
                for key, space in self.schema.space.items()
            },
            **self._goals_to_json(),
            "sampler": self.schema.sampler,
            "seeds": self.schema.seeds,
            "repeat": self.repeat,
            "repeats": self.schema.repeats,
            "goal": self.goal,
            "trials": [_tried_to_json(point) for point in self.tried],
            "prune": self.schema.prune and self.schema.prune.model_dump(),
            "chosen": self.chosen and dict(self.chosen.values),
            "held_up_by": self.held_up_by,
            "train_seconds": self.seconds,
        }

    def _goals_to_json(self) -> dict[str, Any]:
        """Return what a search by several metrics has besides; empty for any other."""
        if not self.schema.metric:
            return {}
        pareto = [
            {"trial": self.tried.index(point) + 1, **_tried_to_json(point)} for point in self.front
        ]
        goals = [goal.model_dump() for goal in self.schema.metric]
        return {"metrics": goals, "within": self.schema.within, "pareto": pareto}

    def points(self) -> Iterator[Values]:
        """All of a space that can be counted, the last setting fastest; none of another."""
        return self.conditions.points({key: one.listed for key, one in self.domains.items()})

    def variant_name(self, number: int) -> str:
        """Name of point `number`: `swiglu@3`, and `swiglu@2.3` of the first repetition; `@` stands
        in no name of a spec.
        """
        if not self.repeat:
            return f"{self.variant.name}@{number}"
        return f"{self.variant.name}@{self.repeat + 1}.{number}"

    def settled(self, values: Values) -> Values:
        """The values of a point, and what it does not look for back at its default, where settings
        have it otherwise: the momentum that the step before found, beside AdamW.
        """
        left = [
            key
            for key, space in self.schema.space.items()
            if space.when and key not in values and is_set(self.settings, key)
        ]
        if not left:
            return values
        config = tried(left_out(self.settings, left), [values])
        if isinstance(config, str):  # what is wrong is told where the values are checked
            return values
        return {**values, **{key: config.setting(key) for key in left}}

    def variant_of(self, number: int, values: Values) -> Variant:
        """The variant that point `number` is trained as."""
        values = self.settled(values)
        return Variant(
            name=self.variant_name(number),
            step=self.variant.step,
            regime=self.variant.regime,
            side=self.variant.side,
            follows=self.variant.name,
            changes={**self.variant.changes, **values},
            config=resolve(laid_over(self.settings, values), self.data_dir),
            resources=self.variant.resources,
            expects_collapse=self.variant.expects_collapse,
            line=self.line,
            design=SEARCH,
            is_known=self.variant.is_known,
        )

    def is_healthy(self, outcome: Outcome | None) -> bool:
        """Tell whether a trial's metric counts as what its settings are worth."""
        if outcome is Outcome.COLLAPSED:
            return self.variant.expects_collapse
        return outcome is Outcome.FINISHED


def searches_to_json(searches: Sequence[Search]) -> dict[str, Any]:
    """The first search of each variant by its label, with the others in `repeated`."""
    result: dict[str, Any] = {}
    for search in searches:
        if search.repeat == 0:
            result[search.label] = {**search.to_json(), "repeated": []}
        else:
            result[search.label]["repeated"].append(search.to_json())
    return result


def _tried_to_json(point: Tried) -> dict[str, Any]:
    value: dict[str, Any] = {
        "values": dict(point.values),
        "mean": point.mean,
        "outcome": point.outcome,
    }
    if len(point.means) > 1:
        value["means"] = dict(point.means)
    if point.pruned_at is not None:
        value["pruned_at"] = point.pruned_at
    return value


def point_key(values: Values) -> str:
    """Equal for equal points."""
    return canonical_json(dict(values))
