"""Shape of what the files of a trial hold: types, and numbers that are finite.

A record with a checksum is what was written, so here it may say more than this version knows. One
of before there were checksums has to be of the known keys: a bit that is flipped in a name makes
another name.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from orchestrator.errors import DamagedFile

Whole = int
Metrics = dict[str, FiniteFloat]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class ResultRecord(_Record):
    """`result.json`."""

    format: Whole = 1
    fingerprint: str | None = None
    outcome: str
    cause: str | None = None
    attempts: Whole = Field(1, ge=1)
    metrics: Metrics = {}
    best: Metrics = {}
    best_epoch: Whole = Field(0, ge=0)
    iterations: Whole = Field(0, ge=0)
    epochs: FiniteFloat = Field(0, ge=0)
    params: Whole | None = None
    seconds: FiniteFloat = Field(0, ge=0)
    peak_memory_bytes: Whole = Field(0, ge=0)
    flops: Whole | None = None
    metrics_bytes: Whole | None = None
    time: FiniteFloat = 0.0


class MetricsRecord(_Record):
    """A line of `metrics.jsonl`."""

    iteration: Whole = Field(ge=0)
    time: FiniteFloat
    metrics: Metrics


class SealedMetricsRecord(_Record):
    """A record of metrics with a checksum: what a training logged that is not finite is no
    damage.
    """

    iteration: Whole
    time: float
    metrics: dict[str, float]
    final: bool = False


class AttemptRecord(_Record):
    """A line of `attempts.jsonl`."""

    event: str
    attempt: Whole = Field(ge=0)
    time: FiniteFloat
    session: str | None = None
    host: str | None = None
    pid: Whole | None = None
    device: str | None = None
    torch: str | None = None
    other_hosts: list[str] = []
    micro_batch_size: Whole | None = None
    outcome: str | None = None
    cause: str | None = None
    traceback: str | None = None


class ProvenanceRecord(_Record):
    """Part of `trial.json` on code and packages."""

    python: str = "?"
    platform: str = "?"
    packages: dict[str, str] = {}
    code: dict[str, dict[str, str]] = {}
    git_commit: str | None = None
    git_diff: str | None = None


class LeaseRecord(_Record):
    """`lease.json`."""

    session: str
    host: str
    pid: Whole
    process_started: FiniteFloat
    acquired: FiniteFloat
    renewed: FiniteFloat
    stopping: bool = False
    machine: str = ""


class SessionRecord(_Record):
    """A line of `sessions.jsonl`."""

    generation: Whole = Field(ge=1)
    session: str
    host: str
    pid: Whole
    time: FiniteFloat


class PointsRecord(_Record):
    """Points that a search has suggested."""

    search: str
    points: list[dict[str, Any]]


class RunsRecord(_Record):
    """`mlflow_runs.json`."""

    tracking_uri: str
    experiment_id: str = ""
    runs: dict[str, str]


def check(
    kind: type[_Record], path: Path | str, value: dict[str, Any], is_sealed: bool, where: str = ""
) -> None:
    """Raise `DamagedFile` where the value is no such record."""
    try:
        kind.__pydantic_validator__.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise DamagedFile(path, f"{where}{key}: {first['msg']}") from error
    if not is_sealed and not value.keys() <= kind.model_fields.keys():
        [strange, *_] = sorted(value.keys() - kind.model_fields.keys())
        raise DamagedFile(path, f"{where}unknown key '{strange}'")
