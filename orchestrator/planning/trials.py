"""Trials of a spec: variants with seeds, without a look at the store. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from illama.config import DataConfig, RuntimeConfig, UserData, Workload
from illama.config.earlier import with_code_by_bytes
from illama.measures import Request
from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.fingerprint import fingerprint_by_seed
from orchestrator.pruning import Pruning
from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Resources, TrialSpec, Variant

Digest = Callable[[DataConfig | UserData | None], str]
"""Digest of what a data set holds."""
Asked = Mapping[str, Sequence[TrialSpec]]
"""Trials by the label of the variant that they are for."""
_NOT_KNOWN_YET = Pruning("", "max", {})
"""Placeholder for the rule that stops a trial early whose generation is still to come."""


@dataclass(frozen=True)
class Choice:
    """Part of a sweep that is asked for; by default all of it."""

    only: Sequence[str] = ()
    """Names of steps."""
    seeds: Sequence[int] = ()

    def check(self, spec: SweepSpec) -> None:
        """Raise `UsageError` where it names what the spec does not have."""
        _check_choice("step", self.only, [variant.name for variant in spec.road])
        _check_choice("seed", self.seeds, spec.schema.possible_seeds)

    def has(self, variant: Variant) -> bool:
        """True if the variant is asked for."""
        return not self.only or variant.name in self.only

    def seeds_of(self, seeds: Sequence[int]) -> list[int]:
        """Part of `seeds` that is asked for."""
        return [seed for seed in seeds if not self.seeds or seed in self.seeds]

    def has_search(self, search: Search, spec: SweepSpec) -> bool:
        """True if a step that is asked for needs what the search finds; its seeds are its own."""
        return not self.only or any(
            variant.name in self.only and search.is_needed_by(variant) for variant in spec.road
        )


def _check_choice(kind: str, chosen: Sequence[object], allowed: Sequence[object]) -> None:
    for item in chosen:
        if item not in allowed:
            hint = did_you_mean_one_of(str(item), list(dict.fromkeys(map(str, allowed))))
            raise UsageError(f"the spec has no {kind} {item!r}{hint}")


def trials_of(
    spec: SweepSpec,
    dataset_digest: Digest,
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    more_seeds: Mapping[str, Sequence[int]] | None = None,
) -> list[TrialSpec]:
    """The spec's trials: variants in the order of the road, and each with every seed.

    `more_seeds` come on top, by variants' labels; `only` and `seeds` pick some of them. Raises
    `UsageError` where they name what the spec does not have.
    """
    choice = Choice(only, seeds)
    choice.check(spec)
    digest = cache(dataset_digest)
    asked = [
        search_trials(spec, choice),
        seed_trials(spec, choice, digest),
        seed_trials(spec, choice, digest, more_seeds or {}),
    ]
    return in_order(spec, asked)


def in_order(spec: SweepSpec, asked: Sequence[Asked]) -> list[TrialSpec]:
    """All that is asked for in the order of the road, and behind it what waits for a search."""
    known = [variant.label for variant in spec.variants]
    waiting = dict.fromkeys(label for one in asked for label in one if label not in set(known))
    return [trial for label in (*known, *waiting) for one in asked for trial in one.get(label, ())]


def search_trials(spec: SweepSpec, choice: Choice) -> dict[str, list[TrialSpec]]:
    """Points that the searches of the spec try now."""
    asked: dict[str, list[TrialSpec]] = {}
    for search in spec.searches:
        if choice.has_search(search, spec):
            asked.setdefault(search.label, []).extend(search.trials)
    return asked


def seed_trials(
    spec: SweepSpec,
    choice: Choice,
    digest: Digest,
    seeds: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, list[TrialSpec]]:
    """Every variant that is known with the spec's first seeds, or with `seeds` by its label."""
    asked: dict[str, list[TrialSpec]] = {}
    for variant in spec.variants:
        if not choice.has(variant):
            continue
        chosen = choice.seeds_of(spec.schema.seeds)
        if seeds is not None:
            chosen = choice.seeds_of(seeds.get(variant.label, ()))
        if chosen:
            asked[variant.label] = _with_seeds(spec, variant, chosen, digest)
    return asked


def _with_seeds(
    spec: SweepSpec, variant: Variant, seeds: Sequence[int], digest: Digest
) -> list[TrialSpec]:
    """Some seeds of a variant, each with what its repeat of the searches found."""
    if not variant.repeated:
        return trials_with(spec, variant, seeds, digest(variant.config.images))
    trials = []
    for seed in seeds:
        settled = variant.of_seed(seed)
        trials += trials_with(spec, settled, [seed], digest(settled.config.images))
    return trials


def later_trials(
    spec: SweepSpec, *, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[TrialSpec]:
    """Trials that will follow once searches have found what they look for, as far as it can be
    told.

    They have names and costs, and no identity.
    """
    choice = Choice(only, seeds)
    return [*later_points(spec, choice), *later_seeds(spec, choice)]


def later_points(spec: SweepSpec, choice: Choice) -> list[TrialSpec]:
    """Points of searches that are still to be suggested."""
    trials = []
    for search in spec.searches:
        if not choice.has_search(search, spec):
            continue
        for number in range(len(search.tried) + 1, search.goal + 1):
            variant = search.variant_of(number, {})
            made = trials_with(spec, variant, search.schema.seeds, "later")
            if search.schema.prune and number > search.schema.at_once:
                made = [replace(trial, pruning=_NOT_KNOWN_YET) for trial in made]
            trials += made
    return trials


def later_seeds(spec: SweepSpec, choice: Choice) -> list[TrialSpec]:
    """Seeds of variants that wait for a search."""
    seeds = choice.seeds_of(spec.schema.seeds)
    trials = []
    for variant in spec.unknown:
        if choice.has(variant):
            trials += trials_with(spec, variant, seeds, "later")
    return trials


def trials_with(
    spec: SweepSpec, variant: Variant, seeds: Sequence[int], digest: str
) -> list[TrialSpec]:
    """Some seeds of a variant; `digest` is that of its data."""
    trials = _trials_of(spec, variant, seeds, digest)
    earlier_config = with_code_by_bytes(variant.config)
    if earlier_config is None:
        return trials
    earlier = _trials_of(spec, replace(variant, config=earlier_config), seeds, digest)
    return [replace(trial, earlier=same) for trial, same in zip(trials, earlier, strict=True)]


def _trials_of(
    spec: SweepSpec, variant: Variant, seeds: Sequence[int], digest: str
) -> list[TrialSpec]:
    fingerprint_of = fingerprint_by_seed(variant.config, digest)
    runtime = _runtime(spec.schema.runtime, variant.resources, variant.config)
    runtime = _keeping(runtime, spec.schema.measure, variant.config)
    return [
        TrialSpec(
            sweep=spec.name,
            variant=variant.name,
            regime=variant.regime,
            seed=seed,
            changes=variant.changes,
            config=variant.config.model_copy(update={"seed": seed}),
            fingerprint=fingerprint_of(seed),
            resources=variant.resources,
            runtime=runtime,
            metric=spec.schema.metric.name,
        )
        for seed in seeds
    ]


def _keeping(
    runtime: RuntimeConfig, measures: Sequence[Request], config: Workload
) -> RuntimeConfig:
    """Runtime that keeps the weights of every epoch that a measure asks for."""
    asked = [request.every for request in measures if request.every]
    if not asked or not config.can.keeps_network:
        return runtime
    every = math.gcd(*asked, runtime.keep_every or 0)
    return runtime.model_copy(update={"keep_every": every})


def _runtime(runtime: RuntimeConfig, resources: Resources, config: Workload) -> RuntimeConfig:
    """Runtime with what the spec leaves to the resources: a process per GPU, a thread per core.

    A user training is one process, whatever it makes of its GPUs.
    """
    given, processes, threads = runtime.model_fields_set, runtime.processes, runtime.num_threads
    on_gpus = runtime.device != "cpu" and config.can.spans_processes
    if on_gpus and "processes" not in given:
        processes = max(1, int(resources.gpus))
    if "num_threads" not in given:
        threads = max(1, int(resources.cpus) // processes)
    return runtime.model_copy(update={"processes": processes, "num_threads": threads})
