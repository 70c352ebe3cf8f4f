"""Points that a search tries next: drawn at random first, then suggested by Optuna.

Points at random are a function of the sweep and of each setting's space, not of the step: a step
and what it is compared with try the same first points, also where one of them looks for a setting
more. So the luck of the first points is on both sides, and what decides between them is what the
points came to.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count, islice
from statistics import fmean
from typing import Any, NamedTuple

from orchestrator.spec.domains import Choices, Domain, Numbers
from orchestrator.spec.goals import Goal
from orchestrator.spec.samplers import SAMPLERS, Sampler
from orchestrator.spec.search_space import Search, Tried, Values, point_key

_DRAWS = 20
"""Further questions to a sampler for a point that is new, before another way is taken."""


class Told(NamedTuple):
    """Point as Optuna is told of it."""

    values: Values
    gains: Sequence[float]
    """Value that it reached in each metric; larger is better."""
    pruned_at: int | None = None
    """Epoch at which it was stopped early; the gain is where it stood then."""


def suggested(
    search: Search, tried: Sequence[Tried], goals: Sequence[Goal], sweep: str
) -> list[Values]:
    """The next generation, whole even where the search ends inside of it."""
    seen = {point_key(point.values) for point in tried}
    wanted = search.schema.at_once
    if search.size is not None and search.size <= search.goal:
        return _unseen(search.points(), seen, wanted)
    points = _first(search, tried)
    seen |= {point_key(point) for point in points}
    stream = _stream(search, sweep)
    sampler = SAMPLERS[search.schema.sampler]
    told = _told(tried, goals)
    if sampler.optuna and len(told) >= sampler.begins_with:
        points += _asked(search, sampler, told, seen, wanted - len(points), stream)
    points += _unseen(_drawn(search, stream, seen), seen, wanted - len(points))
    missing = wanted - len(points)
    if missing:  # the space is small enough to be listed
        points += _unseen(search.points(), seen, missing)
    return points


def _first(search: Search, tried: Sequence[Tried]) -> list[Values]:
    """The settings without any search, which are tried before all others."""
    if tried or not search.as_it_is:
        return []
    return [search.as_it_is]


def _stream(search: Search, sweep: str) -> str:
    """Name that random points are drawn by: each repeat has its own."""
    if not search.repeat:
        return sweep
    return f"{sweep}/{search.repeat}"


def _unseen(points: Iterable[Values], seen: set[str], wanted: int) -> list[Values]:
    """The first points that are not in `seen`, which then has them."""

    def new() -> Iterator[Values]:
        for point in points:
            if point_key(point) not in seen:
                seen.add(point_key(point))
                yield point

    return list(islice(new(), wanted))


def _drawn(search: Search, stream: str, seen: set[str]) -> Iterator[Values]:
    """Points at random, each setting from a sequence of its own; not for ever, for a space may have
    no more.
    """
    for number in count():
        if number > _DRAWS + 2 * len(seen):
            return
        point: dict[str, Any] = {}
        for key in search.conditions.order:
            if search.conditions.is_asked(key, point):
                point[key] = search.domains[key].at(_share(f"{stream}/{key}/{number}"))
        yield point


def _share(name: str) -> float:
    """A number from 0 to below 1 that is drawn by a name."""
    return int.from_bytes(sha256(name.encode()).digest()[:6], "big") / 2**48


def _told(tried: Sequence[Tried], goals: Sequence[Goal]) -> list[Told]:
    """A point that did not train as it should (diverged, collapsed) is worse than every other, not
    left out: what lies around it is to be avoided. One that was pruned is told as such, with where
    it stood then.
    """
    reached = [point.gains(goals) for point in tried if point.means]
    bad = [_below([gains[index] for gains in reached]) for index in range(len(goals))]
    told = []
    for point in tried:
        gains = bad
        if point.means:
            gains = point.gains(goals)
        if point.pruned_at is not None:
            gains = [goals[0].gain(_when_pruned(point, point.pruned_at))]
        told.append(Told(point.values, gains, point.pruned_at))
    return told


def _below(gains: Sequence[float]) -> float:
    """A gain that is clearly worse than all others."""
    known = gains or [0.0]
    return min(known) - max(1.0, max(known) - min(known))


def _when_pruned(point: Tried, epoch: int) -> float:
    """Return the mean over seeds that a combination had at `epoch`, where it was stopped."""
    return fmean(curve[epoch] for curve in point.curves.values() if epoch in curve)


def _asked(
    search: Search,
    sampler: Sampler,
    told: Sequence[Told],
    seen: set[str],
    wanted: int,
    stream: str,
) -> list[Values]:
    """Ask Optuna for points that are not in `seen`; fewer where it has no other. Those of one
    generation run at the same time: each is kept away from the others by Optuna's means, such as
    TPE's "constant liar".
    """
    study, spaces = _study(search, sampler, told, stream)

    def points() -> Iterator[Values]:
        import optuna

        failures = 0
        while failures <= _DRAWS + len(told) * sampler.is_sequence:
            trial = study.ask()
            point: dict[str, Any] = {}
            for key in search.conditions.order:
                if search.conditions.is_asked(key, point):
                    asked = _asked_of(trial, key, spaces[key])
                    point[key] = search.domains[key].decoded(asked)
            if point_key(point) in seen:
                failures += 1
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                failures = 0
                yield point

    return _unseen(points(), seen, wanted)


def _study(
    search: Search, sampler: Sampler, told: Sequence[Told], stream: str
) -> tuple[Any, Mapping[str, Any]]:
    """A study that knows all that was told, and the spaces to ask it for."""
    import optuna

    goals = len(search.schema.metric or [""])

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of what may make it slower
    spaces = {key: _distribution(domain) for key, domain in search.domains.items()}
    shown = spaces
    if sampler.is_sequence:  # Optuna takes its dimensions from a trial that is done
        shown = {key: spaces[key] for key in search.conditions.unconditional}
        told = told or [Told(next(_drawn(search, stream, set())), [0.0] * goals)]
    name = stream if sampler.is_sequence else f"{stream}/{len(told)}"
    seed = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    options = dict(sampler.options)
    if len(search.conditions.unconditional) < len(spaces):
        options |= sampler.options_by_choice
    if sampler.starts_from_results:
        ranges = [key for key, domain in search.domains.items() if isinstance(domain, Numbers)]
        numbers = {key: spaces[key] for key in ranges}
        options["source_trials"] = [
            _frozen(optuna.trial, search, numbers, point._replace(pruned_at=None)) for point in told
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = getattr(optuna.samplers, sampler.optuna)(seed=seed, **options)
    study = optuna.create_study(sampler=made, directions=["maximize"] * goals)
    study.add_trials([_frozen(optuna.trial, search, shown, point) for point in told])
    return study, spaces


def _asked_of(trial: Any, key: str, space: Any) -> Any:
    """The value that a study suggests for one setting, in the order in which settings depend on
    each other.
    """
    import optuna

    if isinstance(space, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(key, space.choices)
    if isinstance(space, optuna.distributions.IntDistribution):
        return trial.suggest_int(key, space.low, space.high, log=space.log, step=space.step)
    return trial.suggest_float(key, space.low, space.high, log=space.log, step=space.step)


def _frozen(kinds: Any, search: Search, spaces: Mapping[str, Any], point: Told) -> Any:
    """A trial of Optuna's that is over, with the settings that `spaces` has; `kinds` is
    `optuna.trial`.
    """
    asked = {key: space for key, space in spaces.items() if key in point.values}
    params = {key: search.domains[key].encoded(point.values[key]) for key in asked}
    how: dict[str, Any] = {"values": point.gains}
    if point.pruned_at is not None:
        how = {
            "state": kinds.TrialState.PRUNED,
            "intermediate_values": {point.pruned_at: point.gains[0]},
        }
    return kinds.create_trial(params=params, distributions=asked, **how)


def _distribution(domain: Domain) -> Any:
    """Optuna's distribution; choices go by their number, for Optuna takes no lists or mappings."""
    from optuna import distributions as kinds

    if isinstance(domain, Choices):
        return kinds.CategoricalDistribution(range(domain.count))
    return distribution_of(domain)


def distribution_of(numbers: Numbers) -> Any:
    """Optuna's distribution of numbers between two ends."""
    from optuna import distributions as kinds

    (low, high), log = numbers.ends, numbers.log
    if numbers.is_whole:
        step = int(numbers.step or 1)
        return kinds.IntDistribution(int(low), int(high), log=log, step=step)
    return kinds.FloatDistribution(low, high, log=log, step=numbers.step)
