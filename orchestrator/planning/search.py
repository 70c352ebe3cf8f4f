"""Searches inside steps: what they have found, and what they try next.

The store is the truth, so a search is worked out from its records each time. Points are suggested
in generations: a generation depends on the results of those before it and on a seed that follows
from the sweep, the repeat and the generation's number. So neither the order in which trials end,
nor the number of slots, nor a crash changes what is tried. Nor what is stopped early: a trial is
compared with those of earlier generations alone, each seed against itself, and goes on after all
where another seed of its point is good enough. What was suggested is also kept beside the trials
(`Suggestions`), so that another version of Optuna does not turn a half-done search into another
one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import fmean

from illama.cost import size_of
from orchestrator.analysis.reading import figure_of
from orchestrator.errors import DamagedFile, StoreError, UsageError
from orchestrator.fingerprint import canonical_json
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.suggest import suggested
from orchestrator.pruning import Curve, Pruning, thresholds
from orchestrator.spec.goals import SIZES, Goal
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.spec.search_space import Search, Tried, Values
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.damage import note
from orchestrator.store.files import load_json, write_json
from orchestrator.store.records import PointsRecord, check
from orchestrator.store.store import curve_of
from orchestrator.trial import KnownTrial, TrialRecord, Variant

_SEEDS_OF_VERSION_0_1 = [1000]
"""Default of a search's seeds before there were three: its points are known by them."""


class Suggestions:
    """Points that were suggested before, a file for each search; without it they are the same."""

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


def with_searches(spec: SweepSpec, lookup: Lookup, suggestions: Suggestions) -> SweepSpec:
    """The spec as far as results make it known: what searches have found is part of their steps,
    others say what they try now.

    Raises `SpecError` where what was found does not go with a later step.
    """
    done: dict[tuple[str, int], Search] = {}
    while True:
        spec = spec.with_found(_found(done, spec.repeats))
        followed = []
        for search in spec.searches:
            known = done.get(search.key, search)
            if search.key not in done and search.variant.is_known:
                known = _advanced(search, spec, lookup, suggestions)
            followed.append(known)
        now = {search.key: search for search in followed if search.chosen}
        if now.keys() == done.keys():
            return replace(spec, searches=tuple(followed))
        done = now


def _found(done: Mapping[tuple[str, int], Search], repeats: int) -> list[dict[str, Values]]:
    """Settings that were chosen, for each repeat by the labels of the variants."""
    found: list[dict[str, Values]] = [{} for _ in range(repeats)]
    for (label, repeat), search in done.items():
        if search.chosen:
            found[repeat][label] = search.settled(search.chosen.values)
    return found


def _advanced(search: Search, spec: SweepSpec, lookup: Lookup, suggestions: Suggestions) -> Search:
    """The search with its trials so far; those of one generation more where all that are known have
    ended.
    """
    identity = _identity(search, spec, lookup)
    points = suggestions.known(search, identity)
    points = points or _known_before(search, spec, lookup, suggestions)
    metric = spec.schema.metric
    tried: list[Tried] = []
    while len(tried) < search.goal and _have_ended(tried):
        if len(points) <= len(tried):
            points += suggested(search, tried, goals_of(search.schema, metric), spec.name)
            suggestions.keep(search, identity, points)
        end = min(len(tried) + search.schema.at_once, search.goal)
        evaluator = _Evaluator(search, lookup, metric, tuple(tried))
        tried += [evaluator.point(number + 1, points[number]) for number in range(len(tried), end)]
    search = replace(search, tried=tuple(tried), chosen=None)
    if len(tried) < search.goal or not _have_ended(tried):
        return search
    return replace(search, chosen=_best(search.schema, tried, metric))


def _have_ended(points: Sequence[Tried]) -> bool:
    return all(point.has_ended for point in points)


def _known_before(
    search: Search, spec: SweepSpec, lookup: Lookup, suggestions: Suggestions
) -> list[Values]:
    """Points of a search that a spec without `seeds` began under version 0.1."""
    if search.repeat or "seeds" in search.schema.model_fields_set:
        return []
    schema = search.schema.model_copy(update={"seeds": _SEEDS_OF_VERSION_0_1})
    older = replace(search, schema=schema)
    return suggestions.known(older, _identity(older, spec, lookup))


def _identity(search: Search, spec: SweepSpec, lookup: Lookup) -> str:
    """Digest of all that the suggestions depend on."""
    [known] = lookup.with_seeds(search.variant, [0])
    metric = spec.schema.metric.model_dump(exclude={"also"})
    parts = [spec.name, known.spec.fingerprint, search.schema.identifying(), metric]
    return sha256(canonical_json(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _Evaluator:
    """Points of one generation of a search, evaluated from the records of their trials."""

    search: Search
    lookup: Lookup
    metric: MetricSchema
    earlier: tuple[Tried, ...]
    """Points of the generations before."""

    def point(self, number: int, values: Values) -> Tried:
        """The point of this number, from 1, with what its trials came to."""
        search = self.search
        variant = search.variant_of(number, values)
        found = self._trials(variant)
        records = [known.record for known in found]
        done = [record for record in records if record.state is State.DONE]
        means = self._means(found)
        return Tried(
            values=values,
            variant=variant,
            trials=[known.spec for known in found],
            outcome=_outcome(search, records),
            has_ended=len(done) == len(records),
            mean=means.get(self.metric.name),
            means=means,
            failed=[known.spec.name for known in found if known.record.state is State.FAILED],
            seconds=sum(record.seconds or 0.0 for record in done),
            curves=self._curves(found),
            pruned_at=self._pruned_at(records),
        )

    def _pruned_at(self, records: Sequence[TrialRecord]) -> int | None:
        """Epoch at which the first seed was stopped early; None where not all of them were."""
        if any(_ending(self.search, record) != "pruned" for record in records):
            return None
        return min(int(record.epoch) for record in records)

    def _trials(self, variant: Variant) -> tuple[KnownTrial, ...]:
        """The trials of a point, each compared with what stops it early.

        Where one seed is good enough, the others go on after all.
        """
        seeds = self.search.schema.seeds
        finished = [point for point in self.earlier if point.mean is not None]
        prunings = _prunings(self.search, variant, self.metric, finished)
        found = self.lookup.with_seeds(variant, seeds, prunings)
        endings = {_ending(self.search, known.record) for known in found}
        if endings == {"healthy", "pruned"}:
            found = self.lookup.with_seeds(variant, seeds)
        return found

    def _means(self, found: Sequence[KnownTrial]) -> dict[str, float]:
        """Means over seeds by metric; empty where one of them did not train as it should."""
        if any(_ending(self.search, known.record) != "healthy" for known in found):
            return {}
        return {
            goal.name: fmean(_reached(known, goal.name, self.metric) for known in found)
            for goal in goals_of(self.search.schema, self.metric)
        }

    def _curves(self, found: Sequence[KnownTrial]) -> dict[int, Curve]:
        """Curves by seed, which later generations are compared with; empty where nothing is
        pruned.
        """
        if not self.search.schema.prune:
            return {}
        return {known.spec.seed: curve_of(known.record, self.metric.name) for known in found}


def _ending(search: Search, record: TrialRecord) -> str:
    """Verdict of a trial on its settings: `healthy`, `pruned`, `bad`, or `open` before it is
    done.
    """
    if record.state is not State.DONE:
        return "open"
    if search.is_healthy(record.outcome):
        return "healthy"
    if record.outcome is Outcome.PRUNED:
        return "pruned"
    return "bad"


def goals_of(schema: SearchSchema, metric: MetricSchema) -> Sequence[Goal]:
    """The metrics that a search optimizes, the sweep's first."""
    return schema.metric or [Goal(name=metric.name, mode=metric.mode)]


def _reached(known: KnownTrial, name: str, metric: MetricSchema) -> float:
    """The metric `name` of a trial, at the epoch that the sweep's `metric` is read at."""
    value = _recorded(known, name, metric)
    if value is None:
        why = "an older version trained it, or its training does not record it"
        what = f"{known.spec.name} has no {name}, which its search optimizes"
        raise UsageError(f"{what}: {why}. Delete {known.record.path} and run again")
    return value


def _recorded(known: KnownTrial, name: str, metric: MetricSchema) -> float | None:
    params, flops = size_of(known.spec.config)
    if name in SIZES and params is not None:
        return {"params": params, "flops": flops}[name]
    return figure_of(known.record, metric, name)


def _prunings(
    search: Search, variant: Variant, metric: MetricSchema, finished: Sequence[Tried]
) -> dict[int, Pruning]:
    """Return what each seed's trial is compared with: the same seed of the combinations that
    finished. Not at their own last epoch, where nothing is left to save.
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
    """Outcome of the seed that matters most: one that failed, then one that is not done, then a bad
    one.
    """
    failed = [str(record.outcome) for record in records if record.state is State.FAILED]
    waiting = [str(record.state) for record in records if record.state is not State.DONE]
    bad = [str(record.outcome) for record in records if not search.is_healthy(record.outcome)]
    # to have diverged with one seed says more
    bad.sort(key=lambda outcome: outcome == Outcome.PRUNED)
    return [*failed, *waiting, *bad, "finished"][0]


def _best(schema: SearchSchema, tried: Sequence[Tried], metric: MetricSchema) -> Tried:
    """The first of the best means; where nothing trained as it should, the first of all: something
    must be built on.

    Of several metrics those behind the first decide where it leaves equals, or `within` of the
    best.
    """
    known = [point for point in tried if point.mean is not None]
    if not known:
        return tried[0]
    goals = goals_of(schema, metric)
    gains = {id(point): point.gains(goals) for point in known}
    best = max(gain[0] for gain in gains.values())
    alike = [point for point in known if gains[id(point)][0] >= best - (schema.within or 0.0)]
    return max(alike, key=lambda point: (*gains[id(point)][1:], gains[id(point)][0]))
