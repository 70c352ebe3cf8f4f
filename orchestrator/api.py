"""Sweeps from Python: what the command line does, without a console. See `docs/python.md`.

Nothing here prints or ends the process: results are values, and errors are those of
`orchestrator.errors`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from illama.config.imports import import_again_from
from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.analysis.tabular import iteration_records, step_records, trial_records
from orchestrator.driver import (
    Ending,
    Job,
    plan_sweep,
    report_sweep,
    run_sweep,
    sync_sweep,
)
from orchestrator.errors import Interrupted, UsageError
from orchestrator.executors import EXECUTORS, Executor
from orchestrator.measuring import Measured, measure_sweep
from orchestrator.metrics import Mode
from orchestrator.planning.plan import Plan
from orchestrator.planning.status import SweepStatus, status_of
from orchestrator.planning.survey import survey
from orchestrator.report.formats import Layout, render
from orchestrator.running.view import RunView
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store
from orchestrator.tracking import default_tracking_uri

if TYPE_CHECKING:
    import pandas as pd


AnyEnding = TypeVar("AnyEnding", Ending, Measured)


def load(path: str | Path, store: str | Path = "runs", overrides: Sequence[str] = ()) -> "Sweep":
    """Sweep of a spec's file, or of the name of a sweep in the store, with the store it uses.

    `overrides` are settings laid over it, as the command line has them: `["train.epochs=2"]`.

    Raises `SpecError` with everything that is wrong with the spec, each problem with its line, and
    `UsageError` where there is neither a file nor a sweep of that name.
    """
    opened = _store_at(store)
    return Sweep(load_spec(spec_path_of(str(path), opened), overrides), opened)


def read(store: str | Path = "runs") -> "StoredSweeps":
    """Every sweep of a store, by its name."""
    return StoredSweeps(_store_at(store))


def spec_path_of(reference: str, store: Store) -> Path:
    """The file that `reference` names: a path, or the name of a sweep in the store.

    Raises `UsageError`.
    """
    path = Path(reference)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    return store.spec_path(reference)


@dataclass(frozen=True)
class Sweep:
    """A spec and the store that its results are in."""

    spec: SweepSpec
    store: Store

    @property
    def name(self) -> str:
        """Name of the sweep, in the store and in MLflow."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<sweep {self.name} of {self.spec.path}, store {self.store.root}>"

    def plan(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> Plan:
        """List every trial and what `run` would do with it, without running anything.

        `only` names steps and `seeds` some of the spec's seeds. Raises `UsageError` where the spec
        does not have them.
        """
        import_again_from(self.spec.path.parent)
        return plan_sweep(self.spec, self.store, only, seeds)

    def run(  # noqa: PLR0913  keywords, each of them optional
        self,
        executor: str | Executor = "ray",
        *,
        address: str | None = None,
        tracking: str | bool = True,
        only: Sequence[str] = (),
        seeds: Sequence[int] = (),
        max_failures: int | None = None,
        view: RunView | None = None,
    ) -> Ending:
        """Train what is missing, and say how it ended; the same call again goes on.

        `executor` is the name of one (`ray`, on this machine or the cluster at `address`; `local`)
        or one of yours.
        `tracking` is an MLflow server's address, True for `MLFLOW_TRACKING_URI` or else a file in
        the store, False for no view at all. `view` is called back while trials run, by default
        nobody is. Trials that failed are no exception here: see `Ending.has_failures`. After
        `max_failures` of them nothing more is started; by default, where the first trials of
        several variants all fail of one cause; 0 goes on in any case: see `Ending.stopped`.

        Raises `Interrupted`, a `KeyboardInterrupt`, on Ctrl-C or SIGTERM once every checkpoint is
        saved; `SweepInUse` where another driver is at this sweep; `StoreError`; `ClusterError`.
        """
        job = self._job(executor, address, tracking, only, seeds)
        return _run(replace(job, max_failures=max_failures), view)

    def resume(  # noqa: PLR0913
        self,
        executor: str | Executor = "ray",
        *,
        address: str | None = None,
        tracking: str | bool = True,
        only: Sequence[str] = (),
        seeds: Sequence[int] = (),
        max_failures: int | None = None,
        view: RunView | None = None,
    ) -> Ending:
        """Train what is missing, as `run` does, and train again what failed."""
        job = self._job(executor, address, tracking, only, seeds, retry_failed=True)
        return _run(replace(job, max_failures=max_failures), view)

    def measure(
        self,
        executor: str | Executor = "ray",
        *,
        address: str | None = None,
        tracking: str | bool = True,
        only: Sequence[str] = (),
        seeds: Sequence[int] = (),
        view: RunView | None = None,
    ) -> Measured:
        """Measure finished networks as the spec's `measure` asks, without training.

        Takes what the store lacks, and tries again what failed. Raises what `run` does, and
        `UsageError` where the spec asks for no measure.
        """
        job = self._job(executor, address, tracking, only, seeds, retry_failed=True)
        return _finished(measure_sweep(job, view))

    def look(self) -> Snapshot:
        """Every trial with its settings and its record, as the store has it now.

        Raises `UsageError` where images cannot be read that fingerprints depend on.
        """
        return survey(self.spec, self.store)

    def status(self) -> SweepStatus:
        """Status of every trial at this moment, and the driver that is at work."""
        return status_of(self.spec, self.store)

    def report(
        self, metric: str | None = None, mode: Mode | None = None, *, shown_by: str = "python"
    ) -> "Report":
        """The roadmap as the store has it now, by the sweep's metric or another recorded one.

        `mode` says which direction is better of a metric that the package does not know. A report
        with every trial of the spec is a look at its results, which the store remembers as taken by
        `shown_by` and later reports with more seeds pay for. Raises `UsageError`.
        """
        import_again_from(self.spec.path.parent)
        roadmap = report_sweep(self.spec, self.store, metric, mode, shown_by=shown_by)
        return Report(roadmap)

    def sync(self, tracking: str | bool = True, *, restore_deleted: bool = True) -> None:
        """Rebuild or repair the MLflow view from the store.

        `restore_deleted` brings back what was deleted by hand. Raises `TrackingError`,
        `SweepInUse`.
        """
        uri = self._tracking_uri(tracking)
        if uri is None:
            raise UsageError("there is no tracker to write to: tracking is False")
        sync_sweep(self.spec, self.store, uri, restore_deleted=restore_deleted)

    def _job(
        self,
        executor: str | Executor,
        address: str | None,
        tracking: str | bool,
        only: Sequence[str],
        seeds: Sequence[int],
        *,
        retry_failed: bool = False,
    ) -> Job:
        trains_elsewhere = True
        if isinstance(executor, str):
            kind = EXECUTORS.get(executor)
            executor, trains_elsewhere = kind.create(address), kind.trains_elsewhere
        return Job(
            spec=self.spec,
            store=self.store,
            executor=executor,
            tracking_uri=self._tracking_uri(tracking),
            retry_failed=retry_failed,
            only=only,
            seeds=seeds,
            trains_elsewhere=trains_elsewhere,
        )

    def _tracking_uri(self, tracking: str | bool) -> str | None:
        if isinstance(tracking, str):
            return tracking
        if not tracking:
            return None
        return os.environ.get("MLFLOW_TRACKING_URI") or default_tracking_uri(self.store)


@dataclass(frozen=True)
class Report:
    """Report of a sweep: what each step did, how sure that is, and what it cost."""

    roadmap: Roadmap

    def to_json(self) -> dict[str, Any]:
        """The value of `orchestrator report --format json`."""
        return self.roadmap.to_json()

    def to_frame(self, by: Literal["step", "trial", "iteration"] = "step") -> "pd.DataFrame":
        """A pandas data frame with a line for each step, for each trial, or for each evaluation
        of each trial: its curve.

        Raises `UsageError` where pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            hint = "install it with `pip install pandas`, or use to_json()"
            raise UsageError(f"a data frame needs pandas ({error}); {hint}") from error
        records = {"step": step_records, "trial": trial_records, "iteration": iteration_records}
        if by not in records:
            raise UsageError(f"there is no frame by '{by}'; allowed: {', '.join(records)}")
        return pd.DataFrame.from_records(records[by](self.roadmap))

    def render(self, form: str, layout: Layout | None = None) -> bytes:
        """The file that `orchestrator report --format` writes, such as `html` or `latex`."""
        return render(self.roadmap, form, layout)

    def __str__(self) -> str:
        """The terminal's table."""
        return self.render("table").decode()

    def _repr_markdown_(self) -> str:
        """The form in a notebook."""
        return self.render("md").decode()


class StoredSweeps(Mapping[str, Sweep]):
    """The sweeps of a store, as they were last submitted, each read when it is asked for.

    A spec that cannot be read any more raises its `SpecError` there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, name: str) -> Sweep:
        if name not in set(self):
            raise KeyError(name)
        return Sweep(load_spec(self._store.spec_path(name)), self._store)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.sweeps())

    def __len__(self) -> int:
        return len(self._store.sweeps())

    def __repr__(self) -> str:
        return f"<sweeps at {self._store.root}: {', '.join(self) or 'none yet'}>"


def _store_at(path: str | Path) -> Store:
    return Store(Path(path).expanduser().resolve())


def _run(job: Job, view: RunView | None) -> Ending:
    """Train, and then measure the networks that are finished. Raises `Interrupted`."""
    ending = _finished(run_sweep(job, view))
    if job.spec.schema.measure:
        _finished(measure_sweep(job, view))
    return ending


def _finished(ending: AnyEnding) -> AnyEnding:
    """The ending of a run that nobody interrupted. Raises `Interrupted`."""
    if ending.interrupted:
        raise Interrupted("interrupted; all checkpoints are saved, and the same call continues")
    return ending
