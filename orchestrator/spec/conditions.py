"""Settings of a search that are looked for only where another one of it has a certain choice.
Pure.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from illama.spelling import did_you_mean
from orchestrator.fingerprint import canonical_json
from orchestrator.spec.document import Document, Location
from orchestrator.spec.search_schema import SpaceSchema

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Conditions:
    """The `when` of all settings of one space, once `check_conditions` has nothing against them."""

    spaces: Mapping[str, SpaceSchema]

    @cached_property
    def order(self) -> Sequence[str]:
        """The settings as a point is made: each behind those that it depends on, and else as the
        spec has them.
        """
        placed: dict[str, None] = {}
        waiting = list(self.spaces)
        while waiting:
            ready = next(key for key in waiting if self._whens(key).keys() <= placed.keys())
            placed[ready] = None
            waiting.remove(ready)
        return list(placed)

    @cached_property
    def unconditional(self) -> Sequence[str]:
        """The settings that every point has."""
        return [key for key, space in self.spaces.items() if not space.when]

    def is_asked(self, key: str, point: Point) -> bool:
        """Tell whether a setting is looked for beside those that `point` has already."""
        return all(
            name in point and _is_one_of(point[name], wanted)
            for name, wanted in self._whens(key).items()
        )

    def ground_of(self, key: str) -> Point:
        """Choices of other settings under which a setting is looked for; empty where under all."""
        allowed = _allowed(key, self.spaces)
        return {name: values[0] for name, values in allowed.items()}

    def points(self, values: Mapping[str, Sequence[Any]]) -> Iterator[Point]:
        """Every point of a space whose settings have these values, the last setting fastest."""
        return self._extended({}, self.order, values)

    def count(self, counts: Mapping[str, int]) -> int:
        """The number of points where each setting has so many values."""
        return self._counted({}, self.order, counts)

    def text_of(self, key: str) -> str:
        """The condition in words; empty where there is none."""
        parts = [
            f"{name} is {' or '.join(map(str, wanted))}"
            for name, wanted in self._whens(key).items()
        ]
        return " and ".join(parts)

    def _whens(self, key: str) -> Mapping[str, Sequence[Any]]:
        return {
            name: wanted_of(self.spaces[name], value)
            for name, value in (self.spaces[key].when or {}).items()
        }

    def _extended(
        self, point: Point, keys: Sequence[str], values: Mapping[str, Sequence[Any]]
    ) -> Iterator[Point]:
        if not keys:
            yield point
            return
        first, *rest = keys
        if not self.is_asked(first, point):
            yield from self._extended(point, rest, values)
            return
        for value in values[first]:
            yield from self._extended({**point, first: value}, rest, values)

    def _counted(self, point: Point, keys: Sequence[str], counts: Mapping[str, int]) -> int:
        if not keys:
            return 1
        first, *rest = keys
        if not self.is_asked(first, point):
            return self._counted(point, rest, counts)
        alike = self._alike(first)
        if len(alike) < 2:
            return counts[first] * self._counted(point, rest, counts)
        return sum(
            number * self._counted({**point, first: value}, rest, counts) for value, number in alike
        )

    def _alike(self, key: str) -> list[tuple[Any, int]]:
        """A choice of each kind, and how many others ask for the same settings behind it."""
        followers = [other for other, space in self.spaces.items() if key in (space.when or {})]
        kinds: Counter[tuple[bool, ...]] = Counter()
        first: dict[tuple[bool, ...], Any] = {}
        for value in self.spaces[key].choices or []:
            kind = tuple(_is_one_of(value, self._whens(other)[key]) for other in followers)
            kinds[kind] += 1
            first.setdefault(kind, value)
        return [(first[kind], number) for kind, number in kinds.items()]


def wanted_of(space: SpaceSchema, value: Any) -> Sequence[Any]:
    """Choices that a `when` names: one alone, or a list of several."""
    if isinstance(value, list) and not _is_one_of(value, space.choices or []):
        return value
    return [value]


def check_conditions(
    spaces: Mapping[str, SpaceSchema], document: Document, place: Location
) -> bool:
    """Tell whether every `when` names choices of other settings of the same space, and one
    combination at least has them all; `place` is where the space stands.
    """
    before = len(document.problems)
    for key, space in spaces.items():
        for name, value in (space.when or {}).items():
            here = (*place, key, "when", name)
            problem = _problem_with(key, name, value, spaces)
            if problem:
                document.add_problem(here, problem, at_key=name not in spaces)
    if len(document.problems) == before:
        for key, space in spaces.items():
            if space.when and (problem := _never(key, spaces)):
                document.add_problem((*place, key, "when"), problem, at_key=True)
    return len(document.problems) == before


def _problem_with(key: str, name: str, value: Any, spaces: Mapping[str, SpaceSchema]) -> str:
    """The fault of one condition; empty where there is none."""
    if name == key:
        return f"{key} cannot depend on itself: name another setting of the search"
    if name not in spaces:
        others = [other for other in spaces if other != key]
        there_are = f"; it searches {', '.join(others)}" if others else ""
        return (
            f"this search has no setting '{name}', so nothing can depend on it{there_are}"
            f"{did_you_mean(name, others)}"
        )
    choices = spaces[name].choices
    if choices is None:
        return f"{name} has no list of choices, so no other setting can depend on its choice"
    wanted = wanted_of(spaces[name], value)
    wrong = [one for one in wanted if not _is_one_of(one, choices)]
    if wrong or not wanted:
        found = ", ".join(map(str, wrong)) or "an empty list"
        near = did_you_mean(found, [str(choice) for choice in choices])
        return (
            f"found {found}, which is not a choice of {name}: {', '.join(map(str, choices))}{near}"
        )
    return ""


def _never(key: str, spaces: Mapping[str, SpaceSchema]) -> str:
    """The reason why no combination has a setting; empty where some have it."""
    try:
        allowed = _allowed(key, spaces)
    except RecursionError:
        return f"{key} depends on a setting that depends on {key}: remove one `when`"
    excluded = [name for name, values in allowed.items() if not values]
    if excluded:
        return f"no combination has {key}: its conditions require different values of {excluded[0]}"
    return ""


def _allowed(key: str, spaces: Mapping[str, SpaceSchema], depth: int = 0) -> dict[str, list[Any]]:
    """The choices of each setting under which `key` is looked for, through all that it depends on.

    Raises `RecursionError` where settings depend on each other in a circle.
    """
    if depth > len(spaces):
        raise RecursionError
    found: dict[str, list[Any]] = {}
    for name, value in (spaces[key].when or {}).items():
        ways = _allowed(name, spaces, depth + 1) | {name: list(wanted_of(spaces[name], value))}
        for other, values in ways.items():
            both = found.get(other, values)
            found[other] = [one for one in both if _is_one_of(one, values)]
    return found


def _is_one_of(value: Any, values: Sequence[Any]) -> bool:
    """Tell whether a value is among others as a spec means it: `true` is not 1."""
    return canonical_json(value) in map(canonical_json, values)
