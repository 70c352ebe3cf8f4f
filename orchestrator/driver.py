"""One invocation of `run` or `resume`: plan, lease, train, mirror, report."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from illama.config import DataConfig
from illama.data import data_directory, dataset_digest
from orchestrator.adaptive import more_seeds
from orchestrator.confounds import SpecWarning
from orchestrator.errors import UsageError
from orchestrator.executors import Executor
from orchestrator.lease import Lease
from orchestrator.mirroring import BackgroundMirror
from orchestrator.plan import Action, Plan, make_plan, trials_of
from orchestrator.progress import ProgressView
from orchestrator.provenance import provenance
from orchestrator.queue import Observer, TrialQueue
from orchestrator.report.markup import to_markdown
from orchestrator.report.roadmap import Roadmap, build_roadmap
from orchestrator.spec import SweepSpec
from orchestrator.store import Store
from orchestrator.tracking import MlflowMirror
from orchestrator.trial import TrialSpec


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

    def digest(data: DataConfig) -> str:
        try:
            return dataset_digest(data, spec.schema.runtime.data_dir)
        except (OSError, ValueError) as error:
            message = f"cannot use the images of data '{data.name}': {error}"
            if absent is None:
                raise UsageError(message) from error
            absent.append(message)
            return "absent"

    more = more_seeds(spec, digest, Store(store.root).record) if store and spec.schema.adaptive else {}
    return trials_of(spec, digest, only=only, seeds=seeds, more_seeds=more)


def plan_sweep(spec: SweepSpec, store: Store, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> Plan:
    """What there is to do now; where images are not on this machine, with a warning and provisional fingerprints."""
    absent: list[str] = []
    plan = make_plan(spec, trials_in(spec, only, seeds, store=store, absent=absent), Store(store.root).record)
    messages = [f"{message}; whether trials are done cannot be told" for message in dict.fromkeys(absent)]
    warnings = [SpecWarning("data-absent", message, 0) for message in messages]
    return replace(plan, warnings=(*warnings, *plan.warnings))


def report_sweep(spec: SweepSpec, store: Store) -> Roadmap:
    """The roadmap as the store has it now."""
    return build_roadmap(spec, trials_in(spec, store=store), Store(store.root).record)


def mirror_of(spec: SweepSpec, store: Store, tracking_uri: str) -> MlflowMirror:
    """The sweep in MLflow, the roadmap as the experiment's description."""
    return MlflowMirror(tracking_uri, spec, trials_in(spec, store=store), store, lambda: to_markdown(report_sweep(spec, store)))


def run_sweep(job: Job, console: Console) -> Ending:
    """Train what is missing. Raises `SweepInUse`, `StoreError`, `ClusterError`; what happens to a trial is in the store."""
    spec, store = job.spec, job.store
    trials = trials_in(spec, job.only, job.seeds, store=store)
    store.prepare(spec.name)
    interrupted = threading.Event()
    with ExitStack() as stack:
        lease = stack.enter_context(Lease(store.sweep_path(spec.name)))
        store.submit(spec.name, spec.content)
        plan = make_plan(spec, trials, store.record)
        _say_plan(plan, console)
        todo = [_at_home_anywhere(trial) for trial in plan.to_train(retry_failed=job.retry_failed)]
        observers: list[Observer] = []
        if job.tracking_uri:
            mirror = mirror_of(spec, store, job.tracking_uri)
            observers.append(stack.enter_context(BackgroundMirror(mirror, console)))
        if todo:
            view = ProgressView(console, plan, store, lease.session, spec.schema.metric.name, retry_failed=job.retry_failed)
            observers.append(stack.enter_context(view))
            queue = TrialQueue(todo, store, lease.session, provenance(spec.path.parent, store.sweep_path(spec.name)), observers)
            with _graceful_stop(queue, lease, interrupted, console):
                job.executor(queue)
    return Ending(plan_sweep(spec, store, job.only, job.seeds), interrupted.is_set())


def _at_home_anywhere(trial: TrialSpec) -> TrialSpec:
    """A worker has another current folder and another environment than the command that names the images relative to its own."""
    data_dir = data_directory(trial.runtime.data_dir).resolve()
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
