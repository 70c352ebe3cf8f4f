"""One invocation of `run` or `resume`: plan, lease, train, mirror, report."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial

from illama.config import DataConfig, UserData
from illama.data.datasets import data_directory, dataset_digest
from illama.weights.initial import init_path
from orchestrator.analysis import history
from orchestrator.analysis.roadmap import Roadmap, build_roadmap, other_metric
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.executors import Executor
from orchestrator.metrics import Mode
from orchestrator.planning.adaptive import more_seeds
from orchestrator.planning.capacity import shortage, this_machine
from orchestrator.planning.chosen_seeds import chosen_by_the_same_seeds
from orchestrator.planning.differences import code_of
from orchestrator.planning.first_weights import with_known_weights
from orchestrator.planning.plan import Action, Plan, later_trials, make_plan, trials_of, trials_with
from orchestrator.planning.reasons import with_reasons
from orchestrator.planning.representative import (
    Representative,
    has_network,
    has_networks,
    last_step,
    refuse_without_networks,
    representative,
)
from orchestrator.planning.search import Suggestions, with_searches
from orchestrator.planning.status import SweepStatus, status_of
from orchestrator.pruning import Pruning
from orchestrator.running.failures import FailureWatch
from orchestrator.running.queue import Observer, TrialQueue
from orchestrator.running.signals import graceful_stop
from orchestrator.running.view import RunView, Silent
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import SpecWarning
from orchestrator.store.lease import Lease
from orchestrator.store.provenance import provenance
from orchestrator.store.store import Store
from orchestrator.tracking import MlflowMirror
from orchestrator.tracking.background import BackgroundMirror
from orchestrator.tracking.models import import_in_advance, log_model, register_model
from orchestrator.trial import State, TrialRecord, TrialSpec, Variant


@dataclass(frozen=True)
class Job:
    """What an invocation was asked to do."""

    spec: SweepSpec
    store: Store
    executor: Executor
    tracking_uri: str | None
    """None mirrors nothing."""
    retry_failed: bool = False
    only: Sequence[str] = ()
    seeds: Sequence[int] = ()
    max_failures: int | None = None
    """Failures after which nothing more is started; 0 for however many. None stops where the first trials of several variants
    all fail of one cause."""
    trains_elsewhere: bool = False
    """Whether no trial trains in this process."""


@dataclass(frozen=True)
class Ending:
    """How an invocation ended."""

    plan: Plan
    """Made afresh at the end."""
    interrupted: bool
    stopped: str | None = None
    """Why trials were left although nobody interrupted: too many failures, or all of one cause."""

    @property
    def has_failures(self) -> bool:
        """Whether trials are left that failed."""
        return any(planned.action is Action.RETRY for planned in self.plan.trials)


def trials_in(
    spec: SweepSpec,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    store: Store,
    absent: list[str] | None = None,
) -> list[TrialSpec]:
    """As `known_sweep`, the trials alone."""
    return known_sweep(spec, store, only, seeds, absent=absent)[1]


def known_sweep(
    spec: SweepSpec,
    store: Store,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    absent: list[str] | None = None,
    keeps_suggestions: bool = False,
) -> tuple[SweepSpec, list[TrialSpec]]:
    """The spec with what searches have found so far, and its trials; among them what the results in `store` ask for: seeds that
    are added as needed, and the next trials of searches.

    Raises `UsageError` where `only` or `seeds` name what is not there, and where images cannot be read, unless there is `absent`
    to say so in: such trials have provisional fingerprints. `keeps_suggestions` is for the holder of the sweep's lease.
    """

    @cache
    def digest(data: DataConfig | UserData | None) -> str:
        try:
            return dataset_digest(data, spec.schema.runtime.data_dir)
        except (OSError, ValueError) as error:
            assert data is not None, "a training that names no data has nothing to be read here"
            message = f"cannot use the images of data '{data.name}': {error}"
            if absent is None:
                raise UsageError(message) from error
            absent.append(message)
            return "absent"

    fresh = Store(store.root)
    if spec.searches:

        def searched(
            variant: Variant, seeds: Sequence[int], prunings: Mapping[int, Pruning]
        ) -> list[tuple[TrialSpec, TrialRecord]]:
            known = with_known_weights(variant, spec)
            trials = trials_with(spec, known, seeds, digest(known.config.images))
            trials = [fresh.as_recorded(trial) for trial in trials]
            trials = [replace(trial, pruning=prunings.get(trial.seed)) for trial in trials]
            return [(trial, fresh.record(trial)) for trial in trials]

        suggestions = Suggestions(store.sweep_path(spec.name) / "searches", keeps=keeps_suggestions)
        spec = with_searches(spec, searched, suggestions)
    spec = replace(
        spec, variants=tuple(with_known_weights(variant, spec) for variant in spec.variants)
    )
    more: Mapping[str, Sequence[int]] = {}
    if spec.schema.adaptive:
        looks = history.looks_before(spec, store, spec.reported_metric.name)
        more = more_seeds(spec, digest, fresh.record, looks)
    trials = trials_of(spec, digest, only=only, seeds=seeds, more_seeds=more)
    return spec, [fresh.as_recorded(trial) for trial in trials]


def plan_sweep(
    spec: SweepSpec, store: Store, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> Plan:
    """What there is to do now; where images are not on this machine, with a warning and provisional fingerprints."""
    absent: list[str] = []
    spec, trials = known_sweep(spec, store, only, seeds, absent=absent)
    plan = make_plan(
        spec, trials, Store(store.root).record, later_trials(spec, only=only, seeds=seeds)
    )
    messages = [
        f"{message}; whether trials are done cannot be told" for message in dict.fromkeys(absent)
    ]
    warnings = [SpecWarning("data-absent", message, 0) for message in messages]
    if problem := shortage(plan.to_train(retry_failed=True), [this_machine()], "this machine"):
        warnings.append(
            SpecWarning(
                "resources-here", f"{problem}; it needs a cluster that has as much: --address", 0
            )
        )
    warnings += chosen_by_the_same_seeds(trials, store)
    return with_reasons(replace(plan, warnings=(*warnings, *plan.warnings)), store)


def report_sweep(
    spec: SweepSpec,
    store: Store,
    metric: str | None = None,
    mode: Mode | None = None,
    *,
    shown_by: str = "",
) -> Roadmap:
    """The roadmap as the store has it now, by the sweep's own metric or another that its trials recorded.

    `shown_by` is the command that shows it to somebody: that is a look, which the store remembers.
    Raises `UsageError` where no trial recorded the metric, or where `mode` has to say which direction is better.
    """
    spec, trials = known_sweep(spec, store)
    fresh = Store(store.root)
    records = [(trial, fresh.record(trial)) for trial in trials]
    chosen = spec.reported_metric
    if metric is not None:
        results = (record.result for _, record in records if record.result)
        chosen = other_metric(chosen, metric, mode, results)
    elif mode:
        raise UsageError("--mode says which direction of --metric is better: name that, too")
    by_name = {trial.name: record for trial, record in records}
    looks = history.looks_before(spec, store, chosen.name)
    roadmap = build_roadmap(spec, trials, lambda trial: by_name[trial.name], chosen, looks)
    roadmap = replace(
        roadmap,
        warnings=[*chosen_by_the_same_seeds(trials, fresh), *roadmap.warnings],
    )
    roadmap = history.with_declaration(roadmap, spec, store, records)
    if shown_by:
        history.looked_at(roadmap, spec, store, records, shown_by)
    return roadmap


def mirror_of(
    spec: SweepSpec, store: Store, tracking_uri: str, *, restore_deleted: bool = False
) -> MlflowMirror:
    """The sweep in MLflow; `restore_deleted` brings back what somebody deleted there."""
    return MlflowMirror(
        tracking_uri, *known_sweep(spec, store), store, restore_deleted=restore_deleted
    )


def sync_sweep(
    spec: SweepSpec, store: Store, tracking_uri: str, *, restore_deleted: bool = True
) -> None:
    """Rebuild or repair the MLflow view from the store, as its only writer.

    Raises `SweepInUse`, `StoreError`, `TrackingError`.
    """
    store.prepare(spec.name)
    with Lease(store.sweep_path(spec.name)):
        mirror_of(spec, store, tracking_uri, restore_deleted=restore_deleted).sync()


def status_sweep(spec: SweepSpec, store: Store) -> SweepStatus:
    """How every trial stands at this moment."""
    return status_of(spec.name, trials_in(spec, store=store), Store(store.root))


def register_network(
    spec: SweepSpec, store: Store, tracking_uri: str, step: str | None, seed: str, name: str
) -> tuple[str, Representative]:
    """Put the network that stands for a step (`representative`) into MLflow's registry as `name`; returns its address there.

    Raises `UsageError`, `SweepInUse`, `TrackingError`. What is there already is left as it is.
    """
    refuse_without_networks(spec)
    mirror = mirror_of(spec, store, tracking_uri)
    spec, _ = known_sweep(spec, store)
    chosen = representative(spec, mirror.trials, store.record, step, seed)
    store.prepare(spec.name)  # all its trials may have been trained in another sweep
    with Lease(store.sweep_path(spec.name)):
        mirror.sync([chosen.trial])
        run_id = mirror.run_id_of(chosen.trial)
        if run_id is None:
            message = f"the run of {chosen.trial.name} was deleted in MLflow, and its network belongs to it"
            raise UsageError(f"{message}; `orchestrator sync {spec.name}` restores it")
        model_id = log_model(tracking_uri, run_id, chosen)
        version = register_model(tracking_uri, model_id, run_id, name, chosen)
    return f"models:/{name}/{version}", chosen


def _log_last_network(spec: SweepSpec, store: Store, mirror: MlflowMirror) -> None:
    """Log the network that stands for the end of the road, once all trials there are done: one model, not one for each trial."""
    known = known_sweep(spec, store)[0] if spec.searches else spec
    end = last_step(known)
    if not end.is_known or not has_networks(spec):
        return
    trials = [
        trial for trial in mirror.trials if (trial.regime, trial.variant) == (end.regime, end.name)
    ]
    records = [store.record(trial) for trial in trials]
    if all(record.state is State.DONE for record in records) and any(
        has_network(record) for record in records
    ):
        chosen = representative(known, trials, store.record)
        if run_id := mirror.run_id_of(chosen.trial):  # none where somebody deleted it
            log_model(mirror.tracking_uri, run_id, chosen)


def run_sweep(job: Job, view: RunView | None = None) -> Ending:
    """Train what is missing, and what the results then ask for; `view` shows it, by default nobody.

    What happens to a trial is in the store. Raises `SweepInUse`, `StoreError`, `ClusterError`, and
    `SpecError` where what a search found does not go with a later step.
    """
    spec, store, view = job.spec, job.store, view or Silent()
    # what is wrong is told before anything is written
    known = known_sweep(spec, store, job.only, job.seeds)
    store.prepare(spec.name)
    interrupted = threading.Event()
    stopped = None
    with ExitStack() as stack:
        # takes seconds where another host was at it
        with view.waiting("making sure that nobody else is at this sweep"):
            lease = stack.enter_context(Lease(store.sweep_path(spec.name)))
        store.submit(spec.name, spec.content, spec.code)
        history.submitted(spec, store)
        plan = _plan_now(job, known if not spec.searches else None)
        view.planned(plan)
        todo = [_at_home_anywhere(trial) for trial in plan.to_train(retry_failed=job.retry_failed)]
        mirror = _mirrored(job, view)
        if mirror:
            stack.enter_context(mirror)
        if todo:
            stack.enter_context(
                view.training(plan, store, lease.session, retry_failed=job.retry_failed)
            )
            growth = _Growth(job, view, mirror)
            observers: list[Observer] = [mirror, view] if mirror else [view]
            queue = _queue_of(job, todo, lease.session, growth, observers)
            failures = FailureWatch(queue, job.max_failures)
            observers.append(failures)
            with graceful_stop(queue, lease, interrupted, view):
                job.executor(queue)
            if growth.error:
                raise growth.error
            stopped = failures.reason
    ending = plan_sweep(spec, store, job.only, job.seeds)
    return Ending(ending, interrupted.is_set(), stopped)


def _mirrored(job: Job, view: RunView) -> BackgroundMirror | None:
    """Mirror of the run in MLflow, where one is asked for."""
    if not job.tracking_uri:
        return None
    needs_models = job.trains_elsewhere and has_networks(job.spec)
    prepare = import_in_advance if needs_models else (lambda: None)
    finish = partial(_log_last_network, job.spec, job.store)
    mirror = mirror_of(job.spec, job.store, job.tracking_uri)
    return BackgroundMirror(mirror, view, prepare, finish)


def _queue_of(
    job: Job,
    todo: Sequence[TrialSpec],
    session: str,
    growth: "_Growth",
    observers: Sequence[Observer],
) -> TrialQueue:
    spec, store = job.spec, job.store
    more = growth if spec.searches or spec.schema.adaptive else None
    origin = provenance(spec.path.parent, store.sweep_path(spec.name), code_of(spec))
    return TrialQueue(todo, store, session, origin, observers, spec.schema.max_concurrent, more)


def _plan_now(job: Job, known: tuple[SweepSpec, list[TrialSpec]] | None = None) -> Plan:
    """What there is to do, asked for by the holder of the lease."""
    spec, trials = known or known_sweep(
        job.spec, job.store, job.only, job.seeds, keeps_suggestions=True
    )
    return make_plan(
        spec,
        trials,
        Store(job.store.root).record,
        later_trials(spec, only=job.only, seeds=job.seeds),
    )


class _Growth:
    """The trials that results ask for while a sweep runs: seeds that are added as needed, and the next generation of a search."""

    def __init__(self, job: Job, view: RunView, mirror: BackgroundMirror | None) -> None:
        self._job = job
        self._view = view
        self._mirror = mirror
        self.error: OrchestratorError | None = None
        """Why there is no telling; executors know no errors of specs."""

    def __call__(self, is_idle: bool) -> list[TrialSpec]:
        """All that is to be trained now, what runs among it; what failed is left alone. Seeds are asked for only by results that
        are whole: p-values are corrected for each other.
        """
        if self._job.spec.schema.adaptive and not is_idle:
            return []
        try:
            plan = _plan_now(self._job)
            new = [_at_home_anywhere(trial) for trial in plan.to_train(retry_failed=False)]
            if self._mirror and self._job.tracking_uri:
                self._mirror.follow(
                    mirror_of(self._job.spec, self._job.store, self._job.tracking_uri)
                )
        except OrchestratorError as error:
            self.error = error
            return []
        self._view.grown(plan)
        return new


def _at_home_anywhere(trial: TrialSpec) -> TrialSpec:
    """A worker has another current folder and another environment than the command that names the images relative to its own."""
    data_dir = data_directory(trial.runtime.data_dir).resolve()
    if trial.config.init:
        try:
            init_path(trial.config.init, data_dir)
        except OSError as error:
            raise UsageError(f"trial {trial.name} cannot start from its file: {error}") from error
    return replace(trial, runtime=trial.runtime.model_copy(update={"data_dir": data_dir}))
