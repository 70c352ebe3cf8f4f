"""One sweep from the roads that repeated searches lead to, and which settings of a variant were
found by whose search. Pure.

Each repeat of the searches is a road of its own: what repeat 2 found at the baseline is what repeat
2 builds on at every step. Seed s of the report is trained with the settings of repeat s modulo
their number, so that every variant keeps its seeds, and what one search happened to find is
replicated like what one seed happened to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.spec.designs import BASELINE, SkippedCell
from orchestrator.spec.search_space import Search, Values
from orchestrator.spec.variants import Variants
from orchestrator.trial import Variant, variant_label


def with_origins(road: Variants, found: Mapping[str, Values]) -> Variants:
    """The variants with what searches found marked as theirs in every variant that still has it."""
    by_label = {variant.label: variant for variant in road.variants}
    marked = [
        replace(variant, found_by=_found_by(variant, by_label, found)) for variant in road.variants
    ]
    return replace(road, variants=marked)


def _found_by(
    variant: Variant, by_label: Mapping[str, Variant], found: Mapping[str, Values]
) -> dict[str, str]:
    """A setting counts as found where the variant has the value of the one that searched; the
    latest search has the word.
    """
    result: dict[str, str] = {}
    for name in dict.fromkeys((BASELINE, *variant.cell.steps, variant.name)):
        label = variant_label(variant.regime, name)
        for key in found.get(label, {}):
            searched = by_label[label].config
            if variant.config.setting(key) == searched.setting(key):
                result[key] = label
    return result


def merged(roads: Sequence[Variants]) -> Variants:
    """All repeats in one: the variants of the first, with those of the others in `repeated`; the
    searches of all.
    """
    if len(roads) == 1:
        return roads[0]
    by_label = [{variant.label: variant for variant in road.variants} for road in roads]
    variants: list[Variant] = []
    skipped = {_key(cell): cell for road in roads for cell in road.skipped}
    for variant in roads[0].variants:
        alike = [labels[variant.label] for labels in by_label if variant.label in labels]
        if len(alike) == len(roads):
            variants.append(_together(alike))
    searches = []
    for same in zip(*(road.searches for road in roads), strict=True):
        searches += [_of_repeat(search, repeat) for repeat, search in enumerate(same)]
    return Variants(variants, list(skipped.values()), searches)


def _key(cell: SkippedCell) -> tuple[str, str, str]:
    return cell.design, cell.regime, cell.name


def _together(alike: Sequence[Variant]) -> Variant:
    """A variant with what each repeat made of it; its own settings are the first repeat's."""
    first = alike[0]
    if not all(variant.is_known for variant in alike):
        return replace(first, is_known=False)
    found_by = {key: label for variant in alike for key, label in variant.found_by.items()}
    if not found_by and all(variant.config == first.config for variant in alike):
        return first
    changes = {key: _in_turn([variant.changes[key] for variant in alike]) for key in first.changes}
    return replace(first, changes=changes, found_by=found_by, repeated=tuple(alike))


def _in_turn(values: Sequence[Any]) -> Any:
    """A value that all share; otherwise those of the repeats, for people to read."""
    if all(value == values[0] for value in values):
        return values[0]
    return " or ".join(map(str, dict.fromkeys(map(str, values))))


def _of_repeat(search: Search, repeat: int) -> Search:
    """The search with the seeds of one repeat."""
    if repeat == 0:
        return search
    schema = search.schema.model_copy(update={"seeds": search.schema.seeds_of(repeat)})
    return replace(search, schema=schema, repeat=repeat)
