"""Searches inside steps: what they have found, and what they try next.

The store is the truth, so a search is worked out from its records each time. Points are suggested in generations: a generation
depends on the results of those before it and on a seed that follows from the sweep, the repeat and the generation's number. So
neither the order in which trials end, nor the number of slots, nor a crash changes what is tried. Nor what is stopped early: a
trial is held against those of earlier generations alone, each seed against itself, and goes on after all where another seed of
its point is good enough. What was suggested is also kept beside the trials (`Suggestions`), so that another version of Optuna
does not turn a half-done search into another one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean

from orchestrator.errors import DamagedFile, StoreError, UsageError
from orchestrator.fingerprint import canonical_json
from orchestrator.metrics import value_of
from orchestrator.planning.suggest import suggested
from orchestrator.pruning import Pruning, thresholds
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.search_space import Search, Tried, Values
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.best_epoch import metrics_at_best
from orchestrator.store.damage import note
from orchestrator.store.files import load_json, write_json
from orchestrator.store.records import PointsRecord, check
from orchestrator.store.store import curve_of
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec, Variant

Trials = Callable[
    [Variant, Sequence[int], Mapping[int, Pruning]], list[tuple[TrialSpec, TrialRecord]]
]
"""The trials of a variant with some seeds, and what became of them; and, by seed, what stops them early."""

_SEEDS_OF_VERSION_0_1 = [1000]
"""Default of a search's seeds before there were three: its points are known by them."""


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
    done: dict[tuple[str, int], Search] = {}
    while True:
        spec = spec.with_found(_found(done, spec.repeats))
        followed = []
        for search in spec.searches:
            is_open = search.key not in done and search.variant.is_known
            followed.append(
                _followed(search, spec, trials, suggestions)
                if is_open
                else done.get(search.key, search)
            )
        now = {search.key: search for search in followed if search.chosen}
        if now.keys() == done.keys():
            return replace(spec, searches=tuple(followed))
        done = now


def _found(done: Mapping[tuple[str, int], Search], repeats: int) -> list[dict[str, Values]]:
    """What was chosen, for each repeat by the labels of the variants."""
    found: list[dict[str, Values]] = [{} for _ in range(repeats)]
    for (label, repeat), search in done.items():
        if search.chosen:
            found[repeat][label] = search.chosen.values
    return found


def _followed(search: Search, spec: SweepSpec, trials: Trials, suggestions: Suggestions) -> Search:
    """The search with its trials so far; those of one generation more where all that are known have ended."""
    identity = _identity(search, spec, trials)
    points = suggestions.known(search, identity) or _known_before(search, spec, trials, suggestions)
    tried: list[Tried] = []
    while len(tried) < search.goal and all(point.has_ended for point in tried):
        if len(points) <= len(tried):
            points += suggested(search, tried, spec.schema.metric.mode, spec.name)
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


def _known_before(
    search: Search, spec: SweepSpec, trials: Trials, suggestions: Suggestions
) -> list[Values]:
    """The points of a search that a spec without `seeds` began under version 0.1."""
    if search.repeat or "seeds" in search.schema.model_fields_set:
        return []
    schema = search.schema.model_copy(update={"seeds": _SEEDS_OF_VERSION_0_1})
    older = replace(search, schema=schema)
    return suggestions.known(older, _identity(older, spec, trials))


def _identity(search: Search, spec: SweepSpec, trials: Trials) -> str:
    """Digest of all that the suggestions depend on; more trials of the same search go on from those that are there, and so do
    more repeats, which differ in their seeds.
    """
    [(trial, _)] = trials(search.variant, [0], {})
    left_out = {"trials", "repeats"} if search.schema.prune else {"trials", "repeats", "prune"}
    asked = search.schema.model_dump(mode="json", exclude=left_out)
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
    if metric.epoch == "best":
        value = metrics_at_best(record, metric.name, metric.mode).get(metric.name)
    else:
        value = value_of(record.result or {}, metric.name)
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
    rule, last = search.schema.prune, variant.config.total - 1
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
