"""What is to be done: a spec's trials held against what the store knows. Pure; runs nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from typing import Any

from illama.config import DataConfig, RuntimeConfig, UserData, Workload
from illama.config.earlier import with_code_by_bytes
from illama.cost import size_of
from orchestrator.errors import UsageError, did_you_mean_one_of
from orchestrator.fingerprint import fingerprint_by_seed
from orchestrator.planning.estimates import Estimate, estimate_of
from orchestrator.pruning import Pruning
from orchestrator.spec.designs import SkippedCell
from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import SpecWarning, warnings_of
from orchestrator.trial import Outcome, Resources, State, TrialRecord, TrialSpec, Variant


class Action(StrEnum):
    """What becomes of a trial."""

    NEW = "new"
    """Trained from the beginning."""
    CONTINUE = "continue"
    """Goes on where it was interrupted."""
    RETRY = "retry"
    """Failed; tried again by `resume`, left alone by `run`."""
    REUSE = "reuse"
    """The same training is done elsewhere in the store."""
    DONE = "done"
    """There is a result."""


_ACTION_OF = {
    State.PENDING: Action.NEW,
    State.RUNNING: Action.CONTINUE,
    State.INTERRUPTED: Action.CONTINUE,
    State.FAILED: Action.RETRY,
    State.DONE: Action.DONE,
}


_NOT_KNOWN_YET = Pruning("", "max", {})
"""What stops a trial early whose generation is still to come."""


@dataclass(frozen=True)
class PlannedTrial:
    """A trial and what becomes of it."""

    trial: TrialSpec
    action: Action
    record: TrialRecord
    reason: str = ""
    """Why it is new, where it is: what differs from the nearest result in the store, and which that is."""
    differs: str = ""
    """The differences alone; empty where the store has nothing to hold it against."""


@dataclass(frozen=True)
class Plan:
    """Every trial of a sweep, in the order of the road."""

    spec: SweepSpec
    """With what is known of its searches."""
    trials: tuple[PlannedTrial, ...]
    warnings: tuple[SpecWarning, ...]
    adoptable: int = 0
    """New trials whose results other code gave, and which `adopt` would take over."""
    later: tuple[TrialSpec, ...] = ()
    """Trials that will follow once searches have found what they look for; the estimate counts them."""

    @property
    def sweep(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def skipped(self) -> tuple[SkippedCell, ...]:
        """Cells of the designs that make no sense, and why."""
        return self.spec.skipped

    @property
    def searches(self) -> tuple[Search, ...]:
        """With what is known of them."""
        return self.spec.searches

    @cached_property
    def estimate(self) -> Estimate:
        """What is left to do costs, and can show; made when it is looked at, for it is what takes longest about a plan."""
        left = [
            (p.trial, p.record) for p in self.trials if p.action in (Action.NEW, Action.CONTINUE)
        ]
        left += [(trial, TrialRecord(State.PENDING)) for trial in self.later]
        return estimate_of(self.spec, left, [(p.trial, p.record) for p in self.trials])

    @property
    def saved(self) -> int:
        """Trials that need not be trained because the same training is done, or will be, for another."""
        return sum(planned.action is Action.REUSE for planned in self.trials)

    def to_train(self, *, retry_failed: bool) -> list[TrialSpec]:
        """What `run`, or with `retry_failed` what `resume`, hands to an executor."""
        actions = {Action.NEW, Action.CONTINUE} | ({Action.RETRY} if retry_failed else set())
        return [planned.trial for planned in self.trials if planned.action in actions]

    def to_json(self) -> dict[str, Any]:
        """The form of `plan --json`."""
        return {
            "sweep": self.sweep,
            "trials": [_planned_to_json(planned) for planned in self.trials],
            "warnings": [warning.to_json() for warning in self.warnings],
            "estimate": {**self.estimate.to_json(), "saved": self.saved},
            "skipped": [vars(cell) for cell in self.skipped],
            "searches": [search.to_json() for search in self.searches],
            "later": len(self.later),
        }


def trials_of(
    spec: SweepSpec,
    dataset_digest: Callable[[DataConfig | UserData | None], str],
    *,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    more_seeds: Mapping[str, Sequence[int]] | None = None,
) -> list[TrialSpec]:
    """The spec's trials: variants in the order of the road, and each with every seed; `more_seeds` by variants' labels.

    `only` and `seeds` pick some of them. Raises `UsageError` where they name what the spec does not have.
    """
    _check_choice("step", only, [variant.name for variant in spec.road])
    _check_choice(
        "seed",
        seeds,
        range(spec.schema.adaptive.max) if spec.schema.adaptive else spec.schema.seeds,
    )
    digest_of = cache(dataset_digest)
    wanted = {search.key: search for search in spec.searches if _is_asked_for(search, spec, only)}
    trials = []
    for variant in spec.variants:
        for repeat in range(spec.repeats):
            if search := wanted.pop((variant.label, repeat), None):
                trials += search.trials
        if only and variant.name not in only:
            continue
        every = [*spec.schema.seeds, *(more_seeds or {}).get(variant.label, [])]
        chosen = [seed for seed in every if not seeds or seed in seeds]
        trials += _with_seeds(spec, variant, chosen, digest_of)
    return trials + [trial for search in wanted.values() for trial in search.trials]


def _with_seeds(
    spec: SweepSpec,
    variant: Variant,
    seeds: Sequence[int],
    digest_of: Callable[[DataConfig | UserData | None], str],
) -> list[TrialSpec]:
    """Some seeds of a variant, each with what its repeat of the searches found."""
    if not variant.repeated:
        return trials_with(spec, variant, seeds, digest_of(variant.config.images))
    trials = []
    for seed in seeds:
        settled = variant.of_seed(seed)
        trials += trials_with(spec, settled, [seed], digest_of(settled.config.images))
    return trials


def later_trials(
    spec: SweepSpec, *, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[TrialSpec]:
    """What will follow once searches have found what they look for, as far as it can be told: names and costs, no identity."""
    trials = []
    for search in spec.searches:
        if _is_asked_for(search, spec, only):
            for number in range(len(search.tried) + 1, search.goal + 1):
                made = trials_with(
                    spec, search.variant_of(number, {}), search.schema.seeds, "later"
                )
                is_judged = search.schema.prune and number > search.schema.at_once
                trials += (
                    [replace(trial, pruning=_NOT_KNOWN_YET) for trial in made]
                    if is_judged
                    else made
                )
    for variant in spec.unknown:
        if not only or variant.name in only:
            chosen = [seed for seed in spec.schema.seeds if not seeds or seed in seeds]
            trials += trials_with(spec, variant, chosen, "later")
    return trials


def _is_asked_for(search: Search, spec: SweepSpec, only: Sequence[str]) -> bool:
    """Also by a step that builds on what it finds; the search has seeds of its own."""
    return not only or any(
        variant.name in only and search.is_needed_by(variant) for variant in spec.road
    )


def make_plan(
    spec: SweepSpec,
    trials: Sequence[TrialSpec],
    record_of: Callable[[TrialSpec], TrialRecord],
    later: Sequence[TrialSpec] = (),
) -> Plan:
    """Hold the trials against the records of the store; `later` are those that will follow (`later_trials`)."""
    planned: list[PlannedTrial] = []
    seen: set[str] = set()
    for trial in trials:
        record = record_of(trial)
        action = _ACTION_OF[record.state]
        if (action is Action.DONE and record.is_of_another(trial)) or trial.fingerprint in seen:
            action = Action.REUSE
        if record.state is not State.DONE or record.outcome is not Outcome.PRUNED:
            # whoever asks for that in full trains it
            seen.add(trial.fingerprint)
        planned.append(PlannedTrial(trial, action, record))
    return Plan(spec, tuple(planned), tuple(warnings_of(spec)), later=tuple(later))


def trials_with(
    spec: SweepSpec, variant: Variant, seeds: Sequence[int], digest: str
) -> list[TrialSpec]:
    """Some seeds of a variant; `digest` is that of its data."""
    runtime = _runtime(spec.schema.runtime, variant.resources, variant.config)
    earlier_config = with_code_by_bytes(variant.config)
    trials = _trials_of_config(spec, variant, seeds, digest, variant.config, runtime)
    if earlier_config is None:
        return trials
    earlier = _trials_of_config(spec, variant, seeds, digest, earlier_config, runtime)
    return [replace(trial, earlier=same) for trial, same in zip(trials, earlier, strict=True)]


def _trials_of_config(
    spec: SweepSpec,
    variant: Variant,
    seeds: Sequence[int],
    digest: str,
    config: Workload,
    runtime: RuntimeConfig,
) -> list[TrialSpec]:
    fingerprint_of = fingerprint_by_seed(config, digest)
    return [
        TrialSpec(
            sweep=spec.name,
            variant=variant.name,
            regime=variant.regime,
            seed=seed,
            changes=variant.changes,
            config=config.model_copy(update={"seed": seed}),
            fingerprint=fingerprint_of(seed),
            resources=variant.resources,
            runtime=runtime,
            metric=spec.schema.metric.name,
        )
        for seed in seeds
    ]


def _runtime(runtime: RuntimeConfig, resources: Resources, config: Workload) -> RuntimeConfig:
    """With what the spec leaves to the resources: a process for each GPU, and a thread for each core.

    A user training is one process, whatever it makes of its GPUs.
    """
    on_gpus = (
        runtime.device != "cpu"
        and "processes" not in runtime.model_fields_set
        and config.can.spans_processes
    )
    processes = max(1, int(resources.gpus)) if on_gpus else runtime.processes
    threads = (
        max(1, int(resources.cpus) // processes)
        if "num_threads" not in runtime.model_fields_set
        else runtime.num_threads
    )
    return runtime.model_copy(update={"processes": processes, "num_threads": threads})


def _check_choice(kind: str, chosen: Sequence[object], allowed: Sequence[object]) -> None:
    for item in chosen:
        if item not in allowed:
            hint = did_you_mean_one_of(str(item), list(dict.fromkeys(map(str, allowed))))
            raise UsageError(f"the spec has no {kind} {item!r}{hint}")


def _planned_to_json(planned: PlannedTrial) -> dict[str, Any]:
    trial = planned.trial
    params, flops = size_of(trial.config)
    return {
        "name": trial.name,
        "variant": trial.variant,
        "regime": trial.regime,
        "seed": trial.seed,
        "fingerprint": trial.fingerprint,
        "changes": dict(trial.changes),
        "params": params,
        "flops": flops,
        "action": planned.action,
        "reason": planned.reason or None,
    }
