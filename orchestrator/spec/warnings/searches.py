"""Settings that are searched for: on one side alone, with another effort, or in vain."""

from itertools import takewhile

from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.controls import on_one_line
from orchestrator.spec.warnings.lookup import (
    RECIPE,
    aspect_of,
    ground_of,
    own_changes,
    road_of,
    search_of,
    searched_by,
    steps_that,
)
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_step, of_sweep
from orchestrator.trial import Variant


@of_step
def tuned_unequally(spec: SweepSpec, variant: Variant) -> Found:
    """A step that is tuned against one that is not, or not with the same effort."""
    search = search_of(spec, variant.regime, variant.name)
    ground = ground_of(variant)
    if search is None:
        return
    what = _more_effort(search, search_of(spec, variant.regime, ground), ground)
    if not what:
        return
    place = "the top level" if ground == "baseline" else f"step '{ground}'"
    message = (
        f"step '{variant.name}' {what}: tuning only one side of a comparison favours that side; "
        f"give {place} the same search"
    )
    yield SpecWarning("tuned-unequally", message, search.line, _as_yaml(search))


def _more_effort(search: Search, other: Search | None, ground: str) -> str:
    """Say what a step does to find its settings and its ground does not; empty where both do it."""
    alone = list(search.schema.space)
    if other is not None:
        alone = [key for key in alone if key not in other.schema.space]
    against = f"'{ground}', which it is compared with"
    if alone:
        return f"searches {', '.join(alone)}, but {against}, does not"
    assert other is not None
    if other.goal < search.goal:
        return f"tries {search.goal} combinations, but {against}, {other.goal}"
    if other.schema.prune != search.schema.prune:
        return f"stops combinations early by a different rule than {against}"
    return ""


@of_sweep
def tuned_before(spec: SweepSpec) -> Found:
    """Steps that take over a recipe which was found for the step before them, or the baseline."""
    for search in spec.searches:
        if search.repeat or search.variant.side:
            continue
        recipe = [key for key in search.schema.space if aspect_of(key) == RECIPE]
        for key in recipe:
            heirs = _heirs(spec, search, key)
            if not heirs:
                continue
            verb = "takes" if len(heirs) == 1 else "take"
            message = (
                f"'{search.variant.name}' searches {key}, and {steps_that(heirs, 'inherit')} the "
                f"result: a setting tuned for '{search.variant.name}' favours it; give each step "
                f"that {verb} it over the same search"
            )
            yield SpecWarning("tuned-before", message, heirs[0].line, _as_yaml(search))


def _heirs(spec: SweepSpec, search: Search, key: str) -> list[Variant]:
    """The steps behind a search that have its setting without looking for it themselves."""
    later = _steps_after(spec, search.variant)
    return list(takewhile(lambda step: not _settles(spec, step, key), later))


def _settles(spec: SweepSpec, step: Variant, key: str) -> bool:
    """Tell whether a step says what a setting is, or looks for it itself."""
    return key in step.changes or key in searched_by(spec, step)


def _steps_after(spec: SweepSpec, variant: Variant) -> list[Variant]:
    """The steps of the road behind one of them; none behind a side step."""
    road = road_of(spec, variant.regime)
    names = [step.name for step in road]
    if variant.name not in names:
        return []
    return road[names.index(variant.name) + 1 :]


@of_sweep
def search_overwritten(spec: SweepSpec) -> Found:
    """Setting that a search finds, and that a later step of the road sets to something else."""
    for search in spec.searches:
        for step in _steps_after(spec, search.variant):
            for key in own_changes(spec, step).keys() & search.schema.space.keys():
                message = (
                    f"step '{step.name}' sets {key}, which '{search.variant.name}' searches: the "
                    "result of the search is overwritten"
                )
                yield SpecWarning("search-overwritten", message, step.line)


def _as_yaml(search: Search) -> str:
    return f"search: {on_one_line(search.schema.model_dump(exclude_unset=True))}"
