"""Relations between the names in a spec: unique steps, and steps that require or exclude one
another.
"""

import re
from collections.abc import Mapping, Sequence

from orchestrator.errors import did_you_mean_one_of
from orchestrator.spec.designs import ALL_STEPS, DESIGNS, has_road
from orchestrator.spec.document import Document, Location
from orchestrator.spec.schema import SweepSchema
from orchestrator.spec.step_schema import SideSchema, StepSchema

_RESERVED = re.compile("|".join(design.names for design in DESIGNS.values() if design.names))
"""Pattern of the beginnings that names of the designs' cells have."""


def check_spec(schema: SweepSchema, document: Document, baseline: str) -> None:
    """Note names that are taken twice or unknown, and a road that contradicts what its steps
    require.
    """
    _check_names(schema, document, baseline)
    _check_regimes(schema, document)
    _check_relations(schema, document)
    _check_designs(schema, document)


def reason_against(cell: Sequence[str], steps: Mapping[str, StepSchema]) -> str | None:
    """Say why the steps cannot be taken in this order; None where they can."""
    taken: set[str] = set()
    for name in cell:
        if lacking := [other for other in steps[name].requires if other not in taken]:
            where = "is absent"
            if lacking[0] in cell:
                where = "comes after it"
            return f"{name} requires {lacking[0]}, which {where}"
        taken.add(name)
    for name in cell:
        if clashing := [other for other in steps[name].conflicts if other in taken]:
            return f"{name} conflicts with {clashing[0]}"
    return None


def _check_names(schema: SweepSchema, document: Document, baseline: str) -> None:
    """Names of steps and side steps are unique, and none of them is the baseline's."""
    seen: dict[str, Location] = {}
    for index, step in enumerate(schema.steps):
        places: list[tuple[str, Location]] = [(step.name, ("steps", index, "name"))]
        places += [(name, ("steps", index, "side", name)) for name in step.side]
        for name, location in places:
            if name == baseline:
                document.add_problem(
                    location,
                    f"'{baseline}' is the name of the configuration before any step; choose "
                    "another",
                )
            elif _RESERVED.match(name) or name == ALL_STEPS:
                document.add_problem(
                    location, f"'{name}' looks like a cell of a design; choose another name"
                )
            elif name in seen:
                first = document.line(seen[name])
                document.add_problem(
                    location,
                    f"a step named '{name}' already exists, on line {first}; names must be unique",
                )
            else:
                seen[name] = location
    for index, seed in enumerate(schema.seeds):
        if seed in schema.seeds[:index]:
            document.add_problem(
                ("seeds", index),
                f"seed {seed} is given twice; each seed is one trial of every variant",
            )


def _check_regimes(schema: SweepSchema, document: Document) -> None:
    """Check that steps speak only of regimes and recipes that there are."""
    known = [*schema.regimes, *schema.recipes]
    for twice in sorted(schema.regimes.keys() & schema.recipes.keys()):
        document.add_problem(
            ("recipes", twice), f"'{twice}' is already a regime; choose another name", at_key=True
        )
    for index, step in enumerate(schema.steps):
        places: list[tuple[Location, SideSchema]] = [(("steps", index), step)]
        places += [(("steps", index, "side", name), side) for name, side in step.side.items()]
        for location, place in places:
            for key in ("regimes", "reference"):
                for name in getattr(place, key):
                    if name and name not in known:
                        hint = did_you_mean_one_of(name, known) if known else "; the spec has none"
                        document.add_problem(
                            (*location, key, name),
                            f"there is no regime '{name}'{hint}",
                            at_key=True,
                        )


def _check_relations(schema: SweepSchema, document: Document) -> None:
    names = [step.name for step in schema.steps]
    on_road = has_road(schema.design)
    for index, step in enumerate(schema.steps):
        others = [name for name in names if name != step.name]
        before = names[:index]
        for key in ("requires", "conflicts"):
            for place, other in enumerate(getattr(step, key)):
                location: Location = ("steps", index, key, place)
                if other not in others:
                    hint = did_you_mean_one_of(other, others)
                    document.add_problem(location, f"there is no other step '{other}'{hint}")
                elif on_road and (clash := _clash_on_road(key, other, before)):
                    document.add_problem(location, f"step '{step.name}' {clash}")


def _check_designs(schema: SweepSchema, document: Document) -> None:
    """Each design is asked for once: the cells of two of a kind would have the same names."""
    names = [design.name for design in schema.design]
    for index, name in enumerate(names):
        if name in names[:index]:
            message = f"design {name} is listed twice; its cells would have the same names"
            document.add_problem(("design", index), message)


def _clash_on_road(key: str, other: str, before: Sequence[str]) -> str:
    """Say how the road's order contradicts a relation to another step; empty where it does not."""
    if key == "requires" and other not in before:
        return f"requires '{other}', which comes later on the road"
    if key == "conflicts" and other in before:
        return f"conflicts with '{other}', which comes before it on the road"
    return ""
