"""Warnings about seeds that are too few for the report to decide anything."""

from itertools import count

from orchestrator.spec.schema import SweepSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.lookup import line_of
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_sweep
from orchestrator.stats.inference import LEVEL
from orchestrator.stats.sign_flips import smallest_sign_flip_p


@of_sweep
def few_seeds(spec: SweepSpec) -> Found:
    """Seeds with which the exact test could decide nothing, whatever came out."""
    seeds, comparisons = spec.schema.most_seeds, _comparisons(spec)
    if seeds == 1:
        message = (
            "with 1 seed no effect can be distinguished from noise: there are no intervals "
            "and no p-values"
        )
    elif smallest_sign_flip_p(seeds) * _tests(spec.schema, seeds, comparisons) < LEVEL:
        return
    else:
        message = _too_few(spec.schema, seeds, comparisons)
    control = _seeds_text(spec.schema, _fewest(spec.schema, comparisons))
    yield SpecWarning("few-seeds", message, line_of("seeds", spec), control)


def _too_few(schema: SweepSchema, seeds: int, comparisons: int) -> str:
    smallest = smallest_sign_flip_p(seeds)
    asked = ""
    if smallest < LEVEL:
        tests = _tests(schema, seeds, comparisons)
        asked = (
            f", and corrected {_what_is_corrected(schema, seeds, comparisons)} it would need p < "
        )
        asked += f"{LEVEL / tests:.2g}"
    return (
        f"with {seeds} seeds an exact sign-flip test cannot go below p = {smallest:.3g}{asked}, so "
        "it can never call a step significant. The report's t-test can, provided seed-to-seed "
        "differences are roughly normal. With "
        f"{_fewest(schema, comparisons)} seeds the exact test can as well"
    )


def _what_is_corrected(schema: SweepSchema, seeds: int, comparisons: int) -> str:
    text = f"over {comparisons} comparison{'s' * (comparisons != 1)}"
    looks = _looks(schema, seeds)
    if looks == 1:
        return text
    return f"{text} with {looks} looks each"


def _comparisons(spec: SweepSpec) -> int:
    """Count the p-values that are corrected for each other, at least."""
    effects = [variant for variant in spec.variants if variant.follows is not None]
    road = [variant for variant in effects if variant.design == "roadmap"]
    return max(1, len(road or effects))


def _tests(schema: SweepSchema, seeds: int, comparisons: int) -> int:
    return comparisons * _looks(schema, seeds)


def _looks(schema: SweepSchema, seeds: int) -> int:
    """Count the looks at each step; more than one where seeds are added as needed."""
    if schema.adaptive is None:
        return 1
    return len(schema.adaptive.model_copy(update={"max": seeds}).looks)


def _fewest(schema: SweepSchema, comparisons: int) -> int:
    """The number of seeds from which on the exact test can decide a step, however many it is."""
    return next(
        seeds
        for seeds in count(2)
        if smallest_sign_flip_p(seeds) * _tests(schema, seeds, comparisons) < LEVEL
    )


def _seeds_text(schema: SweepSchema, number: int) -> str:
    """The text of a list of so many seeds, those that the spec has already among them."""
    if schema.adaptive is not None:
        return f"seeds: {{start: {schema.adaptive.start}, max: {number}}}"
    taken = {seed for search in _searches(schema) for seed in search}
    later = (seed for seed in count(max(schema.seeds) + 1) if seed not in taken)
    seeds = [*schema.seeds, *(next(later) for _ in range(number - len(schema.seeds)))]
    return f"seeds: {seeds}"


def _searches(schema: SweepSchema) -> list[list[int]]:
    """The seeds of every search, which the report may not have."""
    sides = [side for step in schema.steps for side in step.side.values()]
    searches = [schema.search, *(one.search for one in (*schema.steps, *sides))]
    return [search.seeds for search in searches if search is not None]
