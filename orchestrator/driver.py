"""One invocation of `run` or `resume`: plan, lease, train, mirror, report."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from illama.config import DataConfig, ForeignData
from illama.data import data_directory, dataset_digest
from illama.first_weights import identified, init_path
from orchestrator.adaptive import more_seeds
from orchestrator.capacity import shortage, this_machine
from orchestrator.confounds import SpecWarning
from orchestrator.errors import UsageError
from orchestrator.executors import Executor
from orchestrator.lease import Lease
from orchestrator.mirroring import BackgroundMirror
from orchestrator.plan import Action, Plan, make_plan, trials_of
from orchestrator.progress import ProgressView
from orchestrator.provenance import provenance
from orchestrator.queue import Observer, TrialQueue
from orchestrator.report.roadmap import Roadmap, build_roadmap
from orchestrator.representative import Representative, has_network, last_step, representative
from orchestrator.spec import SweepSpec
from orchestrator.store import Store
from orchestrator.tracking import MlflowMirror, mlflow_run_ids, run_key
from orchestrator.tracking.models import import_in_advance, log_model, register_model
from orchestrator.trial import State, TrialSpec, Variant


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


@dataclass(frozen=True)
class Ending:
    """How an invocation ended."""

    plan: Plan
    """Made afresh at the end."""
    interrupted: bool

    @property
    def has_failures(self) -> bool:
        """Whether trials are left that failed."""
        return any(planned.action is Action.RETRY for planned in self.plan.trials)

    @property
    def new_trials(self) -> int:
        """Those that the results ask for, where seeds are added as needed."""
        return sum(planned.action is Action.NEW for planned in self.plan.trials)


def trials_in(
    spec: SweepSpec,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    store: Store | None = None,
    absent: list[str] | None = None,
) -> list[TrialSpec]:
    """The spec's trials; where seeds are added as needed, also those that the results in `store` ask for.

    Raises `UsageError` where `only` or `seeds` name what is not there, and where images cannot be read, unless there is `absent`
    to say so in: such trials have provisional fingerprints.
    """

    def digest(data: DataConfig | ForeignData) -> str:
        try:
            return dataset_digest(data, spec.schema.runtime.data_dir)
        except (OSError, ValueError) as error:
            message = f"cannot use the images of data '{data.name}': {error}"
            if absent is None:
                raise UsageError(message) from error
            absent.append(message)
            return "absent"

    spec = replace(spec, variants=tuple(_with_known_weights(variant, spec) for variant in spec.variants))
    more = more_seeds(spec, digest, Store(store.root).record) if store and spec.schema.adaptive else {}
    return trials_of(spec, digest, only=only, seeds=seeds, more_seeds=more)


def _with_known_weights(variant: Variant, spec: SweepSpec) -> Variant:
    """Where it starts from a file: with the digest of it. Raises `UsageError` where neither file nor digest is there."""
    try:
        return replace(variant, config=identified(variant.config, spec.schema.runtime.data_dir))
    except OSError as error:
        message = f"{spec.path}:{variant.line}: '{variant.label}' cannot start from its file: {error}"
        raise UsageError(f"{message}; only to plan and report, train.init.sha256 is enough") from error


def plan_sweep(spec: SweepSpec, store: Store, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> Plan:
    """What there is to do now; where images are not on this machine, with a warning and provisional fingerprints."""
    absent: list[str] = []
    plan = make_plan(spec, trials_in(spec, only, seeds, store=store, absent=absent), Store(store.root).record)
    messages = [f"{message}; whether trials are done cannot be told" for message in dict.fromkeys(absent)]
    warnings = [SpecWarning("data-absent", message, 0) for message in messages]
    if problem := shortage(plan.to_train(retry_failed=True), [this_machine()], "this machine"):
        warnings.append(SpecWarning("resources-here", f"{problem}; it needs a cluster that has as much: --address", 0))
    return replace(plan, warnings=(*warnings, *plan.warnings))


def report_sweep(spec: SweepSpec, store: Store) -> Roadmap:
    """The roadmap as the store has it now."""
    return build_roadmap(spec, trials_in(spec, store=store), Store(store.root).record)


def mirror_of(spec: SweepSpec, store: Store, tracking_uri: str, *, restore_deleted: bool = False) -> MlflowMirror:
    """The sweep in MLflow; `restore_deleted` brings back what somebody deleted there."""
    return MlflowMirror(tracking_uri, spec, trials_in(spec, store=store), store, restore_deleted=restore_deleted)


def register_network(
    spec: SweepSpec, store: Store, tracking_uri: str, step: str | None, seed: str, name: str
) -> tuple[str, Representative]:
    """Put the network that stands for a step (`representative`) into MLflow's registry as `name`; returns its address there.

    Raises `UsageError`, `SweepInUse`, `TrackingError`. What is there already is left as it is.
    """
    trials = trials_in(spec, store=store)
    chosen = representative(spec, trials, store.record, step, seed)
    with Lease(store.sweep_path(spec.name)):
        MlflowMirror(tracking_uri, spec, trials, store).sync([chosen.trial])
        run_id = mlflow_run_ids(store, spec.name)[run_key(chosen.trial)]
        model_id = log_model(tracking_uri, run_id, chosen)
        version = register_model(tracking_uri, model_id, run_id, name, chosen)
    return f"models:/{name}/{version}", chosen


def _log_last_network(mirror: MlflowMirror, spec: SweepSpec, store: Store) -> None:
    """Log the network that stands for the end of the road, once all trials there are done: one model, not one for each trial."""
    end = last_step(spec)
    trials = [trial for trial in mirror.trials if (trial.regime, trial.variant) == (end.regime, end.name)]
    records = [store.record(trial) for trial in trials]
    if all(record.state is State.DONE for record in records) and any(has_network(record) for record in records):
        chosen = representative(spec, trials, store.record)
        if run_id := mlflow_run_ids(store, spec.name).get(run_key(chosen.trial)):  # none where somebody deleted it
            log_model(mirror.tracking_uri, run_id, chosen)


def run_sweep(job: Job, console: Console) -> Ending:
    """Train what is missing. Raises `SweepInUse`, `StoreError`, `ClusterError`; what happens to a trial is in the store."""
    spec, store = job.spec, job.store
    trials = trials_in(spec, job.only, job.seeds, store=store)
    store.prepare(spec.name)
    interrupted = threading.Event()
    with ExitStack() as stack:
        lease = stack.enter_context(Lease(store.sweep_path(spec.name)))
        store.submit(spec.name, spec.content, spec.code)
        plan = make_plan(spec, trials, store.record)
        _say_plan(plan, console)
        todo = [_at_home_anywhere(trial) for trial in plan.to_train(retry_failed=job.retry_failed)]
        observers: list[Observer] = []
        if job.tracking_uri:
            mirror = mirror_of(spec, store, job.tracking_uri)
            finish = partial(_log_last_network, mirror, spec, store)
            observers.append(stack.enter_context(BackgroundMirror(mirror, console, import_in_advance, finish)))
        if todo:
            view = ProgressView(console, plan, store, lease.session, spec.schema.metric.name, retry_failed=job.retry_failed)
            observers.append(stack.enter_context(view))
            origin = provenance(spec.path.parent, store.sweep_path(spec.name))
            queue = TrialQueue(todo, store, lease.session, origin, observers, spec.schema.max_concurrent)
            with _graceful_stop(queue, lease, interrupted, console):
                job.executor(queue)
    return Ending(plan_sweep(spec, store, job.only, job.seeds), interrupted.is_set())


def _at_home_anywhere(trial: TrialSpec) -> TrialSpec:
    """A worker has another current folder and another environment than the command that names the images relative to its own."""
    data_dir = data_directory(trial.runtime.data_dir).resolve()
    if trial.config.train.init:
        try:
            init_path(trial.config.train.init, data_dir)
        except OSError as error:
            raise UsageError(f"trial {trial.name} cannot start from its file: {error}") from error
    return replace(trial, runtime=trial.runtime.model_copy(update={"data_dir": data_dir}))


def _say_plan(plan: Plan, console: Console) -> None:
    counts = {action: sum(planned.action is action for planned in plan.trials) for action in Action}
    actions = ", ".join(f"{n} {action}" for action, n in counts.items() if n)
    console.print(f"{plan.sweep}: {len(plan.trials)} trials: {actions}", soft_wrap=True)
    for warning in plan.warnings:
        console.print(Text(f"warning {warning.code}: {warning.message}", style="yellow"), soft_wrap=True)


@contextmanager
def _graceful_stop(queue: TrialQueue, lease: Lease, interrupted: threading.Event, console: Console) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP let every worker save its checkpoint; a second one stops at once."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        queue.stop()
        lease.ask_workers_to_stop()
        console.print(f"\n{signal.Signals(number).name}: saving checkpoints; once more stops at once", style="yellow")

    stops = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # the terminal was closed; nohup asks not to care
        stops.append(signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def spec_path_of(reference: str, store: Store) -> Path:
    """The file that `reference` names: a path, or the name of a sweep in the store. Raises `UsageError`."""
    path = Path(reference)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    return store.spec_path(reference)
