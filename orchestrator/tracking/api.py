"""Requests of a sweep's experiment to MLflow for its runs, each one call of MLflow's client."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
_ENTITIES_PER_CALL = 1000
"""The server's limit on one batch."""


@dataclass
class Run:
    """Run of MLflow, as far as it is known."""

    run_id: str
    name: str
    start: int
    """Milliseconds since 1970."""
    status: str
    is_deleted: bool
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    """The newest value of each."""
    artifacts: str = ""
    """Address of its folder, where that is known."""

    @property
    def iteration(self) -> int:
        """The last one whose metrics were sent; -1 before the first."""
        return int(self.tags.get("sweep.iteration", -1))

    @property
    def content(self) -> tuple[int, int]:
        """Measure of content: of two runs that are the same, the one with more is kept."""
        return self.iteration, len(self.tags) + len(self.params) + len(self.metrics)


@dataclass(frozen=True)
class Totals:
    """Totals of all points of a run; enough to see that some are gone, or are others."""

    count: int
    size: float
    """Sum of the absolute values."""
    total: float

    def is_like(self, other: "Totals") -> bool:
        """Equal but for the order in which they were added."""
        near = partial(math.isclose, rel_tol=1e-9, abs_tol=1e-9 * self.size)
        counts = self.count == other.count
        return counts and near(self.size, other.size) and near(self.total, other.total)


def totals_of(values: Iterable[float]) -> Totals:
    """The totals of these points."""
    known = list(values)
    return Totals(len(known), math.fsum(map(abs, known)), math.fsum(known))


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a curve."""

    key: str
    value: float
    iteration: int
    time: int
    """Milliseconds since 1970."""


class Api:
    """Every method raises what MLflow raises."""

    def __init__(self, tracking_uri: str) -> None:
        from mlflow import MlflowClient  # takes seconds

        self._client = MlflowClient(tracking_uri, registry_uri=tracking_uri)

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own client, which sees all that was written before."""
        return self._client

    def batch(self) -> AbstractContextManager[None]:
        """Inside, what is written may reach MLflow later, all of it by the end; where the inside
        raises, what has not reached it is dropped.
        """
        return nullcontext()

    def runs(self, experiment_id: str) -> Iterable[Run]:
        """All of an experiment, deleted ones too, the latest first."""
        from mlflow.entities import ViewType

        token = None
        while True:
            page = self.client.search_runs(
                [experiment_id], run_view_type=ViewType.ALL, max_results=1000, page_token=token
            )
            yield from map(_run_of, page)
            token = page.token
            if not token:
                return

    def totals(self, experiment_id: str) -> Mapping[str, Totals] | None:
        """The totals of each run that has points, by its id; none where only the server could tell,
        run by run.
        """
        return None

    def has_files(self, run: Run, sizes: Mapping[str, int | None]) -> bool:
        """Tell whether the run has these artifacts, in these sizes where they are given, as far as
        that is seen from here.
        """
        return True

    def create_run(self, experiment_id: str, name: str, start: int, tags: Mapping[str, str]) -> str:
        """A new run that is running. Returns its id."""
        return str(
            self.client.create_run(experiment_id, start, tags=dict(tags), run_name=name).info.run_id
        )

    def write(
        self,
        run_id: str,
        points: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Add to a run: params for good, tags in the place of others; a point that is there already
        is not added again.
        """
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.key, point.value, point.time, point.iteration) for point in points]
        room = _ENTITIES_PER_CALL - len(params) - len(tags)
        while len(metrics) > room:
            self.client.log_batch(run_id, metrics=metrics[:_ENTITIES_PER_CALL])
            metrics = metrics[_ENTITIES_PER_CALL:]
        param_list = [Param(key, value) for key, value in params.items()]
        tag_list = [RunTag(key, value) for key, value in tags.items()]
        self.client.log_batch(run_id, metrics=metrics, params=param_list, tags=tag_list)

    def end(self, run_id: str, status: str, end: int) -> None:
        """Say in MLflow's words how a run ended, and when in milliseconds since 1970."""
        self.client.set_terminated(run_id, status, end)

    def add_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Add a file as an artifact, below `folder`; one of the same name is replaced."""
        self.client.log_artifact(run_id, str(path), folder or None)

    def add_text(self, run_id: str, text: str, name: str) -> None:
        """Add an artifact; one of the same name is replaced."""
        self.client.log_text(run_id, text, name)

    def add_dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """The images that a trial was trained on; `digest` has at most 36 characters, `source` is
        JSON.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest, "illama", source)
        self.client.log_inputs(
            run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )


def is_refusal(error: Exception) -> bool:
    """Tell whether MLflow refuses what it was given, and would take something else."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code in _REFUSALS


def _run_of(run: Any) -> Run:
    info, data = run.info, run.data
    content = dict(data.tags), dict(data.params), dict(data.metrics)
    return Run(
        info.run_id,
        info.run_name,
        info.start_time,
        info.status,
        info.lifecycle_stage != "active",
        *content,
        info.artifact_uri,
    )
