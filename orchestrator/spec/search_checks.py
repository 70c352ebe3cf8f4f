"""Checks of a search inside a step: its space, its seeds, its sampler and its rule to stop
early.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from illama.config import kind_of
from orchestrator.errors import did_you_mean_one_of
from orchestrator.metrics import FOR_REPORT, METRICS
from orchestrator.pruning import FEWEST
from orchestrator.spec.changes import Changer
from orchestrator.spec.conditions import check_conditions
from orchestrator.spec.document import Document, Location
from orchestrator.spec.domains import extremes_of
from orchestrator.spec.goals import SIZES, known_mode
from orchestrator.spec.limits import MOST_TRIALS
from orchestrator.spec.samplers import SAMPLERS
from orchestrator.spec.schema import SweepSchema
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.spec.search_space import Search


def check_search(
    search: Search,
    changed: Mapping[str, Any],
    changer: Changer,
    sweep: SweepSchema,
    place: Location,
) -> bool:
    """Tell whether every point may be trained: each end and each choice is a setting's value, and
    no key is changed twice.

    What is wrong becomes a problem of the document. `changed` is what the step itself changes;
    `place` is where `search` stands.
    """
    document, schema = changer.document, search.schema
    before = len(document.problems)
    _check_seeds(schema, sweep, document, place)
    _check_repeats(schema, sweep, document, (*place, "repeats"))
    _check_goals(schema, sweep, document, (*place, "metric"))
    there = changer.all_exist(schema.space, (*place, "space"))
    if there and check_conditions(schema.space, document, (*place, "space")):
        for key in schema.space:
            _check_setting(key, search, changed, changer, (*place, "space"))
    if len(document.problems) == before:
        _check_sampler(search, document, (*place, "sampler"))
    if len(document.problems) == before:
        _check_count(search, document, place)
    if len(document.problems) == before and schema.prune:
        _check_prune(search, sweep.metric.name, document, (*place, "prune"))
    return len(document.problems) == before


def _check_setting(
    key: str, search: Search, changed: Mapping[str, Any], changer: Changer, place: Location
) -> None:
    """Check one setting that is searched; `place` is where its space stands."""
    document, spaces = changer.document, search.schema.space
    space, here = spaces[key], (*place, key)
    others = (*changed, *(other for other in spaces if other != key))
    clash = next((other for other in others if _overlap(key, other)), None)
    if clash:
        message = (
            f"'{key}' is searched, so '{clash}' cannot be set by the step as well; "
            "leave one of them out"
        )
        document.add_problem(here, message, at_key=True)
        return
    for value in extremes_of(space):
        changes = search.settled({**search.conditions.ground_of(key), key: value})
        if changer.changed(dict(search.settings), changes, place, None) is None:
            break
    if key in search.whole and space.step and not space.step.is_integer():
        document.add_problem(
            (*here, "step"),
            f"{key} is a whole number: its steps must be whole, found {space.step:g}",
        )


def _check_sampler(search: Search, document: Document, place: Location) -> None:
    """A sampler may ask something of the space."""
    name = search.schema.sampler
    sampler = SAMPLERS[name]
    if sampler.is_plain and (
        search.schema.metric or len(search.conditions.unconditional) < len(search.schema.space)
    ):
        message = (
            f"{name} models one metric over a fixed set of settings: leave out 'metric' and 'when',"
            " or use another sampler, such as tpe"
        )
        document.add_problem(place, message)
    numbers = sum(space.choices is None for space in search.schema.space.values())
    if sampler.tries_all and search.size is None:
        message = f"a {name} must be countable: give every setting a list, whole numbers, or a step"
        document.add_problem(place, message)
    if numbers < sampler.fewest_numbers:
        message = (
            f"{name} models only settings with low and high and needs {sampler.fewest_numbers} of"
            f" them, found {numbers}: use another sampler, such as tpe"
        )
        document.add_problem(place, message)


def _check_goals(
    schema: SearchSchema, sweep: SweepSchema, document: Document, place: Location
) -> None:
    """Ask for the sweep's own metric first, and for others that its trainings record."""
    own = sweep.metric
    for index, goal in enumerate(schema.metric or []):
        here = (*place, index)
        if index == 0 and (goal.name, goal.mode) != (own.name, own.mode):
            message = (
                f"found {goal.name}, but later steps build on the best combination by the sweep's"
                f" metric: list {own.name} first, and further metrics after it"
            )
            document.add_problem(here, message)
        elif goal.name.startswith(FOR_REPORT):
            message = f"{goal.name} is for the report only: nothing may be chosen by it"
            document.add_problem(here, message)
        elif kind_of(sweep.baseline).can.has_known_metrics and known_mode(goal.name) is None:
            names = [*METRICS, *SIZES]
            message = f"there is no metric '{goal.name}'{did_you_mean_one_of(goal.name, names)}"
            document.add_problem(here, message)


def _check_seeds(
    schema: SearchSchema, sweep: SweepSchema, document: Document, place: Location
) -> None:
    """Refuse a search with a seed, in any repeat, that is one of the report's."""
    taken = sweep.possible_seeds
    location = (*place, "seeds")
    if not document.has(location):
        location = place
    for index, seed in enumerate(schema.seeds):
        if seed in schema.seeds[:index]:
            message = f"seed {seed} is given twice; each seed is one trial of every combination"
            document.add_problem((*location, index), message)
            return
    for repeat in range(schema.repeats):
        for index, seed in enumerate(schema.seeds_of(repeat)):
            if seed in taken:
                of_repeat = f" (of search {repeat + 1})" if repeat else ""
                message = (
                    f"seed {seed}{of_repeat} is also a seed of the report: settings chosen on it"
                    " would look better there than they are; search with another seed"
                )
                document.add_problem((*location, index), message)


def _check_repeats(
    schema: SearchSchema, sweep: SweepSchema, document: Document, place: Location
) -> None:
    """Ask for one number of repeats for the whole road, and for at least one of the report's seeds
    for each.
    """
    first = next(_searches(sweep)).repeats
    if schema.repeats != first:
        message = (
            f"repeats is {schema.repeats} here and {first} in the sweep's first search:"
            " each repeat is a road of its own, so all searches need the same number"
        )
        document.add_problem(place, message)
    if schema.repeats == 1:
        return
    if sweep.adaptive:
        message = (
            "seeds that are added as needed do not replicate searches:"
            " list the seeds, or leave out 'repeats'"
        )
        document.add_problem(place, message)
        return
    of_repeats = {seed % schema.repeats for seed in sweep.seeds}
    left = sorted(set(range(schema.repeats)) - of_repeats)
    if left:
        message = (
            f"seed s is trained with the settings found by repeat s modulo {schema.repeats},"
            f" but none of the report's seeds is {left[0]} modulo {schema.repeats}"
        )
        document.add_problem(place, message)


def _searches(sweep: SweepSchema) -> Iterator[SearchSchema]:
    """All searches that a sweep asks for, in the order of the spec."""
    found = [sweep.search]
    for step in sweep.steps:
        found += [step.search, *(side.search for side in step.side.values())]
    return (search for search in found if search)


def _check_count(search: Search, document: Document, place: Location) -> None:
    count = search.goal * len(search.schema.seeds) * search.schema.repeats
    if count > MOST_TRIALS:
        message = f"this search asks for {count:,} trials, more than {MOST_TRIALS:,}"
        document.add_problem(place, f"{message}: narrow its space, or lower 'trials'", at_key=True)


def _check_prune(search: Search, metric: str, document: Document, place: Location) -> None:
    """Tell whether it may stop anything, and the same each time: who asks for it relies on that."""
    schema, config = search.schema, search.variant.config
    if config.length is None:
        message = (
            f"it is unknown how long {config.title} trains: "
            "give it a parameter 'iterations' or 'epochs', or leave out 'prune'"
        )
        document.add_problem(place, message, at_key=True)
    elif schema.prune and schema.prune.after >= config.total and "train.epochs" not in schema.space:
        message = (
            f"prune.after is {schema.prune.after}, but training has {config.total} epochs: "
            "nothing would be pruned"
        )
        document.add_problem((*place, "after"), message)
    if metric in METRICS and METRICS[metric].is_of_machine:
        message = (
            f"{metric} depends on the machine, so pruning would not be reproducible; leave "
            "out 'prune'"
        )
        document.add_problem(place, message, at_key=True)
    before = (search.goal - 1) // schema.at_once * schema.at_once
    if before < FEWEST:
        message = (
            f"of {search.goal} combinations, {schema.at_once} at once, none has {FEWEST} "
            "earlier ones to be compared with"
        )
        document.add_problem(
            place, f"{message}; try more, lower 'at_once', or leave out 'prune'", at_key=True
        )


def _overlap(key: str, other: str) -> bool:
    """Tell whether one is the other or lies inside of it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
