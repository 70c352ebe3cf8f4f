"""The way from the text of a spec to a checked `SweepSpec`; every error names its line and column,
and all come at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from illama.config import kind_of
from illama.config.imports import import_from, sources
from illama.measures import MEASURES
from orchestrator.errors import Problem, did_you_mean_one_of
from orchestrator.metrics import AVERAGED, FOR_REPORT, METRICS, PEAK_MEMORY, reported_name
from orchestrator.spec.designs import SkippedCell
from orchestrator.spec.document import Document, Location, read_document
from orchestrator.spec.limits import MOST_TRIALS
from orchestrator.spec.measure_checks import check_measures
from orchestrator.spec.messages import add_validation_problems
from orchestrator.spec.repeats import merged, with_origins
from orchestrator.spec.schema import MetricSchema, SweepSchema
from orchestrator.spec.search_space import Search, Values
from orchestrator.spec.step_schema import ReferenceSchema
from orchestrator.spec.variants import Variants, variants_of
from orchestrator.trial import Variant

_MOST_VARIANTS = 2_000
"""Variants that a road may have in all regimes and recipes: each is resolved and compared with
others.
"""


@dataclass(frozen=True)
class SweepSpec:
    """A checked spec."""

    path: Path
    content: bytes
    """The file, byte for byte; with what it extends and overrides written into it where there is
    any.
    """
    schema: SweepSchema
    variants: tuple[Variant, ...]
    """All variants in the order of the road, the baseline first, and behind it the cells of other
    designs; for each regime. Without those that wait for a search.
    """
    skipped: tuple[SkippedCell, ...] = ()
    """Cells of the designs that make no sense, and why."""
    code: Mapping[str, bytes] = field(default_factory=dict)
    """The modules beside the spec that its models and data are made by, by their paths from there.
    """
    road: tuple[Variant, ...] = ()
    """All variants in their order: also those that wait for a search, without what it will find."""
    searches: tuple[Search, ...] = ()
    """The searches in the order of the road; `orchestrator.planning.search` says what is known of
    them.
    """
    document: Document | None = field(default=None, repr=False, compare=False)
    """Document that it was read from."""
    overrides: tuple[str, ...] = ()
    """Settings of the command line that were laid over the file."""

    @property
    def name(self) -> str:
        """The sweep's."""
        return self.schema.name

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Every setting that any step changes or any search tries values of."""
        changed = dict.fromkeys(key for variant in self.road for key in variant.changes)
        return tuple(
            changed | dict.fromkeys(key for search in self.searches for key in search.schema.space)
        )

    @property
    def unknown(self) -> list[Variant]:
        """The variants that wait for a search."""
        return [variant for variant in self.road if not variant.is_known]

    @property
    def has_test_part(self) -> bool:
        """True if the data of every variant have images for the report alone."""
        parts = [variant.config.images for variant in self.road]
        return all(data is not None and data.has_test for data in parts)

    @property
    def reported_metric(self) -> MetricSchema:
        """Metric that the report reads: `test/acc1` for `val/acc1` where there is a test part.

        Searches, early stopping, the best epoch and added seeds go by `schema.metric`.
        """
        metric, has_test_part = self.schema.metric, self.has_test_part
        name = reported_name(metric.name, has_test_part=has_test_part)
        also = [reported_name(other, has_test_part=has_test_part) for other in metric.also]
        return metric.model_copy(update={"name": name, "also": also})

    @property
    def repeats(self) -> int:
        """Number of times that searches are done, all of them alike."""
        return max((search.schema.repeats for search in self.searches), default=1)

    def with_found(self, found: Sequence[Mapping[str, Values]]) -> Self:
        """The spec with what searches have found, for each repeat by the labels of their variants;
        what builds on it is known then.

        Raises `SpecError` where a step does not go with it.
        """
        assert self.document is not None
        roads = []
        for values in found:
            made = variants_of(self.schema, self.document, values)
            self.document.raise_problems()
            roads.append(with_origins(made, values))
        return self._with(roads)

    def _with(self, roads: Sequence[Variants]) -> Self:
        made = merged(roads)
        return replace(
            self,
            variants=tuple(variant for variant in made.variants if variant.is_known),
            road=tuple(made.variants),
            skipped=tuple(made.skipped),
            searches=tuple(made.searches),
        )


def load_spec(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read and check a spec. Functions that it names are imported from its folder, and run.

    `overrides` are settings laid over it, as the command line has them: `train.epochs=2`.

    Raises `SpecError` with everything that is wrong with the file, each problem at its line and
    column.
    """
    document = read_document(path, overrides)
    import_from(path.parent, lazily=True)
    value, schema = document.value, None
    while schema is None:
        try:
            schema = SweepSchema.model_validate(value)
        except ValidationError as error:
            add_validation_problems(document, error, SweepSchema, lambda location: location)
            value = _without_errors(value, error)
    _check_count(schema, document)
    made = variants_of(schema, document)
    _check_searches(made.searches, document)
    _check_metrics(schema, document, made.variants)
    _check_references(schema, document)
    check_measures(schema, document, made.variants)
    _check_family(schema, document)
    document.raise_problems()
    spec = SweepSpec(
        path,
        document.content,
        schema,
        (),
        code=_code_of(schema, made.variants, path.parent),
        document=document,
        overrides=tuple(overrides),
    )
    repeats = max((search.schema.repeats for search in made.searches), default=1)
    return spec._with([made] * repeats)


def _code_of(schema: SweepSchema, variants: Iterable[Variant], folder: Path) -> dict[str, bytes]:
    """Files beside the spec that workloads and measures are made of; each workload says which."""
    found: dict[str, bytes] = {}
    for variant in variants:
        found |= variant.config.sources(folder)
    for request in schema.measure:
        if request.function not in MEASURES.values():
            found |= sources(request.function, folder)
    return found


def _check_count(schema: SweepSchema, document: Document) -> None:
    """Raises `SpecError` where the road alone has more variants or trials than planning could look
    at.
    """
    rungs = 1 + len(schema.steps) + sum(len(step.side) for step in schema.steps)
    variants = rungs * max(1, len(schema.regimes)) * max(1, len(schema.recipes))
    trials = variants * len(schema.seeds)
    if variants > _MOST_VARIANTS:
        message = f"{variants:,} variants in all regimes and recipes, more than {_MOST_VARIANTS:,}"
        document.add_problem(("recipes",) if schema.recipes else ("regimes",), message, at_key=True)
    elif trials > MOST_TRIALS:
        message = f"{variants:,} variants with {len(schema.seeds):,} seeds are {trials:,} trials"
        document.add_problem(("seeds",), f"{message}, more than {MOST_TRIALS:,}", at_key=True)
    if max(variants / _MOST_VARIANTS, trials / MOST_TRIALS) > 1:
        document.raise_problems()


def _check_searches(searches: Sequence[Search], document: Document) -> None:
    count = sum(search.goal * len(search.schema.seeds) for search in searches)
    if count > MOST_TRIALS:
        message = f"all searches together ask for {count:,} trials, more than {MOST_TRIALS:,}"
        document.problems.append(Problem(max(1, searches[0].line), 1, message))


def _check_metrics(schema: SweepSchema, document: Document, variants: Sequence[Variant]) -> None:
    """Each metric is shown once, and is one that trainings record; what a user training records,
    nobody knows before.
    """
    names = [schema.metric.name, *schema.metric.also]
    for index, name in enumerate(names):
        place: Location = ("metric", "also", index - 1) if index else ("metric", "name")
        lacking = [variant for variant in variants if not _records(variant, name)]
        if name in names[:index]:
            document.add_problem(place, f"{name} is listed twice; each metric is shown once")
        elif not kind_of(schema.baseline).can.has_known_metrics:
            continue
        elif name.startswith(FOR_REPORT):
            document.add_problem(
                place,
                f"{name} is for the report only, which reads it automatically if the data have a "
                f"test part (data.test_fraction): write {name.replace('test', 'val', 1)}",
            )
        elif name not in METRICS:
            document.add_problem(
                place, f"there is no metric '{name}'{did_you_mean_one_of(name, list(METRICS))}"
            )
        elif lacking and (index == 0 or len(lacking) == len(variants)):
            document.add_problem(
                place, f"{name} is recorded with train.ema, which {lacking[0].label} does not have"
            )
        elif name == PEAK_MEMORY and index == 0:
            document.add_problem(
                place, f"{name} has no curve, so it cannot be the sweep's metric: list it in 'also'"
            )


def _check_family(schema: SweepSchema, document: Document) -> None:
    """Note designs of the family that the sweep does not have: a typo would leave nothing to
    test.
    """
    designs = [design.name for design in schema.design]
    for index, name in enumerate(schema.family or ()):
        if name not in designs:
            message = f"this sweep has no design '{name}'; it has {', '.join(designs)}"
            document.add_problem(("family", index), message)


def _check_references(schema: SweepSchema, document: Document) -> None:
    """Check that what was published is of metrics that the report shows."""
    own = schema.metric.name
    places: list[tuple[Location, Mapping[str, ReferenceSchema]]] = [
        (("reference",), schema.reference)
    ]
    for index, step in enumerate(schema.steps):
        places.append((("steps", index, "reference"), step.reference))
        places += [
            (("steps", index, "side", name, "reference"), side.reference)
            for name, side in step.side.items()
        ]
    for place, references in places:
        for regime, reference in references.items():
            figures, here = reference.by_metric(own), (*place, regime) if regime else place
            for name in figures.keys() - {own, *schema.metric.also}:
                message = (
                    f"the report does not show {name}, only "
                    f"{', '.join((own, *schema.metric.also))}: add it to metric.also"
                )
                document.add_problem((*here, name), message, at_key=True)
            if own not in figures:
                document.add_problem(
                    here, f"the value of {own}, the sweep's metric, is missing here", at_key=True
                )


def _records(variant: Variant, metric: str) -> bool:
    return variant.config.averages_weights or not metric.startswith(AVERAGED)


_EMPTIED: tuple[tuple[str, Any], ...] = (("seeds", []), ("design", []), ("family", []))
_PLACEHOLDERS = {"name": "placeholder", "seeds": [0], "baseline": {}}


def _without_errors(value: Any, error: ValidationError) -> dict[str, Any]:
    """Return what is left of a spec when its wrong parts are taken out, so that the rest is checked
    in the same breath.
    """
    if not isinstance(value, dict):
        return dict(_PLACEHOLDERS)
    value = deepcopy(value)
    culprits = {_culprit(part["loc"], part["type"]) for part in error.errors()}
    for location in culprits:
        if not any(location[:end] in culprits for end in range(1, len(location))):
            _take_out(value, location)
    return {
        **_PLACEHOLDERS,
        **{key: part for key, part in value.items() if (key, part) not in _EMPTIED},
    }


def _culprit(location: Location, kind: str) -> Location:
    """Return what has to go for an error to go: the value itself, or whatever lacks a key."""
    location = tuple(part for part in location if part != "[key]")
    if "search" in location:
        return location[: location.index("search") + 1]
    lacks_a_key = kind == "missing" and len(location) > 1 and location[0] != "steps"
    return location[:-1] if lacks_a_key else location


def _take_out(value: dict[str, Any], location: Location) -> None:
    """Remove one value. A step stays in its place, emptied, so that the places of the steps behind
    it stay right.
    """
    match location:
        case ("steps", int() as index):
            value["steps"][index] = {"name": f"placeholder-{index}", "change": {}}
        case ("steps", int() as index, "name"):
            value["steps"][index]["name"] = f"placeholder-{index}"
        case ("steps", int() as index, "change"):
            value["steps"][index]["change"] = {}
        case ("seeds", str(), *_):
            value["seeds"] = [0]
        case _:
            _delete(value, location)


def _delete(value: dict[str, Any], location: Location) -> None:
    """Remove the value at `location`, or the nearest one around it that is there."""
    parent: Any = value
    for key in location[:-1]:
        parent = parent[key] if _has(parent, key) else None
    if isinstance(parent, list):
        parent[:] = []  # of seeds: one wrong seed says nothing about the rest of the file
    elif _has(parent, location[-1]):
        del parent[location[-1]]
        if location[0] == "steps" and isinstance(parent, dict) and len(location) == 3:
            # whatever the wrong key meant, a missing change is not a second mistake
            parent.setdefault("change", {})
    elif len(location) > 1:  # a key that is missing, or a place in what a short form stands for
        _take_out(value, location[:-1])


def _has(parent: Any, key: str | int) -> bool:
    if isinstance(parent, list):
        return isinstance(key, int) and key < len(parent)
    return isinstance(parent, dict) and key in parent
