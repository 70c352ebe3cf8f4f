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
from orchestrator.errors import Interrupted, SpecError, StoreError, UsageError
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
    """Load a sweep from a spec's file, or by its name in the store.

    `overrides` are settings that override the spec, as on the command line: `["train.epochs=2"]`.

    Raises `SpecError` with every problem in the spec, each with its line, and `UsageError` if there
    is neither a file nor a sweep of that name.
    """
    opened = _store_at(store)
    return Sweep(load_spec(spec_path_of(str(path), opened), overrides), opened)


def read(store: str | Path = "runs") -> "StoredSweeps":
    """Open a store: its sweeps, by name."""
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
    """A spec, and the store that holds its results."""

    spec: SweepSpec
    store: Store

    @property
    def name(self) -> str:
        """Name of the sweep, in the store and in MLflow."""
        return self.spec.name

    def __repr__(self) -> str:
        return f"<sweep {self.name} of {self.spec.path}, store {self.store.root}>"

    @property
    def is_as_submitted(self) -> bool:
        """False if the sweep of this name was last run with other trials than those of this spec:
        with settings of the command line, or before the file was edited.
        """
        try:
            path = self.store.spec_path(self.name)
            if path.read_bytes() == self.spec.content:
                return True
            submitted = load_spec(path)
        except (UsageError, StoreError, SpecError):  # never run, or no longer readable
            return True
        return _asked_for(submitted) == _asked_for(self.spec)

    def plan(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> Plan:
        """List every trial and what `run` would do with it, without running anything.

        `only` limits the plan to some steps, and `seeds` to some of the spec's seeds. Raises
        `UsageError` if the spec does not have them.
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
        """Train what is missing and return how it ended. After an interruption, the same call
        continues.

        `executor` is a name (`ray`, on this machine or on the cluster at `address`; `local`) or an
        executor of your own. `tracking` is an MLflow server's address, True for
        `MLFLOW_TRACKING_URI` or else a file in the store, or False for no tracking. `view` is
        called back while trials run. Failed trials raise nothing: see `Ending.has_failures`. After
        `max_failures` failures no more trials start (0: never stop); by default, if the first
        trials of several variants all fail for the same reason. See `Ending.stopped`.

        Raises `Interrupted`, a `KeyboardInterrupt`, on Ctrl-C or SIGTERM after all checkpoints are
        saved; `SweepInUse` if another driver is running this sweep; `StoreError`; `ClusterError`.
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
        """Train what is missing, as `run` does, and retry failed trials."""
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
        """Compute the spec's measures on trained networks, without training.

        Makes missing measurements and retries failed ones. Raises what `run` does, and
        `UsageError` if the spec lists no measures.
        """
        job = self._job(executor, address, tracking, only, seeds, retry_failed=True)
        return _finished(measure_sweep(job, view))

    def look(self) -> Snapshot:
        """Every trial with its settings and its current record in the store.

        Raises `UsageError` if images that fingerprints depend on cannot be read.
        """
        return survey(self.spec, self.store)

    def status(self) -> SweepStatus:
        """Current status of every trial, and the driver that is running."""
        return status_of(self.spec, self.store)

    def report(
        self, metric: str | None = None, mode: Mode | None = None, *, shown_by: str = "python"
    ) -> "Report":
        """The roadmap from the store's current results, for the sweep's metric or another recorded
        one.

        `mode` is the better direction of a metric that this package does not know. A report that
        covers every trial of the spec is a look at the results. The store remembers it, with
        `shown_by`, and reports with seeds added later pay for it. Raises `UsageError`.
        """
        import_again_from(self.spec.path.parent)
        roadmap = report_sweep(self.spec, self.store, metric, mode, shown_by=shown_by)
        return Report(roadmap)

    def sync(self, tracking: str | bool = True, *, restore_deleted: bool = True) -> None:
        """Rebuild or repair the MLflow view from the store.

        `restore_deleted` restores runs that were deleted by hand. Raises `TrackingError`,
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
    """Report of a sweep: the effect of each step, how certain it is, and what it cost."""

    roadmap: Roadmap

    def to_json(self) -> dict[str, Any]:
        """The value of `orchestrator report --format json`."""
        return self.roadmap.to_json()

    def to_frame(self, by: Literal["step", "trial", "iteration"] = "step") -> "pd.DataFrame":
        """A pandas data frame with one row per step, per trial, or per evaluation of each trial
        (the learning curves).

        Raises `UsageError` if pandas is not installed.
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
    """The sweeps of a store as last submitted, each read when it is accessed.

    A spec that can no longer be read raises its `SpecError` then.
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


def _asked_for(spec: SweepSpec) -> list[Any]:
    """List what decides a sweep's trials: its seeds, and each variant with its settings."""
    return [spec.schema.seeds, *((variant.label, variant.config) for variant in spec.variants)]


def _store_at(path: str | Path) -> Store:
    return Store.at(Path(path))


def _run(job: Job, view: RunView | None) -> Ending:
    """Train, and then measure the trained networks. Raises `Interrupted`."""
    ending = _finished(run_sweep(job, view))
    if job.spec.schema.measure:
        _finished(measure_sweep(job, view))
    return ending


def _finished(ending: AnyEnding) -> AnyEnding:
    """Return the ending, or raise `Interrupted` if the run was interrupted."""
    if ending.interrupted:
        raise Interrupted("interrupted; all checkpoints are saved, and the same call continues")
    return ending
