"""Space that a search inside a step looks through, checked against the settings themselves, and
what came of it. Pure.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from illama.config import resolve
from orchestrator.fingerprint import canonical_json
from orchestrator.pruning import Curve
from orchestrator.spec.changes import GroupSettings, is_set, laid_over, left_out, tried
from orchestrator.spec.conditions import Conditions
from orchestrator.spec.goals import on_the_front
from orchestrator.spec.search_schema import SearchSchema, SpaceSchema
from orchestrator.trial import Outcome, TrialSpec, Variant

SEARCH = "search"
"""The design that the trials of a search belong to."""
_FINEST = 1000
"""Numbers are rounded to about this part of what they range over: what is reported is what was
trained, and can be read.
"""

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
    """The mean of each metric that the search goes by; empty where `mean` is None."""
    failed: Sequence[str] = ()
    """Trials that failed: nothing goes on without them."""
    seconds: float = 0.0
    """Seconds of training, over the seeds that are done."""
    curves: Mapping[int, Curve] = field(default_factory=dict)
    """The metric by epoch, for each seed; only where the search prunes."""
    pruned_at: int | None = None
    """Epoch at which the first of its seeds was stopped early; only where all of them were."""


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
        return f": search {self.repeat + 1}" if self.repeat else ": search"

    @property
    def title(self) -> str:
        """The label, and which search of several it is."""
        which = f", search {self.repeat + 1}" if self.schema.repeats > 1 else ""
        return f"{self.label}{which}"

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
        goals = self.schema.metric or []
        known = [point for point in self.tried if point.means] if goals else []
        gains = [[goal.gain(point.means[goal.name]) for goal in goals] for point in known]
        return [known[index] for index in on_the_front(gains)]

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return sum(point.seconds for point in self.tried)

    @property
    def goal(self) -> int:
        """Number of points that are tried in all."""
        size = self.size
        return min(size, self.schema.trials or size) if size else self.schema.trials or 0

    @property
    def size(self) -> int | None:
        """Points of the space; none where they cannot be counted."""
        counts = {
            key: _count(space, is_whole=key in self.whole)
            for key, space in self.schema.space.items()
        }
        known = {key: count for key, count in counts.items() if count}
        return self.conditions.count(known) if len(known) == len(counts) else None

    @cached_property
    def conditions(self) -> Conditions:
        """The choices that settings depend on."""
        return Conditions(self.schema.space)

    @cached_property
    def whole(self) -> frozenset[str]:
        """The settings that are whole numbers: whether 2 is one or 2.0, the setting itself says."""
        ranges = {
            key: whole_ends(space)[0]
            for key, space in self.schema.space.items()
            if space.choices is None
        }
        configs = {
            key: tried(self.settings, [{**self.conditions.ground_of(key), key: low}])
            for key, low in ranges.items()
        }
        return frozenset(
            key
            for key, it in configs.items()
            if not isinstance(it, str) and isinstance(it.setting(key), int)
        )

    @property
    def as_it_is(self) -> Values | None:
        """The settings without any search, where the space has them."""
        values: dict[str, Any] = {}
        for key in self.conditions.order:
            if self.conditions.is_asked(key, values):
                values[key] = self.variant.config.setting(key)
        is_inside = all(_contains(self.schema.space[key], value) for key, value in values.items())
        return values if is_inside else None

    def is_needed_by(self, variant: Variant) -> bool:
        """Tell whether the variant has what is found here among its settings; cells of other
        designs wait for the whole road.
        """
        own = self.variant
        builds_on = (
            variant.design != own.design
            or variant.cell.steps[: len(own.cell.steps)] == own.cell.steps
        )
        return variant.regime == own.regime and (
            variant.name == own.name or (not own.side and builds_on)
        )

    @property
    def not_beyond(self) -> list[str]:
        """`larger train.lr`, where none was tried than the one that was chosen: better ones may lie
        beyond.
        """
        found = []
        for key in (
            key for key, space in self.schema.space.items() if self.chosen and space.choices is None
        ):
            values = [point.values[key] for point in self.tried if key in point.values]
            chosen = self.chosen.values.get(key) if self.chosen else None
            ends = {min(values): "smaller", max(values): "larger"} if len(set(values)) > 2 else {}
            found += [f"{ends[chosen]} {key}"] if chosen in ends else []
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
            "chosen": dict(self.chosen.values) if self.chosen else None,
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

    def listed(self, key: str) -> list[Any] | None:
        """Every value of a setting; none where they cannot be counted."""
        space, is_whole = self.schema.space[key], key in self.whole
        return _listed(space, is_whole=is_whole) if _count(space, is_whole=is_whole) else None

    def points(self) -> Iterator[Values]:
        """All of a space that can be counted, the last setting fastest; none of another."""
        return self.conditions.points({key: self.listed(key) or [] for key in self.schema.space})

    def ends(self, key: str) -> tuple[float, float]:
        """The smallest and the largest number that is tried; `step` may not reach the spec's own
        end.
        """
        space = self.schema.space[key]
        low, high = _ends(space)
        return low, _plain(low + _steps(space) * space.step) if space.step else high

    def rounded(self, key: str, value: float) -> int | float:
        """A number as it is trained and shown."""
        space = self.schema.space[key]
        low, high = _ends(space)
        if key in self.whole:
            return round(value)
        if space.step is not None:
            return _plain(value)
        size = min(value, high - low) if space.log else high - low
        return min(max(round(value, -math.floor(math.log10(size / _FINEST))), low), high)

    def variant_name(self, number: int) -> str:
        """Name of point `number`: `swiglu@3`, and `swiglu@2.3` of the first repetition; `@` stands
        in no name of a spec.
        """
        repeat = f"{self.repeat + 1}." if self.repeat else ""
        return f"{self.variant.name}@{repeat}{number}"

    def settled(self, values: Values) -> Values:
        """The values of a point, and what it does not look for back at its default, where settings
        have it otherwise: the momentum that the step before found, beside AdamW.
        """
        left = [
            key
            for key, space in self.schema.space.items()
            if space.when and key not in values and is_set(self.settings, key)
        ]
        config = tried(left_out(self.settings, left), [values]) if left else ""
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
        return outcome is Outcome.FINISHED or (
            outcome is Outcome.COLLAPSED and self.variant.expects_collapse
        )


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
    pruned = {} if point.pruned_at is None else {"pruned_at": point.pruned_at}
    means = {"means": dict(point.means)} if len(point.means) > 1 else {}
    return {
        "values": dict(point.values),
        "mean": point.mean,
        "outcome": point.outcome,
        **means,
        **pruned,
    }


def point_key(values: Values) -> str:
    """Equal for equal points."""
    return canonical_json(dict(values))


def _ends(space: SpaceSchema) -> tuple[float, float]:
    assert space.low is not None
    assert space.high is not None
    return space.low, space.high


def whole_ends(space: SpaceSchema) -> list[int | float]:
    """The ends, and as whole numbers where they are: `2.0` is not a number of layers."""
    return [int(end) if end.is_integer() else end for end in _ends(space)]


def _listed(space: SpaceSchema, *, is_whole: bool) -> list[Any]:
    if space.choices is not None:
        return list(space.choices)
    low, _ = _ends(space)
    step = space.step or 1
    values = [low + index * step for index in range(_count(space, is_whole=is_whole) or 0)]
    return [round(value) if is_whole else _plain(value) for value in values]


def _plain(value: float) -> float:
    """0.3 for 0.1 + 2 * 0.1."""
    return float(f"{value:.10g}")


def _count(space: SpaceSchema, *, is_whole: bool) -> int | None:
    if space.choices is not None:
        return len(space.choices)
    return _steps(space) + 1 if space.step is not None or is_whole else None


def _steps(space: SpaceSchema) -> int:
    """The steps of a range, from one end to the other."""
    low, high = _ends(space)
    return math.floor((high - low) / (space.step or 1) + 1e-9)


def _contains(space: SpaceSchema, value: Any) -> bool:
    if space.choices is not None:
        return canonical_json(value) in map(canonical_json, space.choices)
    low, high = _ends(space)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        return False
    steps = (value - low) / space.step if space.step else 0.0
    return math.isclose(steps, round(steps), abs_tol=1e-9)
