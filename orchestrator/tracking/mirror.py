"""The store mirrored into MLflow.

MLflow is a view: everything in it comes from the store, with the times that the store says, so that writing twice adds
nothing and a lost database is rebuilt by `orchestrator sync`. One experiment for a sweep, one parent run for a variant, one
child run for a trial, whatever its attempts. There is one writer: the driver that holds the sweep's lease, or `sync`.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import TrackingError, UsageError
from orchestrator.files import read_json, read_json_lines, write_json
from orchestrator.lease import live_session
from orchestrator.spec import SweepSpec
from orchestrator.statistics import summarise
from orchestrator.store import Store, TrialDirectory
from orchestrator.tracking.database import prepare_database
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec, Variant

# Read by mlflow when it is imported. A server that is down must not hold up a sweep for the minutes of its default retries.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI show runs and curves first, instead of traces of language models."""
_METRICS_PER_CALL = 1000
"""The server's limit on one batch."""
_PARAM_LENGTH = 500
_TAG_LENGTH = 5000


def default_tracking_uri(store: Store) -> str:
    """A SQLite file in the store. Raises `UsageError` where its path cannot be written as an address."""
    if "?" in str(store.root):
        message = f"MLflow's database cannot be addressed below {store.root}: its path has a '?'; choose another --store"
        raise UsageError(f"{message}, name a server with --tracking-uri, or add --no-tracking")
    return f"sqlite:///{store.root / 'mlflow.db'}"


@dataclass
class _MirroredRun:
    """What MLflow is known to hold of one trial."""

    run_id: str
    iteration: int
    """The last one whose metrics were sent."""
    state: str
    """As the tag `sweep.state` says."""


class MlflowMirror:
    """Brings MLflow up to date with the store, as often as asked."""

    def __init__(
        self,
        tracking_uri: str,
        spec: SweepSpec,
        trials: Sequence[TrialSpec],
        store: Store,
        describe: Callable[[], str] | None = None,
    ) -> None:
        """`describe` gives the Markdown that the experiment's page shows, asked for whenever everything was mirrored."""
        self.tracking_uri = tracking_uri
        self._page = describe
        self._spec = spec
        self._trials = trials
        self._store = store
        self._variants = {(v.regime, v.name): v for v in spec.variants}
        self._client: Any = None
        self._experiment_id = ""
        self._runs: dict[str, _MirroredRun] = {}
        self._parents: dict[str, str] = {}
        self._undescribed: set[str] = set()
        self._finished: dict[str, dict[int, TrialRecord]] = {}

    def sync(self, trials: Iterable[TrialSpec] | None = None) -> None:
        """Mirror some trials, or all of them. Raises `TrackingError` where MLflow is not installed, not reachable or refuses."""
        try:
            if self._client is None:
                self._connect()
            if trials is None:  # also what other sweeps, or other steps of this one, have finished meanwhile
                self._store = Store(self._store.root)
            session = live_session(self._store.sweep_path(self._spec.name))
            for trial in self._trials if trials is None else trials:
                self._sync_trial(trial, self._store.record(trial, session))
            self._write_run_ids()
            if trials is None and self._page:
                self._client.set_experiment_tag(self._experiment_id, "mlflow.note.content", self._page()[:_TAG_LENGTH])
        except ImportError as error:
            raise TrackingError(f"MLflow is not installed ({error}); install it and run `orchestrator sync`") from error
        except Exception as error:
            self._client = None  # look at everything afresh next time
            message = " ".join(str(error).replace(self.tracking_uri, _without_password(self.tracking_uri)).split())[:300]
            raise TrackingError(f"cannot write to MLflow at {_without_password(self.tracking_uri)}: {message}") from error

    def _connect(self) -> None:
        from mlflow import MlflowClient  # takes seconds

        for name in ("mlflow", "alembic"):  # after the import, which sets them itself
            logging.getLogger(name).setLevel(logging.ERROR)
        prepare_database(self.tracking_uri)
        client = MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)
        self._experiment_id = self._experiment(client)
        self._runs, self._parents, self._finished = {}, {}, {}
        for run in _all_runs(client, self._experiment_id):
            tags = run.data.tags
            if "sweep.trial" in tags:
                iteration = int(tags.get("sweep.iteration", -1))
                self._runs[tags["sweep.trial"]] = _MirroredRun(run.info.run_id, iteration, tags.get("sweep.state", ""))
            elif "sweep.variant" in tags:
                self._parents[tags["sweep.variant"]] = run.info.run_id
                if not run.data.params:
                    self._undescribed.add(run.info.run_id)
        self._client = client

    def _experiment(self, client: Any) -> str:
        name = self._spec.name
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        # a server knows where its artifacts go; for a database opened directly they go into the store, not below the current
        # folder
        is_server = self.tracking_uri.startswith(("http:", "https:", "databricks"))
        location = None if is_server else (self._store.root / "mlartifacts" / name).as_uri()
        return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))

    def _sync_trial(self, trial: TrialSpec, record: TrialRecord) -> None:
        if record.state is State.PENDING:
            return
        directory = TrialDirectory(Path(record.path))
        known = self._runs.get(run_key(trial))
        state = f"{record.state} {record.outcome or ''} {record.attempts}".strip()
        if known and known.state == state and known.iteration == record.iteration:
            self._note_finished(trial, record)
            return
        if known is None:
            known = self._runs[run_key(trial)] = _MirroredRun(self._create_run(trial, directory), -1, "")
        if not known.state:  # new, or we died before it was complete
            self._describe(known.run_id, trial, directory)
        metrics = [line for line in directory.metrics() if line["iteration"] > known.iteration]
        self._log_metrics(known.run_id, metrics)
        tags = {"sweep.iteration": str(record.iteration), "sweep.state": state, "sweep.attempts": str(record.attempts)}
        tags |= {"sweep.outcome": str(record.outcome or record.state), "sweep.cause": (record.cause or "")[:_TAG_LENGTH]}
        self._set_status(known.run_id, record, directory)
        self._log_tags(known.run_id, tags)  # last: what they claim has been written
        known.iteration, known.state = record.iteration, state
        self._note_finished(trial, record)

    def _create_run(self, trial: TrialSpec, directory: TrialDirectory) -> str:
        description = read_json(directory.path / "trial.json")
        start = next(read_json_lines(directory.attempts_path))["time"]
        tags = {
            "sweep.trial": run_key(trial),
            "sweep.name": trial.sweep,
            "sweep.variant": trial.variant,
            "sweep.regime": trial.regime,
            "sweep.seed": str(trial.seed),
            "sweep.fingerprint": trial.fingerprint,
            "mlflow.parentRunId": self._parent(trial, start),
            "mlflow.source.git.commit": str(description["provenance"].get("git_commit") or ""),
        }
        run = self._client.create_run(self._experiment_id, _milliseconds(start), tags=tags, run_name=trial.name)
        return str(run.info.run_id)

    def _describe(self, run_id: str, trial: TrialSpec, directory: TrialDirectory) -> None:
        self._log_params(run_id, self._params(self._variants[(trial.regime, trial.variant)]) | {"seed": trial.seed})
        self._client.log_artifact(run_id, str(directory.path / "trial.json"))

    def _parent(self, trial: TrialSpec, start: float) -> str:
        variant = self._variants[(trial.regime, trial.variant)]
        if variant.label not in self._parents:
            tags = {"sweep.variant": variant.label, "sweep.name": trial.sweep}
            run = self._client.create_run(self._experiment_id, _milliseconds(start), tags=tags, run_name=variant.label)
            self._parents[variant.label] = str(run.info.run_id)
            self._undescribed.add(self._parents[variant.label])
        run_id = self._parents[variant.label]
        if run_id in self._undescribed:
            self._log_params(run_id, self._params(variant))
            self._undescribed.remove(run_id)
        return run_id

    def _params(self, variant: Variant) -> dict[str, Any]:
        """What one compares by: the step, and every setting that any step of the sweep changes, with this variant's values."""
        keys = dict.fromkeys(key for other in self._spec.variants for key in other.changes)
        settings = variant.config.model_dump(mode="json")
        regime = {"regime": variant.regime} if variant.regime else {}
        return {"step": variant.step, "variant": variant.name} | regime | {key: _at(settings, key) for key in keys}

    def _log_metrics(self, run_id: str, lines: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, _milliseconds(line["time"]), line["iteration"])
            for line in lines
            for name, value in line["metrics"].items()
        ]
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_CALL])

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run_id, params=[Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()])

    def _log_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def _set_status(self, run_id: str, record: TrialRecord, directory: TrialDirectory) -> None:
        if record.result is not None:
            self._client.log_artifact(run_id, str(directory.result_path))
            self._client.set_terminated(run_id, "FINISHED", _milliseconds(record.result["time"]))
        elif record.outcome is not None:
            ended = list(read_json_lines(directory.attempts_path))[-1]["time"]
            status = "FAILED" if record.state is State.FAILED else "KILLED"
            self._client.set_terminated(run_id, status, _milliseconds(ended))
        else:
            self._client.update_run(run_id, status="RUNNING")

    def _note_finished(self, trial: TrialSpec, record: TrialRecord) -> None:
        """Keep the parent run's aggregates in step with the trials that are done."""
        if record.result is None or record.outcome is Outcome.DIVERGED:
            return
        variant = self._variants[(trial.regime, trial.variant)]
        finished = self._finished.setdefault(variant.label, {})
        if trial.seed in finished:
            return
        finished[trial.seed] = record
        self._log_aggregates(variant, finished)

    def _log_aggregates(self, variant: Variant, finished: Mapping[int, TrialRecord]) -> None:
        from mlflow.entities import Metric

        if len(finished) < len(self._spec.schema.seeds):
            return  # one point for each variant: its mean over all seeds
        name = self._spec.schema.metric.name
        alike = [record for _, record in sorted(finished.items()) if record.outcome is Outcome.FINISHED]
        alike = alike or [record for _, record in sorted(finished.items())]  # never a mean of collapsed and healthy trials
        summary = summarise([record.metrics[name] for record in alike])
        assert summary is not None
        results = [record.result for record in finished.values() if record.result]
        last = _milliseconds(max(result["time"] for result in results))
        values = {name: summary.mean, f"{name}_std": summary.std}
        values |= {f"{name}_ci95_low": summary.ci95[0], f"{name}_ci95_high": summary.ci95[1]} if summary.ci95 else {}
        run_id = self._parents[variant.label]
        metrics = [Metric(key, value, last, len(finished)) for key, value in values.items() if value is not None]
        self._client.log_batch(run_id, metrics=metrics)
        self._client.set_terminated(run_id, "FINISHED", last)

    def _write_run_ids(self) -> None:
        runs = {key: known.run_id for key, known in sorted(self._runs.items())}
        path = self._store.sweep_path(self._spec.name) / "mlflow_runs.json"
        write_json(path, {"tracking_uri": _without_password(self.tracking_uri), "runs": runs})


def mlflow_run_ids(store: Store, sweep: str) -> Mapping[str, str]:
    """The MLflow run of each trial that has one, by `run_key`."""
    try:
        content = read_json(store.sweep_path(sweep) / "mlflow_runs.json")
    except FileNotFoundError:
        return {}
    runs: Mapping[str, str] = content["runs"]
    return runs


def run_key(trial: TrialSpec) -> str:
    """Ties a trial to its one run; an edited step is another trial."""
    return f"{trial.name} {trial.fingerprint[:16]}"


def _all_runs(client: Any, experiment_id: str) -> Iterable[Any]:
    """Deleted ones too: the store still has their trials, so they are restored."""
    from mlflow.entities import ViewType

    token = None
    while True:
        page = client.search_runs([experiment_id], run_view_type=ViewType.ALL, max_results=1000, page_token=token)
        for run in page:
            if run.info.lifecycle_stage == "deleted":
                client.restore_run(run.info.run_id)
            yield run
        token = page.token
        if not token:
            return


def _at(settings: Mapping[str, Any], key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _without_password(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
