"""What searches inside steps have found, and what they try next: Optuna as a suggestion function (the only import of optuna).

The store is the truth, so a search is worked out from its records each time. Points are suggested in generations: a generation
depends on the results of those before it and on a seed that follows from the sweep, the step and the generation's number. So
neither the order in which trials end, nor the number of slots, nor a crash changes what is tried. Nor what is stopped early: a
trial is held against those of earlier generations alone, each seed against itself, and goes on after all where another seed of
its point is good enough. What was suggested is also kept beside the trials (`Suggestions`), so that another version of Optuna
does not turn a half-done search into another one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from orchestrator.errors import DamagedFile, StoreError, UsageError
from orchestrator.fingerprint import canonical_json
from orchestrator.metrics import value_of
from orchestrator.pruning import Pruning, thresholds
from orchestrator.spec.schema import MetricSchema, SpaceSchema
from orchestrator.spec.search_space import Search, Tried, Values, point_key
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.damage import note
from orchestrator.store.files import load_json, write_json
from orchestrator.store.records import PointsRecord, check
from orchestrator.store.store import curve_of
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec, Variant

Trials = Callable[
    [Variant, Sequence[int], Mapping[int, Pruning]], list[tuple[TrialSpec, TrialRecord]]
]
"""The trials of a variant with some seeds, and what became of them; and, by seed, what stops them early."""

_DRAWS = 20
"""How often Optuna is asked for a point that was not tried yet, before the next one in order is taken."""
_FIRST_AT_RANDOM = 4
"""Optuna's model begins with so many results; its own 10 are most of a search that trains networks."""


class Told(NamedTuple):
    """What Optuna hears of a point."""

    values: Values
    gain: float
    """Larger is better."""
    pruned_at: int | None = None
    """Epoch at which it was stopped early; `gain` is where it stood then."""


class Suggestions:
    """What was suggested before, a file for each search: a memory and no truth, for without it the same is suggested."""

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        """`keeps` for the one writer, who holds the sweep's lease."""
        self._folder = folder
        self._keeps = keeps

    def known(self, search: Search, identity: str) -> list[Values]:
        """The points of whole generations, in order."""
        try:
            path = self._path(search, identity)
            found, is_sealed = load_json(path)
            check(PointsRecord, path, found, is_sealed)
        except FileNotFoundError:
            return []
        except DamagedFile as damage:
            note(damage)
            return []
        points: list[Values] = found["points"]
        return points

    def keep(self, search: Search, identity: str, points: Sequence[Values]) -> None:
        """Remember them all. Raises `StoreError`."""
        if not self._keeps:
            return
        path = self._path(search, identity)
        try:
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"search": search.label, "points": [dict(point) for point in points]})
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def _path(self, search: Search, identity: str) -> Path:
        return self._folder / f"{search.label.replace('/', '--')}-{identity[:8]}.json"


def with_searches(spec: SweepSpec, trials: Trials, suggestions: Suggestions) -> SweepSpec:
    """The spec as far as results make it known: what searches have found is part of their steps, others say what they try now.

    Raises `SpecError` where what was found does not go with a later step.
    """
    done: dict[str, Search] = {}
    while True:
        spec = spec.with_found(
            {label: search.chosen.values for label, search in done.items() if search.chosen}
        )
        followed = []
        for search in spec.searches:
            is_open = search.label not in done and search.variant.is_known
            followed.append(
                _followed(search, spec, trials, suggestions)
                if is_open
                else done.get(search.label, search)
            )
        now = {search.label: search for search in followed if search.chosen}
        if now.keys() == done.keys():
            return replace(spec, searches=tuple(followed))
        done = now


def _followed(search: Search, spec: SweepSpec, trials: Trials, suggestions: Suggestions) -> Search:
    """The search with its trials so far; those of one generation more where all that are known have ended."""
    identity = _identity(search, spec, trials)
    points = suggestions.known(search, identity)
    tried: list[Tried] = []
    while len(tried) < search.goal and all(point.has_ended for point in tried):
        if len(points) <= len(tried):
            points += _suggested(
                search, tried, spec.schema.metric, f"{spec.name}/{search.label}/{len(tried)}"
            )
            suggestions.keep(search, identity, points)
        end = min(len(tried) + search.schema.at_once, search.goal)
        finished = [point for point in tried if point.mean is not None]
        numbers = range(len(tried), end)
        tried += [
            _tried(search, number + 1, points[number], trials, spec.schema.metric, finished)
            for number in numbers
        ]
    is_over = len(tried) == search.goal and all(point.has_ended for point in tried)
    chosen = _best(tried, spec.schema.metric) if is_over else None
    return replace(search, tried=tuple(tried), chosen=chosen)


def _identity(search: Search, spec: SweepSpec, trials: Trials) -> str:
    """Changes with all that the suggestions depend on; more trials of the same search go on from those that are there."""
    [(trial, _)] = trials(search.variant, [0], {})
    asked = search.schema.model_dump(
        mode="json", exclude={"trials"} if search.schema.prune else {"trials", "prune"}
    )
    metric = spec.schema.metric.model_dump(exclude={"also"})
    return sha256(
        canonical_json([spec.name, trial.fingerprint, asked, metric]).encode()
    ).hexdigest()


def _tried(
    search: Search,
    number: int,
    values: Values,
    trials: Trials,
    metric: MetricSchema,
    finished: Sequence[Tried],
) -> Tried:
    """`finished` are those of earlier generations that did, in all seeds."""
    variant = search.variant_of(number, values)
    found = trials(variant, search.schema.seeds, _prunings(search, variant, metric, finished))
    if {_ending(search, record) for _, record in found} == {"healthy", "pruned"}:
        found = trials(
            variant, search.schema.seeds, {}
        )  # one seed is good enough: the others go on
    records = [record for _, record in found]
    is_pruned = all(_ending(search, record) == "pruned" for record in records)
    done = [record for record in records if record.state is State.DONE]
    is_healthy = len(done) == len(records) and all(
        search.is_healthy(record.outcome) for record in done
    )
    return Tried(
        values=values,
        variant=variant,
        trials=[trial for trial, _ in found],
        outcome=_outcome(search, records),
        has_ended=len(done) == len(records),
        mean=fmean(_reached(trial, record, metric) for trial, record in found)
        if is_healthy
        else None,
        failed=[trial.name for trial, record in found if record.state is State.FAILED],
        seconds=sum(record.seconds or 0.0 for record in done),
        curves={trial.seed: curve_of(record, metric.name) for trial, record in found}
        if search.schema.prune
        else {},
        pruned_at=min(int(record.epoch) for record in records) if is_pruned else None,
    )


def _ending(search: Search, record: TrialRecord) -> str:
    """What a trial says of its settings: `healthy`, `pruned` or `bad`; or that it is `open`."""
    if record.state is not State.DONE:
        return "open"
    return (
        "healthy"
        if search.is_healthy(record.outcome)
        else "pruned"
        if record.outcome is Outcome.PRUNED
        else "bad"
    )


def _reached(trial: TrialSpec, record: TrialRecord, metric: MetricSchema) -> float:
    value = value_of(record.result or {}, metric.name, metric.epoch)
    if value is None:
        why = "an older version trained it, or its training does not record it"
        what = f"{trial.name} has no {metric.name}, which its search goes by"
        raise UsageError(f"{what}: {why}. Remove {record.path} and run again")
    return value


def _prunings(
    search: Search, variant: Variant, metric: MetricSchema, finished: Sequence[Tried]
) -> dict[int, Pruning]:
    """What the variant's trials are held against: the same seed of the combinations that finished. Not at their own last epoch,
    where nothing is left to save.
    """
    rule, last = search.schema.prune, variant.config.train.epochs - 1
    if rule is None:
        return {}
    curves = {seed: [point.curves[seed] for point in finished] for seed in search.schema.seeds}
    least = {
        seed: thresholds(
            of_seed, metric.mode, first=rule.after, last=last, percentile=rule.percentile
        )
        for seed, of_seed in curves.items()
    }
    return {
        seed: Pruning(metric.name, metric.mode, of_seed)
        for seed, of_seed in least.items()
        if of_seed
    }


def _outcome(search: Search, records: Sequence[TrialRecord]) -> str:
    """Of the seed that matters most: one that failed, then one that is not done, then one that says nothing of its settings."""
    failed = [str(record.outcome) for record in records if record.state is State.FAILED]
    waiting = [str(record.state) for record in records if record.state is not State.DONE]
    bad = [str(record.outcome) for record in records if not search.is_healthy(record.outcome)]
    bad.sort(
        key=lambda outcome: outcome == Outcome.PRUNED
    )  # to have diverged with one seed says more
    return next(iter((*failed, *waiting, *bad)), "finished")


def _best(tried: Sequence[Tried], metric: MetricSchema) -> Tried:
    """The first of the best means; where nothing trained as it should, the first of all: something must be built on."""
    sign = 1 if metric.mode == "max" else -1
    return max(tried, key=lambda point: float("-inf") if point.mean is None else sign * point.mean)


def _suggested(
    search: Search, tried: Sequence[Tried], metric: MetricSchema, name: str
) -> list[Values]:
    """The next generation, whole even where the search ends inside of it."""
    seen = {point_key(point.values) for point in tried}
    count = search.schema.at_once
    if search.size is not None and search.size <= search.goal:
        return list(
            islice((point for point in search.points() if point_key(point) not in seen), count)
        )
    first = [search.as_it_is] if search.as_it_is and not tried else []
    seed = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    return [
        *first,
        *_asked(
            search, _told(tried, metric), {*seen, *map(point_key, first)}, count - len(first), seed
        ),
    ]


def _told(tried: Sequence[Tried], metric: MetricSchema) -> list[Told]:
    """A point that did not train as it should (diverged, collapsed) is worse than every other, not left out: what lies around it
    is to be avoided. One that was pruned is told as such, with where it stood then.
    """
    sign = 1 if metric.mode == "max" else -1
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
    search: Search, told: Sequence[Told], seen: set[str], count: int, seed: int
) -> list[Values]:
    """Ask Optuna for points that are not in `seen`. Those of one generation run at the same time: each is kept away from the
    others by Optuna's "constant liar".
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
    if search.schema.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=_FIRST_AT_RANDOM, constant_liar=True
        )
    study = optuna.create_study(sampler=sampler, direction="maximize")
    spaces = {key: _distribution(optuna.distributions, search, key) for key in search.schema.space}
    for values, gain, pruned_at in told:
        params = {key: _encoded(search.schema.space[key], value) for key, value in values.items()}
        how: dict[str, Any] = {"value": gain}
        if pruned_at is not None:
            how = {
                "state": optuna.trial.TrialState.PRUNED,
                "intermediate_values": {pruned_at: gain},
            }
        study.add_trial(optuna.create_trial(params=params, distributions=spaces, **how))
    points: list[Values] = []
    for _ in range(count):
        for _ in range(_DRAWS):
            trial = study.ask(spaces)
            point: Values = {
                key: _decoded(search, key, value) for key, value in trial.params.items()
            }
            if point_key(point) not in seen:
                break
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:  # nearly all of a space that can be counted
            left = next((point for point in search.points() if point_key(point) not in seen), None)
            if left is None:
                return points
            point = left
        seen.add(point_key(point))
        points.append(point)
    return points


def _distribution(kinds: Any, search: Search, key: str) -> Any:
    """`kinds` is `optuna.distributions`. Choices go by their number: Optuna takes no lists or mappings."""
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
