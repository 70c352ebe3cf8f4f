"""Points that a search tries next: drawn at random first, then suggested by Optuna (the only import
of optuna).

Points at random are a function of the sweep and of each setting's space, not of the step: a step
and what it is held against try the same first points, also where one of them looks for a setting
more. So the luck of the first points is on both sides, and what decides between them is what the
points came to.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import count, islice
from statistics import fmean
from typing import Any, NamedTuple

from orchestrator.metrics import Mode
from orchestrator.spec.samplers import SAMPLERS, Sampler
from orchestrator.spec.search_schema import SpaceSchema
from orchestrator.spec.search_space import Search, Tried, Values, point_key

_DRAWS = 20
"""Further questions to a sampler for a point that is new, before another way is taken."""


class Told(NamedTuple):
    """Point as Optuna is told of it."""

    values: Values
    gain: float
    """Larger is better."""
    pruned_at: int | None = None
    """Epoch at which it was stopped early; `gain` is where it stood then."""


def suggested(search: Search, tried: Sequence[Tried], mode: Mode, sweep: str) -> list[Values]:
    """The next generation, whole even where the search ends inside of it."""
    seen = {point_key(point.values) for point in tried}
    wanted = search.schema.at_once
    if search.size is not None and search.size <= search.goal:
        return _unseen(search.points(), seen, wanted)
    first = [search.as_it_is] if search.as_it_is and not tried else []
    seen |= {point_key(point) for point in first}
    stream = f"{sweep}/{search.repeat}" if search.repeat else sweep
    sampler = SAMPLERS[search.schema.sampler]
    told = _told(tried, mode)
    points = list(first)
    if sampler.optuna and len(told) >= sampler.begins_with:
        points += _asked(search, sampler, told, seen, wanted - len(points), stream)
    points += _unseen(_drawn(search, stream, seen), seen, wanted - len(points))
    return points + _unseen(search.points(), seen, wanted - len(points))


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
        yield {
            key: _at(search, key, _share(f"{stream}/{key}/{number}")) for key in search.schema.space
        }


def _share(name: str) -> float:
    """A number from 0 to below 1 that is drawn by a name."""
    return int.from_bytes(sha256(name.encode()).digest()[:6], "big") / 2**48


def _at(search: Search, key: str, share: float) -> Any:
    """The value that has so large a share of a setting's space below it."""
    space = search.schema.space[key]
    values = search.listed(key)
    if values is not None and not space.log:
        return values[int(share * len(values))]
    low, high = search.ends(key)
    if space.log:
        return search.rounded(key, low * (high / low) ** share)
    return search.rounded(key, low + share * (high - low))


def _told(tried: Sequence[Tried], mode: Mode) -> list[Told]:
    """A point that did not train as it should (diverged, collapsed) is worse than every other, not
    left out: what lies around it is to be avoided. One that was pruned is told as such, with where
    it stood then.
    """
    sign = 1 if mode == "max" else -1
    gains = [None if point.mean is None else sign * point.mean for point in tried]
    known = [gain for gain in gains if gain is not None] or [0.0]
    bad = min(known) - max(1.0, max(known) - min(known))
    told = []
    for point, gain in zip(tried, gains, strict=True):
        if point.pruned_at is not None:
            gain = sign * fmean(
                curve[point.pruned_at]
                for curve in point.curves.values()
                if point.pruned_at in curve
            )
        told.append(Told(point.values, bad if gain is None else gain, point.pruned_at))
    return told


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
            trial = study.ask(spaces)
            point = {key: _decoded(search, key, value) for key, value in trial.params.items()}
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

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it warns of what may make it slower
    spaces = {key: _distribution(optuna.distributions, search, key) for key in search.schema.space}
    trials = [_frozen(optuna.trial, search, spaces, point) for point in told]
    name = stream if sampler.is_sequence else f"{stream}/{len(told)}"
    seed = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    options = dict(sampler.options)
    if sampler.starts_from_results:
        numbers = {
            key: space for key, space in spaces.items() if search.schema.space[key].choices is None
        }
        options["source_trials"] = [
            _frozen(optuna.trial, search, numbers, point._replace(pruned_at=None)) for point in told
        ]
    if sampler.is_sequence and not trials:  # Optuna takes its dimensions from a trial that is done
        anywhere = next(_drawn(search, stream, set()))
        trials = [_frozen(optuna.trial, search, spaces, Told(anywhere, 0.0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made = getattr(optuna.samplers, sampler.optuna)(seed=seed, **options)
    study = optuna.create_study(sampler=made, direction="maximize")
    study.add_trials(trials)
    return study, spaces


def _frozen(kinds: Any, search: Search, spaces: Mapping[str, Any], point: Told) -> Any:
    """A trial of Optuna's that is over, with the settings that `spaces` has; `kinds` is
    `optuna.trial`.
    """
    params = {key: _encoded(search.schema.space[key], point.values[key]) for key in spaces}
    how: dict[str, Any] = {"value": point.gain}
    if point.pruned_at is not None:
        how = {
            "state": kinds.TrialState.PRUNED,
            "intermediate_values": {point.pruned_at: point.gain},
        }
    return kinds.create_trial(params=params, distributions=dict(spaces), **how)


def _distribution(kinds: Any, search: Search, key: str) -> Any:
    """`kinds` is `optuna.distributions`. Choices go by their number: Optuna takes no lists or
    mappings.
    """
    space = search.schema.space[key]
    if space.choices is not None:
        return kinds.CategoricalDistribution(range(len(space.choices)))
    low, high = search.ends(key)
    if key in search.whole:
        return kinds.IntDistribution(int(low), int(high), log=space.log, step=int(space.step or 1))
    return kinds.FloatDistribution(low, high, log=space.log, step=space.step)


def _encoded(space: SpaceSchema, value: Any) -> Any:
    return value if space.choices is None else space.choices.index(value)


def _decoded(search: Search, key: str, value: Any) -> Any:
    choices = search.schema.space[key].choices
    return search.rounded(key, value) if choices is None else choices[value]
