"""One experiment of MLflow: read once, written in few calls. What it holds of a run is remembered, and nothing is sent twice."""

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.tracking.database import add_points, prepare_database

# Read by mlflow when it is imported. A server that is down must not hold up a sweep for the minutes of its default retries.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI show runs and curves first, instead of traces of language models."""
_ENTITIES_PER_CALL = 1000
"""The server's limit on one batch."""
_REPLACED = "sweep.replaced"
"""Marks a run that we deleted, to tell it from those that somebody deleted by hand."""
PARENT = "mlflow.parentRunId"
"""The tag that names the run that a run is shown below."""
_NOTE_LENGTH = 5000
"""The oldest limit of a server on a tag of an experiment."""


@dataclass
class Run:
    """What MLflow is known to hold of one run."""

    run_id: str
    name: str
    start: int
    """Milliseconds since 1970."""
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    """The newest value of each."""

    @property
    def iteration(self) -> int:
        """The last one whose metrics were sent; -1 before the first."""
        return int(self.tags.get("sweep.iteration", -1))

    @property
    def content(self) -> tuple[int, int]:
        """More of two runs of the same is to be kept."""
        return self.iteration, len(self.tags) + len(self.params) + len(self.metrics)


@dataclass(frozen=True)
class Point:
    """One value of a curve."""

    key: str
    value: float
    iteration: int
    time: int
    """Milliseconds since 1970."""


class Stopped(Exception):
    """Another writer may be at work: this one must not write any more."""


class Experiment:
    """The only writer of a sweep's experiment. Every method raises what MLflow raises, and `Stopped`."""

    def __init__(self, tracking_uri: str, name: str, artifacts: Path, stopped: threading.Event, *, restore_deleted: bool) -> None:
        """Find the experiment, or make it, and read its runs; of a database opened directly the artifacts go to `artifacts`.

        Nothing is written any more once `stopped` is set.
        """
        from mlflow import MlflowClient  # takes seconds

        for library in ("mlflow", "alembic"):  # after the import, which sets them itself
            logging.getLogger(library).setLevel(logging.ERROR)
        prepare_database(tracking_uri)
        self.tracking_uri = tracking_uri
        self._stopped = stopped
        self.client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
        self.is_server = tracking_uri.startswith(("http:", "https:", "databricks"))
        self.experiment_id = self._open(name, artifacts)
        self.runs: dict[str, Run] = {}
        """By `key_of`."""
        self.hidden: set[str] = set()
        """Keys of runs that were deleted by hand and are left alone."""
        self.look(restore_deleted=restore_deleted)

    def look(self, *, restore_deleted: bool) -> None:
        """See what there is, and leave one run for each key: a request that was repeated because its answer was lost, or came
        late, may have made two.
        """
        self.runs.clear()
        self.hidden.clear()
        for key, runs in self._found().items():
            self._settle(key, runs, restore_deleted=restore_deleted)

    def create(self, key: str, name: str, start: int, tags: Mapping[str, str]) -> Run:
        """A new run; what is written into it later makes it complete."""
        self._go_on()
        run = self.client.create_run(self.experiment_id, start, tags=dict(tags), run_name=name)
        self.runs[key] = Run(run.info.run_id, name, start, "RUNNING", dict(tags), {}, {})
        return self.runs[key]

    def write(
        self, run: Run, *, params: Mapping[str, str] | None = None, points: Sequence[Point] = (), tags: Mapping[str, str]
    ) -> None:
        """Add to a run, the tags last: what they claim has been written then. What is there already is not sent."""
        from mlflow.entities import Metric, Param, RunTag

        self._go_on()
        new_tags = {key: value for key, value in tags.items() if run.tags.get(key) != value}
        new_params = {key: value for key, value in (params or {}).items() if key not in run.params}
        newest = {point.key: point for point in points}
        metrics = [Metric(p.key, p.value, p.time, p.iteration) for p in points if p is not newest[p.key]]
        metrics = [*add_points(self.tracking_uri, run.run_id, metrics)]
        metrics += [Metric(p.key, p.value, p.time, p.iteration) for p in newest.values()]
        room = _ENTITIES_PER_CALL - len(new_params) - len(new_tags)
        while len(metrics) > room:
            self.client.log_batch(run.run_id, metrics=metrics[:_ENTITIES_PER_CALL])
            metrics = metrics[_ENTITIES_PER_CALL:]
        if metrics or new_params or new_tags:
            param_list = [Param(key, value) for key, value in new_params.items()]
            tag_list = [RunTag(key, value) for key, value in new_tags.items()]
            self.client.log_batch(run.run_id, metrics=metrics, params=param_list, tags=tag_list)
        run.tags |= new_tags
        run.params |= new_params
        run.metrics |= {point.key: point.value for point in newest.values()}

    def put_below(self, run: Run, parent: Run) -> None:
        """Make `parent` the run that `run` is shown below."""
        if run.tags.get(PARENT) != parent.run_id:
            self.write(run, tags={PARENT: parent.run_id})

    def name(self, run: Run, name: str) -> None:
        """Rename a run, where it has another name."""
        if run.name != name:
            self._go_on()
            self.client.update_run(run.run_id, name=name)
            run.name = name

    def set_status(self, run: Run, status: str, end: int | None) -> None:
        """In MLflow's words; `end` in milliseconds, where it has ended."""
        if run.status == status == "RUNNING":
            return
        self._go_on()
        if end is None:
            self.client.update_run(run.run_id, status=status)
        else:
            self.client.set_terminated(run.run_id, status, end)
        run.status = status

    def add_files(self, run: Run, paths: Iterable[Path]) -> None:
        """As artifacts; those of the same name are replaced."""
        for path in paths:
            self._go_on()
            self.client.log_artifact(run.run_id, str(path))

    def add_text(self, run: Run, text: str, name: str) -> None:
        """As an artifact."""
        self._go_on()
        self.client.log_text(run.run_id, text, name)

    def add_dataset(self, run: Run, name: str, digest: str, source: str) -> None:
        """The images that a trial was trained on; `digest` has at most 36 characters, `source` is JSON."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        self._go_on()
        dataset = Dataset(name, digest, "illama", source)
        self.client.log_inputs(run.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def describe(self, text: str, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment, and the Markdown that its page shows, cut at a line where a server would refuse it."""
        self._go_on()
        encoded = text.encode()[:_NOTE_LENGTH].decode(errors="ignore")
        note = text if encoded == text else encoded.rpartition("\n")[0]
        for key, value in {**tags, "mlflow.note.content": note}.items():
            self.client.set_experiment_tag(self.experiment_id, key, value)

    def remove(self, run: Run, key: str) -> None:
        """Delete a run that is to be made again, or that is there twice."""
        self._go_on()
        self.client.set_tag(run.run_id, _REPLACED, "true")
        self.client.delete_run(run.run_id)
        if self.runs.get(key) is run:
            del self.runs[key]

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise Stopped("it was told to stop")

    def _open(self, name: str, artifacts: Path) -> str:
        self._go_on()
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                self.client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        # a server knows where its artifacts go; for a database opened directly they go into the store, not below the current
        # folder
        location = None if self.is_server else artifacts.as_uri()
        try:
            return str(self.client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except Exception as error:
            # made by an earlier request that a slow server took its time for
            experiment = self.client.get_experiment_by_name(name) if _exists_already(error) else None
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _found(self) -> dict[str, list[Any]]:
        """Our runs by key, deleted ones too."""
        from mlflow.entities import ViewType

        found: dict[str, list[Any]] = {}
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], run_view_type=ViewType.ALL, max_results=1000, page_token=token)
            for run in page:
                if key := key_of(run.data.tags):
                    found.setdefault(key, []).append(run)
            token = page.token
            if not token:
                return found

    def _settle(self, key: str, found: Sequence[Any], *, restore_deleted: bool) -> None:
        ours = [run for run in found if _REPLACED in run.data.tags]
        for run in ours:
            if run.info.lifecycle_stage == "active":  # we died before it was deleted, or the experiment was restored
                self._go_on()
                self.client.delete_run(run.info.run_id)
        kept = [run for run in found if run not in ours]
        active = [run for run in kept if run.info.lifecycle_stage == "active"]
        if kept and not active:
            if not restore_deleted:
                self.hidden.add(key)
                return
            active = [max(kept, key=lambda run: _run_of(run).content)]
            self._go_on()
            self.client.restore_run(active[0].info.run_id)
        known = sorted(map(_run_of, active), key=lambda run: run.content, reverse=True)
        for double in known[1:]:
            self.remove(double, key)
        if known:
            self.runs[key] = known[0]


def key_of(tags: Mapping[str, str]) -> str | None:
    """What identifies one of our runs; none for those of others."""
    if "sweep.trial" in tags:
        return tags["sweep.trial"]
    if "sweep.kind" in tags or "sweep.variant" in tags:
        return f"{tags.get('sweep.kind', 'variant')}: {tags.get('sweep.variant', '')}"
    return None


def _run_of(run: Any) -> Run:
    info, data = run.info, run.data
    return Run(info.run_id, info.run_name, info.start_time, info.status, dict(data.tags), dict(data.params), dict(data.metrics))


def _exists_already(error: Exception) -> bool:
    return getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS"
