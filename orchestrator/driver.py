"""One invocation of `run` or `resume`: plan, lease, train, mirror, report."""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from illama.data.datasets import data_directory
from illama.weights.initial import init_path
from orchestrator.analysis import history
from orchestrator.analysis.roadmap import Roadmap, build_roadmap, other_metric
from orchestrator.analysis.snapshot import ABSENT, Snapshot
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.executors import Executor
from orchestrator.metrics import Mode
from orchestrator.outcomes import State
from orchestrator.planning import sources
from orchestrator.planning.budget import budget_of, budget_warnings
from orchestrator.planning.capacity import shortage, this_machine
from orchestrator.planning.chosen_seeds import chosen_by_the_same_seeds
from orchestrator.planning.differences import code_of
from orchestrator.planning.pace import Pace
from orchestrator.planning.plan import Action, Plan, make_plan
from orchestrator.planning.reasons import with_reasons
from orchestrator.planning.representative import (
    Representative,
    has_network,
    has_networks,
    last_step,
    refuse_without_networks,
    representative,
)
from orchestrator.planning.survey import survey
from orchestrator.planning.trials import Choice
from orchestrator.report.formats import render
from orchestrator.running import ending_command
from orchestrator.running.failures import FailureWatch
from orchestrator.running.keeping import DroppedCheckpoints
from orchestrator.running.overdue import OverdueWatch
from orchestrator.running.queue import Observer, TrialQueue
from orchestrator.running.signals import graceful_stop
from orchestrator.running.spending import SpendingWatch
from orchestrator.running.view import RunView, Silent
from orchestrator.spec.ending_command import filled_words, mentions
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import SpecWarning
from orchestrator.store.files import write_whole
from orchestrator.store.lease import Lease, live_session
from orchestrator.store.provenance import provenance
from orchestrator.store.store import Store
from orchestrator.tracking.background import BackgroundMirror
from orchestrator.tracking.base import Tracker, TrackerKind, tracker_kind
from orchestrator.tracking.mlflow_kind import MLFLOW, create
from orchestrator.tracking.models import log_model, register_model
from orchestrator.trial import TrialSpec


@dataclass(frozen=True)
class Job:
    """Order to an invocation."""

    spec: SweepSpec
    store: Store
    executor: Executor
    tracking_uri: str | None
    """The address of the tracking server; None mirrors nothing."""
    retry_failed: bool = False
    only: Sequence[str] = ()
    seeds: Sequence[int] = ()
    max_failures: int | None = None
    """Failures after which nothing more is started: see `FailureWatch`."""
    trains_elsewhere: bool = False
    """True if no trial trains in this process."""

    @property
    def choice(self) -> Choice:
        """Part of the sweep that is asked for."""
        return Choice(self.only, self.seeds)


@dataclass(frozen=True)
class Ending:
    """End of an invocation."""

    plan: Plan
    """Plan that was made afresh at the end."""
    interrupted: bool
    stopped: str | None = None
    """Reason why trials were left although nobody interrupted: failures, or a spent budget."""

    def __repr__(self) -> str:
        name = self.plan.sweep
        if self.has_failures:
            name = f"{name}, with failures"
        return f"<ending of {name}: {self.stopped or 'nothing stopped it'}>"

    @property
    def outcome(self) -> str:
        """`failed` where trials did, `stopped` where trials are left, else `finished`."""
        if self.has_failures:
            return "failed"
        if self.stopped:
            return "stopped"
        return "finished"

    @property
    def has_failures(self) -> bool:
        """True if trials are left that failed."""
        return any(planned.action is Action.RETRY for planned in self.plan.trials)


def plan_sweep(
    spec: SweepSpec, store: Store, only: Sequence[str] = (), seeds: Sequence[int] = ()
) -> Plan:
    """Plan of what there is to do; images that are not here bring a warning and provisional
    fingerprints.
    """
    snapshot = survey(spec, store, Choice(only, seeds), may_lack_images=True)
    plan = make_plan(snapshot)
    why = "so it is unknown which trials are already done"
    warnings = [SpecWarning(ABSENT, f"{message}; {why}", 0) for message in snapshot.absent]
    if problem := shortage(plan.to_train(retry_failed=True), [this_machine()], "this machine"):
        hint = "name a larger cluster with --address"
        warnings.append(SpecWarning("resources-here", f"{problem}; {hint}", 0))
    warnings += chosen_by_the_same_seeds(snapshot.specs, store)
    warnings += budget_warnings(spec, snapshot.trials)
    return with_reasons(replace(plan, warnings=(*warnings, *plan.warnings)), store)


def report_sweep(
    spec: SweepSpec,
    store: Store,
    metric: str | None = None,
    mode: Mode | None = None,
    *,
    shown_by: str = "",
) -> Roadmap:
    """The roadmap as the store has it now, by the sweep's own metric or another that its trials
    recorded.

    Images that are not here bring a warning where the store has no trial of the sweep, so that what
    is asked for and published can be seen; else they are needed, for results are known by them.

    `shown_by` is the command that shows it to somebody: that is a look, which the store remembers.
    Raises `UsageError` where no trial recorded the metric, or where `mode` has to say which
    direction is better.
    """
    at_work = live_session(store.sweep_path(spec.name))
    may_lack = not store.has_trials(spec.name)
    snapshot = survey(spec, store, may_lack_images=may_lack, live_session=at_work)
    chosen = snapshot.spec.reported_metric
    if metric is not None:
        records = (known.record for known in snapshot.trials)
        results = (record.result for record in records if record.result)
        chosen = other_metric(chosen, metric, mode, results)
    elif mode:
        raise UsageError("--mode gives the direction of --metric: name --metric as well")
    looks = history.looks_before(snapshot.spec, store, chosen.name)
    roadmap = build_roadmap(snapshot, chosen, looks)
    why = "so only the spec is shown, without results that it shares with other sweeps"
    warnings = [SpecWarning(ABSENT, f"{message}; {why}", 0) for message in snapshot.absent]
    warnings += [*chosen_by_the_same_seeds(snapshot.specs, store), *roadmap.warnings]
    warnings += budget_warnings(spec, snapshot.trials)
    roadmap = history.with_declaration(replace(roadmap, warnings=warnings), snapshot, store)
    if shown_by:
        history.looked_at(roadmap, snapshot, store, shown_by)
    return roadmap


def tracker_of(
    snapshot: Snapshot, store: Store, address: str, *, restore_deleted: bool = False
) -> Tracker:
    """The view of a sweep at an address; `restore_deleted` brings back what was deleted there."""
    return tracker_kind(address).create(address, snapshot, store, restore_deleted)


def sync_sweep(
    spec: SweepSpec, store: Store, tracking_uri: str, *, restore_deleted: bool = True
) -> None:
    """Rebuild or repair the view at an address, MLflow's for instance, as its only writer.

    Raises `SweepInUse`, `StoreError`, `TrackingError`.
    """
    store.prepare(spec.name)
    with Lease(store.sweep_path(spec.name)):
        snapshot = survey(spec, store)
        tracker_of(snapshot, store, tracking_uri, restore_deleted=restore_deleted).sync()


def register_network(
    spec: SweepSpec, store: Store, tracking_uri: str, step: str | None, seed: str, name: str
) -> tuple[str, Representative]:
    """Put the network that stands for a step (`representative`) into MLflow's registry as `name`;
    returns its address there.

    Raises `UsageError`, `SweepInUse`, `TrackingError`. What is there already is left as it is.
    """
    refuse_without_networks(spec)
    if tracker_kind(tracking_uri) is not MLFLOW:
        raise UsageError(f"only MLflow has a model registry, found {tracking_uri}")
    snapshot = survey(spec, store)
    mirror = create(tracking_uri, snapshot, store)
    chosen = representative(snapshot, step, seed)
    store.prepare(spec.name)  # all its trials may have been trained in another sweep
    with Lease(store.sweep_path(spec.name)):
        mirror.sync([chosen.trial])
        run_id = mirror.run_id_of(chosen.trial)
        if run_id is None:
            message = (
                f"the run of {chosen.trial.name}, which the network belongs to, was deleted "
                "in MLflow"
            )
            raise UsageError(f"{message}; `orchestrator sync {spec.name}` restores it")
        model_id = log_model(tracking_uri, run_id, chosen)
        version = register_model(tracking_uri, model_id, run_id, name, chosen)
    return f"models:/{name}/{version}", chosen


def _keep_last_network(spec: SweepSpec, store: Store, kind: TrackerKind, tracker: Tracker) -> None:
    """Show the network that stands for the end of the road, once all trials there are done: one
    network, not one for each trial.
    """
    if not has_networks(spec):
        return
    snapshot = survey(spec, Store(store.root))  # a store of its own for the tracker's thread
    end = last_step(snapshot.spec)
    records = [known.record for known in snapshot.of(end)]
    if not end.is_known or any(record.state is not State.DONE for record in records):
        return
    if any(has_network(record) for record in records):
        kind.keep_network(tracker, representative(snapshot))


def run_sweep(job: Job, view: RunView | None = None) -> Ending:
    """Train what is missing, and what the results then ask for; `view` shows it, by default nobody.

    What happens to a trial is in the store. Raises `SweepInUse`, `StoreError`, `ClusterError`, and
    `SpecError` where what a search found does not go with a later step.
    """
    spec, store, view = job.spec, job.store, view or Silent()
    # what is wrong is told before anything is written; of a folder, `prepare` says it in words
    with suppress(NotADirectoryError), view.waiting("planning"):
        survey(spec, store, job.choice)
    store.prepare(spec.name)
    interrupted, stopped = threading.Event(), None
    with ExitStack() as stack:
        # takes seconds where another host was at it
        with view.waiting("checking that no other driver works on this sweep"):
            lease = stack.enter_context(Lease(store.sweep_path(spec.name)))
        store.submit(spec.name, spec.content, spec.code)
        history.submitted(spec, store)
        with view.waiting("planning"):
            plan = make_plan(survey(spec, store, job.choice, keeps_suggestions=True))
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
            observers: list[Observer] = [view]
            if mirror:
                observers.insert(0, mirror)
            queue = _queue_of(job, todo, lease.session, growth, observers)
            failures = FailureWatch(queue, job.max_failures)
            observers += [failures, DroppedCheckpoints(store, partial(_is_kept, spec))]
            spending = _spending(spec, plan, queue)
            observers += [spending] if spending else []
            pace = Pace.of(planned.known for planned in plan.trials)
            overdue = OverdueWatch(store, lease.session, pace, view.overdue)
            observers.append(stack.enter_context(overdue))
            with graceful_stop(queue, lease, interrupted, view):
                job.executor(queue)
            if growth.error:
                raise growth.error
            stopped = failures.reason or (spending.reason if spending else None)
    ending = Ending(plan_sweep(spec, store, job.only, job.seeds), interrupted.is_set(), stopped)
    if todo and spec.schema.on_finish and not ending.interrupted:
        _call_command(spec.schema.on_finish, job, ending, view)
    return ending


def _call_command(command: str, job: Job, ending: Ending, view: RunView) -> None:
    """Call the spec's command; that it fails affects no trial."""
    spec, store = job.spec, job.store
    folder = store.sweep_path(spec.name).resolve()
    page = folder / "report.html"
    if mentions(command, "report"):
        write_whole(page, render(report_sweep(spec, store, shown_by="on_finish"), "html"))
    values = {"sweep": spec.name, "store": str(store.root.resolve()), "report": str(page)}
    words = filled_words(command, values | {"outcome": ending.outcome})
    if problem := ending_command.call(words, spec.path.resolve().parent):
        view.warn(problem)


def _spending(spec: SweepSpec, plan: Plan, queue: TrialQueue) -> SpendingWatch | None:
    """Return what stops the queue once the budget is spent; None where there is none."""
    budget = budget_of(spec, [planned.known for planned in plan.trials])
    if budget is None:
        return None
    return SpendingWatch(queue, budget)


def _is_kept(spec: SweepSpec, trial: TrialSpec) -> bool:
    """Tell whether the spec keeps the checkpoint of a trial that has ended."""
    if spec.schema.keep == "end":
        return trial.variant == last_step(spec).name
    return spec.schema.keep == "all"


def _mirrored(job: Job, view: RunView) -> BackgroundMirror[Tracker] | None:
    """View of the run that is kept up to date, where one is asked for."""
    if not job.tracking_uri:
        return None
    kind = tracker_kind(job.tracking_uri)
    prepare: Callable[[], None] = _nothing
    if job.trains_elsewhere and has_networks(job.spec):
        prepare = kind.prepare
    finish = partial(_keep_last_network, job.spec, job.store, kind)
    tracker = tracker_of(survey(job.spec, job.store), job.store, job.tracking_uri)
    return BackgroundMirror(tracker, view, prepare, finish, kind.title)


def _nothing() -> None:
    """Nothing is to be prepared."""


def _queue_of(
    job: Job,
    todo: Sequence[TrialSpec],
    session: str,
    growth: "_Growth",
    observers: Sequence[Observer],
) -> TrialQueue:
    spec, store = job.spec, job.store
    more = None
    if sources.grows(spec):
        more = growth
    origin = provenance(spec.path.parent, store.sweep_path(spec.name), code_of(spec))
    return TrialQueue(todo, store, session, origin, observers, spec.schema.max_concurrent, more)


class _Growth:
    """The trials that results ask for while a sweep runs: seeds that are added as needed, and the
    next generation of a search.
    """

    def __init__(self, job: Job, view: RunView, mirror: BackgroundMirror[Tracker] | None) -> None:
        self._job = job
        self._view = view
        self._mirror = mirror
        self.error: OrchestratorError | None = None
        """Error that ends the asking for trials; executors know no errors of specs."""

    def __call__(self, is_idle: bool) -> list[TrialSpec]:
        """All that is to be trained now, what runs among it; what failed is left alone. Seeds are
        asked for only by results that are whole: p-values are corrected for each other.
        """
        job = self._job
        if not is_idle and not sources.asks_while_running(job.spec):
            return []
        try:
            plan = make_plan(survey(job.spec, job.store, job.choice, keeps_suggestions=True))
            new = [_at_home_anywhere(trial) for trial in plan.to_train(retry_failed=False)]
            if self._mirror and job.tracking_uri:
                whole = survey(job.spec, job.store)
                self._mirror.follow(tracker_of(whole, job.store, job.tracking_uri))
        except OrchestratorError as error:
            self.error = error
            return []
        self._view.grown(plan)
        return new


def _at_home_anywhere(trial: TrialSpec) -> TrialSpec:
    """A worker has another current folder and another environment than the command that names the
    images relative to its own.
    """
    data_dir = data_directory(trial.runtime.data_dir).resolve()
    if trial.config.init:
        try:
            init_path(trial.config.init, data_dir)
        except OSError as error:
            raise UsageError(f"trial {trial.name} cannot start from its file: {error}") from error
    return replace(trial, runtime=trial.runtime.model_copy(update={"data_dir": data_dir}))
