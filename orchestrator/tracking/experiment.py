"""One experiment of MLflow: read once, written in few calls. What it holds of a run is remembered,
and nothing is sent twice.
"""

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from orchestrator.errors import TrackingError
from orchestrator.tracking.addresses import reason
from orchestrator.tracking.api import Point, Run, Totals, totals_of
from orchestrator.tracking.database import prepare_database, take_home
from orchestrator.tracking.sqlite import connect

# Read by mlflow when it is imported. A server that is down must not hold up a sweep for the minutes
# of its default retries.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a line for each run
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI show runs and curves first, instead of traces of language models."""
_REPLACED = "sweep.replaced"
"""Marks a run that we deleted, to tell it from those that were deleted by hand."""
PARENT = "mlflow.parentRunId"
"""The tag that names the run that a run is shown below."""
_NOTE_LENGTH = 5000
"""The oldest limit of a server on a tag of an experiment."""


class Stopped(Exception):
    """Another writer may be at work: this one must not write any more."""


def delete_experiment(tracking_uri: str, name: str) -> bool:
    """Delete a sweep's experiment in MLflow; says whether there was one. Raises `TrackingError`."""
    from mlflow.exceptions import MlflowException

    try:
        prepare_database(tracking_uri)
        client = connect(tracking_uri).client
        found = client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            return False
        client.delete_experiment(found.experiment_id)
    except MlflowException as error:
        raise TrackingError(
            f"cannot delete the experiment {name} in MLflow: {reason(error)}"
        ) from error
    return True


class Experiment:
    """The only writer of a sweep's experiment. Every method raises what MLflow raises, and
    `Stopped`.
    """

    def __init__(
        self,
        tracking_uri: str,
        name: str,
        artifacts: Path,
        stopped: threading.Event,
        *,
        restore_deleted: bool,
    ) -> None:
        """Find the experiment, or make it, and read its runs; of a database opened directly the
        artifacts go to `artifacts`.

        Nothing is written any more once `stopped` is set.
        """
        import mlflow  # noqa: F401  takes seconds

        for library in ("mlflow", "alembic"):  # after the import, which sets them itself
            logging.getLogger(library).setLevel(logging.ERROR)
        prepare_database(tracking_uri)
        take_home(tracking_uri, artifacts.parents[1])
        self._stopped = stopped
        self._api = connect(tracking_uri)
        self.is_server = tracking_uri.startswith(("http:", "https:", "databricks"))
        self.experiment_id = self._open(name, artifacts)
        self.created = 0
        """Number of runs that were made here."""
        self.runs: dict[str, Run] = {}
        """Find runs by `key_of`."""
        self.hidden: set[str] = set()
        """Keys of runs that were deleted by hand and are left alone."""
        self.look(restore_deleted=restore_deleted)

    def look(self, *, restore_deleted: bool) -> None:
        """See what there is, and leave one run for each key: a request that was repeated because
        its answer was lost, or came late, may have made two.
        """
        self.runs.clear()
        self.hidden.clear()
        self._totals = self._api.totals(self.experiment_id)
        found: dict[str, list[Run]] = {}
        for run in self._api.runs(self.experiment_id):
            if key := key_of(run.tags):
                found.setdefault(key, []).append(run)
        for key, runs in found.items():
            self._settle(key, runs, restore_deleted=restore_deleted)

    @property
    def _client(self) -> Any:
        return self._api.client

    def batch(self) -> AbstractContextManager[None]:
        """Inside, what is written may reach MLflow later, all of it by the end (`Api.batch`)."""
        return self._api.batch()

    def holds(self, run: Run, points: Totals, newest: Totals) -> bool:
        """Tell whether the last look found all of a run's points and no others, as far as that is
        seen from here.
        """
        if not newest.is_like(totals_of(run.metrics.values())):
            return False
        return self._totals is None or points.is_like(self._totals.get(run.run_id, totals_of([])))

    def has_files(self, run: Run, sizes: Mapping[str, int | None]) -> bool:
        """Tell whether the run has these artifacts, in these sizes where they are given, as far as
        that is seen from here.
        """
        return self._api.has_files(run, sizes)

    def create(self, key: str, name: str, start: int, tags: Mapping[str, str]) -> Run:
        """A new run; what is written into it later makes it complete."""
        self._go_on()
        run_id = self._api.create_run(self.experiment_id, name, start, tags)
        self.created += 1
        self.runs[key] = Run(run_id, name, start, "RUNNING", False, dict(tags), {}, {})
        return self.runs[key]

    def write(
        self,
        run: Run,
        *,
        params: Mapping[str, str] | None = None,
        points: Sequence[Point] = (),
        tags: Mapping[str, str],
    ) -> None:
        """Add to a run, the tags last: what they claim has been written then. What is there already
        is not sent.
        """
        self._go_on()
        new_tags = {key: value for key, value in tags.items() if run.tags.get(key) != value}
        new_params = {key: value for key, value in (params or {}).items() if key not in run.params}
        if points or new_params or new_tags:
            self._api.write(run.run_id, points, new_params, new_tags)
        run.tags |= new_tags
        run.params |= new_params
        run.metrics |= {point.key: point.value for point in points}

    def put_below(self, run: Run, parent: Run) -> None:
        """Make `parent` the run that `run` is shown below."""
        if run.tags.get(PARENT) != parent.run_id:
            self.write(run, tags={PARENT: parent.run_id})

    def name(self, run: Run, name: str) -> None:
        """Rename a run, where it has another name."""
        if run.name != name:
            self._go_on()
            self._client.update_run(run.run_id, name=name)
            run.name = name

    def set_status(self, run: Run, status: str, end: int | None) -> None:
        """Set a run's status in MLflow's words; `end` in milliseconds, where it has ended."""
        if run.status == status == "RUNNING":
            return
        self._go_on()
        if end is None:
            self._client.update_run(run.run_id, status=status)
        else:
            self._api.end(run.run_id, status, end)
        run.status = status

    def add_files(self, run: Run, paths: Iterable[Path]) -> None:
        """Add artifacts; those of the same name are replaced."""
        for path in paths:
            self._go_on()
            self._api.add_file(run.run_id, path)

    def add_artifacts(self, run: Run, files: Iterable[tuple[Path, str]]) -> None:
        """Files, each into the folder of that name below the run's artifacts."""
        for path, folder in files:
            self._go_on()
            self._api.add_file(run.run_id, path, folder)

    def add_text(self, run: Run, text: str, name: str) -> None:
        """Add a text as an artifact."""
        self._go_on()
        self._api.add_text(run.run_id, text, name)

    def add_dataset(self, run: Run, name: str, digest: str, source: str) -> None:
        """The images that a trial was trained on; `digest` has at most 36 characters, `source` is
        JSON.
        """
        self._go_on()
        self._api.add_dataset(run.run_id, name, digest, source)

    def describe(self, text: str, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment, and the Markdown that its page shows, cut at a line where a
        server would refuse it.
        """
        self._go_on()
        encoded = text.encode()[:_NOTE_LENGTH].decode(errors="ignore")
        note = text if encoded == text else encoded.rpartition("\n")[0]
        for key, value in {**tags, "mlflow.note.content": note}.items():
            self._client.set_experiment_tag(self.experiment_id, key, value)

    def remove(self, run: Run, key: str) -> None:
        """Delete a run that is to be made again, or that is there twice."""
        self._go_on()
        self._client.set_tag(run.run_id, _REPLACED, "true")
        self._client.delete_run(run.run_id)
        if self.runs.get(key) is run:
            del self.runs[key]

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise Stopped("it was told to stop")

    def _open(self, name: str, artifacts: Path) -> str:
        from mlflow.exceptions import MlflowException

        self._go_on()
        if known := self._named(name):
            return known
        # a server knows where its artifacts go; for a database opened directly they go into the
        # store, not below the current folder
        location = None if self.is_server else artifacts.as_uri()
        try:
            return str(
                self._client.create_experiment(
                    name, artifact_location=location, tags=_EXPERIMENT_TAGS
                )
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            known = self._named(
                name
            )  # made by an earlier request that a slow server took its time for
            if known is None:
                raise
            return known

    def _named(self, name: str) -> str | None:
        """The experiment of that name, where there is one; restored where it was deleted."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return None
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _settle(self, key: str, found: Sequence[Run], *, restore_deleted: bool) -> None:
        ours = [run for run in found if _REPLACED in run.tags]
        for run in ours:
            if not run.is_deleted:  # we died before it was, or the experiment was restored
                self._go_on()
                self._client.delete_run(run.run_id)
        kept = [run for run in found if run not in ours]
        active = [run for run in kept if not run.is_deleted]
        if kept and not active:
            if not restore_deleted:
                self.hidden.add(key)
                return
            active = [max(kept, key=lambda run: run.content)]
            self._go_on()
            self._client.restore_run(active[0].run_id)
            active[0].is_deleted = False
        known = sorted(active, key=lambda run: run.content, reverse=True)
        for double in known[1:]:
            self.remove(double, key)
        if known:
            self.runs[key] = known[0]


def key_of(tags: Mapping[str, str]) -> str | None:
    """Return what identifies one of our runs; None for those of others."""
    if "sweep.trial" in tags:
        return tags["sweep.trial"]
    if "sweep.kind" in tags or "sweep.variant" in tags:
        return f"{tags.get('sweep.kind', 'variant')}: {tags.get('sweep.variant', '')}"
    return None
