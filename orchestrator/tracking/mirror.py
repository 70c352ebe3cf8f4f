"""The store mirrored into MLflow.

MLflow is a view: everything in it comes from the store, with the times that the store says, so that
writing twice adds nothing and a lost database is rebuilt by `orchestrator sync`. One experiment for
a sweep, one parent run for a variant, one child run for a trial, whatever its attempts, and one run
for the report. There is one writer: the driver that holds the sweep's lease, or `sync`. MLflow can
neither change a param nor take a metric back: a run that says what is no longer so is deleted and
made again.
"""

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from orchestrator.analysis.history import looks_before
from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.analysis.rows import StepRow, make_row
from orchestrator.analysis.snapshot import Snapshot, with_shared_failures
from orchestrator.errors import RecordRefused, TrackingError
from orchestrator.outcomes import State
from orchestrator.report.words import search_state, search_text
from orchestrator.spec.search_space import SEARCH
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.lease import live_session
from orchestrator.store.mlflow_runs import run_key, write_runs
from orchestrator.store.store import Store
from orchestrator.text import shortened
from orchestrator.tracking import shape
from orchestrator.tracking.addresses import reason, without_password, without_secrets
from orchestrator.tracking.api import Point, Run, is_refusal
from orchestrator.tracking.database import ARTIFACTS
from orchestrator.tracking.experiment import PARENT, Experiment
from orchestrator.tracking.report import RUN, rows_of, write_report
from orchestrator.tracking.trials import (
    add_dataset,
    first_start,
    last_time,
    milliseconds,
    mirror_trial,
)
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec, Variant
from orchestrator.waiting import counted_off

_MOST_UNLISTED = 0.02
"""The share of new runs among all that the list of runs may lack while a sweep runs: it is
written whole each time.
"""


class MlflowMirror:
    """Mirror that brings MLflow up to date with the store, as often as asked."""

    def __init__(
        self,
        tracking_uri: str,
        spec: SweepSpec,
        trials: Sequence[TrialSpec],
        store: Store,
        *,
        restore_deleted: bool = True,
    ) -> None:
        """`restore_deleted`: whether runs that somebody deleted by hand come back, or are left
        alone.
        """
        self.tracking_uri = tracking_uri
        self.trials = trials
        self._spec = spec
        self._store = Store(store.root)  # this may be another thread than that of `store`
        self._restore_deleted = restore_deleted
        parents = shape.parents_in_order(spec)
        self._variants = {label: variant for label, (variant, _) in parents.items()}
        for search, run in shape.search_runs(spec):
            self._variants |= {point.variant.label: run for point in search.tried}
        self._names = {label: name for label, (_, name) in parents.items()}
        self._places = {label: place for place, label in enumerate(parents)}
        self._trials_of: dict[str, list[TrialSpec]] = {}
        for trial in trials:
            self._trials_of.setdefault(self._variant_of(trial).label, []).append(trial)
        self._session: str | None = None
        self._began: int | None = None
        self._listed = 0
        """Number of runs, of those that the experiment created, in the list beside the trials."""
        self._experiment: Experiment | None = None
        self._stopped = threading.Event()
        self._refused: dict[str, str] = {}
        """Reasons why MLflow refused something, by what it refused."""

    def sync(self, trials: Iterable[TrialSpec] | None = None) -> None:
        """Mirror some trials; or all of them, and the report. Raises `TrackingError` where MLflow
        is not installed, not reachable or refuses.
        """
        self._refused.clear()
        with self._connected(afresh=trials is None) as experiment:
            created = experiment.created
            if trials is None:
                self._sync_everything(experiment)
                if experiment.is_server and experiment.created > created:
                    experiment.look(restore_deleted=self._restore_deleted)
            else:
                self._sync_trials(experiment, trials)
            if trials is None or experiment.created - self._listed > _MOST_UNLISTED * len(
                experiment.runs
            ):
                self._write_run_ids(experiment)
        if self._refused:
            self._experiment = None  # it may have been changed by hand: look again the next time
            first, why = next(iter(self._refused.items()))
            more = len(self._refused) - 1
            what = f"{first} and {more} more" if more else first
            raise RecordRefused(f"MLflow refuses {what} ({why}); everything else is there")

    def sync_effects(self) -> None:
        """Mirror, while the sweep runs, what each step did that nothing can change any more. Looks
        at every trial: p-values, corrected for all, wait for the last. Raises `TrackingError`.
        """
        with self._connected() as experiment:
            snapshot, roadmap = self._roadmap()
            under_way = set()
            for row in roadmap.rows:
                of_row = [known.record for known in snapshot.of(row.variant)]
                if not of_row or not all(record.has_ended for record in of_row):
                    under_way.add(row.variant.regime)
                if row.variant.regime not in under_way:
                    self._summarise(experiment, row, of_row, is_whole=False)

    @contextmanager
    def _connected(self, *, afresh: bool = False) -> Iterator[Experiment]:
        """Yield the experiment; what goes wrong inside is a `TrackingError`. A look `afresh` also
        finds what was made twice, deleted or edited."""
        try:
            if afresh or self._experiment is None:
                self._experiment = self._connect()
            self._session = live_session(self._store.sweep_path(self._spec.name))
            yield self._experiment
        except ImportError as error:
            raise TrackingError(
                f"MLflow is not installed ({error}); install it and run `orchestrator sync`"
            ) from error
        except Exception as error:
            self._experiment = None
            message = " ".join(without_secrets(reason(error), self.tracking_uri).split())[:300]
            raise TrackingError(
                f"cannot write to MLflow at {without_password(self.tracking_uri)}: {message}"
            ) from error

    def run_id_of(self, trial: TrialSpec) -> str | None:
        """MLflow's id of a trial's run; none where somebody deleted it and wants it so."""
        run = self._experiment.runs.get(run_key(trial)) if self._experiment else None
        return run.run_id if run else None

    def stop(self) -> None:
        """Let a `sync` in another thread write nothing more once the call that it is in has
        returned.
        """
        self._stopped.set()

    def _connect(self) -> Experiment:
        # also what other sweeps, or other steps of this one, have finished meanwhile
        self._store.forget()
        self._began, self._listed = None, 0
        artifacts = self._store.root / ARTIFACTS / self._spec.name
        return Experiment(
            self.tracking_uri,
            self._spec.name,
            artifacts,
            self._stopped,
            restore_deleted=self._restore_deleted,
        )

    def _sync_trials(self, experiment: Experiment, trials: Iterable[TrialSpec]) -> None:
        """Mirror trials while the sweep runs, at the same cost however many there are already."""
        news = {}
        for trial in trials:
            record = self._record(trial)
            if self._sync_trial(experiment, trial, record) and record.has_ended:
                news[trial.variant_label] = self._variant_of(trial)
        for variant in (variant for variant in news.values() if variant.design != SEARCH):
            siblings = self._trials_of[variant.label]
            # the last is mostly the last to end
            if all(self._record(one).has_ended for one in reversed(siblings)):
                known = [KnownTrial(one, self._record(one)) for one in siblings]
                row = make_row(variant, known, self._spec.reported_metric)
                records = [one.record for one in known]
                self._summarise(experiment, row, records, is_whole=False)

    def _roadmap(self) -> tuple[Snapshot, Roadmap]:
        """The records of all trials, each read once, and what they come to."""
        known = (KnownTrial(trial, self._record(trial)) for trial in self.trials)
        snapshot = Snapshot(self._spec, with_shared_failures(known))
        looks = looks_before(self._spec, self._store, self._spec.reported_metric.name)
        return snapshot, build_roadmap(snapshot, earlier_looks=looks)

    def _sync_everything(self, experiment: Experiment) -> None:
        snapshot, roadmap = self._roadmap()
        records = {run_key(known.spec): known.record for known in snapshot.trials}
        begun = {
            key: record for key, record in records.items() if record.state is not State.PENDING
        }
        if not begun:
            return
        self._began = first_start(begun.values())
        with experiment.batch():
            for trial in counted_off(self.trials, "trials to MLflow"):
                self._sync_trial(experiment, trial, records[run_key(trial)], verify=True)
        parents = set()
        for row in rows_of(roadmap):
            of_row = [known.record for known in snapshot.of(row.variant)]
            if any(record.state is not State.PENDING for record in of_row):
                with self._one_record(row.variant.label):
                    self._summarise(experiment, row, of_row, is_whole=True)
                parents.add(shape.summary_key(row.variant))
        parents |= self._sync_searches(experiment, records)
        self._put_away(experiment, begun.keys(), parents)
        if report := self._plain_run(experiment, "report", RUN, place=-1):
            write_report(
                experiment,
                report,
                self._spec,
                roadmap,
                max(milliseconds(last_time(one)) for one in begun.values()),
            )

    def _sync_searches(
        self, experiment: Experiment, records: Mapping[str, TrialRecord]
    ) -> set[str]:
        """Mirror each search that has begun into its own run; returns the keys of these runs."""
        keys = set()
        for search, variant in shape.search_runs(self._spec):
            begun = [
                record
                for trial in search.trials
                if (record := records[run_key(trial)]).attempts or record.result
            ]
            run = self._parent(experiment, variant) if begun else None
            if run is None:
                continue
            keys.add(shape.summary_key(variant))
            if search.chosen:
                experiment.set_status(
                    run, "FINISHED", max(milliseconds(last_time(record)) for record in begun)
                )
            text = search_text(search, self._spec.schema.metric.name)
            experiment.write(
                run, tags={"sweep.outcome": search_state(search), "mlflow.note.content": text}
            )
        return keys

    def _record(self, trial: TrialSpec) -> TrialRecord:
        return self._store.record(trial, self._session)

    def _variant_of(self, trial: TrialSpec) -> Variant:
        return self._variants[trial.variant_label]

    @contextmanager
    def _one_record(self, name: str) -> Iterator[None]:
        """Let what MLflow refuses inside be missing there, and go on with the rest."""
        try:
            yield
        except Exception as error:
            if not is_refusal(error):
                raise
            message = " ".join(without_secrets(reason(error), self.tracking_uri).split())
            self._refused[name] = shortened(message, 200)

    def _sync_trial(
        self, experiment: Experiment, trial: TrialSpec, record: TrialRecord, *, verify: bool = False
    ) -> bool:
        """Tell whether there was anything to write; `verify` looks at what was written earlier,
        too.
        """
        if record.state is State.PENDING or run_key(trial) in experiment.hidden:
            return False
        variant = self._variant_of(trial)
        params = shape.trial_params(self._spec, trial, variant.step)
        asked = shape.Asked(params, shape.source_of(self._spec))
        has_news = False
        with self._one_record(trial.name):
            parent = self._parent(experiment, variant)
            has_news = mirror_trial(experiment, trial, record, asked, parent, verify=verify)
        return has_news

    def _parent(self, experiment: Experiment, variant: Variant) -> Run | None:
        """The run of a variant; none where somebody deleted it and wants it so."""
        key, start = shape.summary_key(variant), self._start(self._places[variant.label])
        if key in experiment.hidden:
            return None
        params = shape.params_of(self._spec, variant)
        run = experiment.runs.get(key)
        if run and (run.start != start or not run.params.items() <= params.items()):
            experiment.remove(run, key)
            run = None
        if run is None:
            kind = shape.kind_of(variant.design == SEARCH, "variant")
            tags = {
                "sweep.kind": kind,
                "sweep.variant": variant.label,
                "sweep.name": self._spec.name,
            }
            run = experiment.create(key, self._names[variant.label], start, tags)
        if not params.keys() <= run.params.keys():  # new, or we died before it was complete
            add_dataset(experiment, run, variant.config.images, self._spec.schema.runtime.data_dir)
            experiment.write(run, params=params, tags={})
        experiment.name(run, self._names[variant.label])
        return run

    def _summarise(
        self,
        experiment: Experiment,
        row: StepRow,
        records: Sequence[TrialRecord],
        *,
        is_whole: bool,
    ) -> None:
        """Write what the trials of a variant came to; `is_whole` where `row` says all that there
        is to say.
        """
        summary = shape.summary_of(self._spec, row, is_whole=is_whole)
        run = self._parent(experiment, row.variant)
        if run is None:
            return
        wrong = any(run.metrics.get(key, value) != value for key, value in summary.metrics.items())
        if wrong or (is_whole and not run.metrics.keys() <= summary.metrics.keys()):
            experiment.remove(run, shape.summary_key(row.variant))
            run = self._parent(experiment, row.variant)
            assert run is not None
            for trial in self._trials_of[row.variant.label]:
                if child := experiment.runs.get(run_key(trial)):
                    experiment.put_below(child, run)
        last = max(
            milliseconds(last_time(record))
            for record in records
            if record.state is not State.PENDING
        )
        new = {key: value for key, value in summary.metrics.items() if key not in run.metrics}
        if all(record.has_ended for record in records):
            experiment.set_status(run, summary.status, last)
        end = max(record.iteration for record in records)
        points = [
            Point(key, value, end if key in summary.curves else 0, last)
            for key, value in new.items()
        ]
        experiment.write(run, points=points, tags=summary.tags)

    def _put_away(
        self, experiment: Experiment, trials: Collection[str], parents: Collection[str]
    ) -> None:
        """Trials that the spec does not ask for any more keep their runs, below one of their
        own; their variants' go.
        """
        for key, run in list(experiment.runs.items()):
            kind = run.tags.get("sweep.kind")
            if "sweep.trial" in run.tags and key not in trials:
                earlier = self._plain_run(
                    experiment, "earlier", "earlier trials", place=len(self._places)
                )
                if earlier:
                    experiment.put_below(run, earlier)
                    experiment.set_status(earlier, "FINISHED", earlier.start)
            elif "sweep.trial" in run.tags or key in parents:
                continue
            elif kind in ("variant", "search", None):
                experiment.remove(run, key)
        earlier = experiment.runs.get("earlier: ")
        if earlier and not any(
            run.tags.get(PARENT) == earlier.run_id for run in experiment.runs.values()
        ):
            experiment.remove(earlier, "earlier: ")

    def _plain_run(self, experiment: Experiment, kind: str, name: str, place: int) -> Run | None:
        """A run that is there once; none where somebody deleted it and wants it so."""
        key = f"{kind}: "
        if key in experiment.hidden:
            return None
        run = experiment.runs.get(key)
        if run and run.start != self._start(place):
            experiment.remove(run, key)
            run = None
        tags = {"sweep.kind": kind, "sweep.name": self._spec.name}
        return run or experiment.create(key, name, self._start(place), tags)

    def _start(self, place: int) -> int:
        """The UI shows the latest first: a millisecond less for each place puts the runs in the
        order of the road.

        All of them start with the first trial of the sweep.
        """
        if self._began is None:
            self._began = first_start(self._record(trial) for trial in self.trials)
        return self._began - place

    def _write_run_ids(self, experiment: Experiment) -> None:
        runs = {
            key: run.run_id for key, run in experiment.runs.items() if "sweep.trial" in run.tags
        }
        uri = without_password(self.tracking_uri)
        write_runs(self._store.sweep_path(self._spec.name), uri, experiment.experiment_id, runs)
        self._listed = experiment.created
