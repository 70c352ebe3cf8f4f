"""The curve of a trial, a line for each evaluation."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DamagedFile, StoreError
from orchestrator.store.damage import note
from orchestrator.store.files import append_json_line, parse_line, read_file, read_json_lines
from orchestrator.store.records import MetricsRecord, SealedMetricsRecord, check

if TYPE_CHECKING:
    from orchestrator.store.trial_directory import TrialDirectory

_TAIL_BYTES = 16_384
"""More than one line of metrics mostly needs."""
_LONGEST_BYTES = 1 << 26


class MetricsLog:
    """Appends a trial's metrics; replaying an iteration adds nothing."""

    def __init__(self, directory: "TrialDirectory") -> None:
        self._path = directory.metrics_path
        self._key = directory.key
        last = directory.last_metrics()
        self._iteration = last["iteration"] if last else -1

    def __call__(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Append the metrics of one iteration. Raises `StoreError` where the store cannot be written."""
        if iteration <= self._iteration:
            return
        line = {"iteration": iteration, "time": time.time(), "metrics": dict(metrics)}
        try:
            append_json_line(self._path, line, key=self._key)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
        self._iteration = iteration


def metrics_in(path: Path, key: str) -> Iterator[dict[str, Any]]:
    """The whole lines in order, each iteration once; `key` is part of their checksums."""
    reached = -1
    for line, is_sealed in read_json_lines(path, key):
        try:
            _check(path, line, is_sealed)
        except DamagedFile as damage:
            note(damage)
            continue
        if line["iteration"] > reached:
            reached = line["iteration"]
            yield line


def last_metrics_in(path: Path, key: str) -> dict[str, Any] | None:
    """The last of `metrics_in`, without reading them all."""
    try:
        lines = _last_lines(path)
    except FileNotFoundError:
        return None
    except DamagedFile as damage:
        note(damage)
        return None
    if not lines:
        return None
    try:
        value, is_sealed = parse_line(path, lines[-1], key=key)
        _check(path, value, is_sealed)
    except DamagedFile:
        *_, last = [None, *metrics_in(path, key)]
        return last
    return dict(value)


def epoch_of(metrics: Mapping[str, float], iteration: int) -> int:
    """That these metrics are of; somebody's own training counts in iterations."""
    return int(metrics.get("epoch", iteration))


def _check(path: Path, line: dict[str, Any], is_sealed: bool) -> None:
    check(SealedMetricsRecord if is_sealed else MetricsRecord, path, line, is_sealed)


def _last_lines(path: Path) -> list[bytes]:
    """The whole lines at the end of a file. Raises `FileNotFoundError` and `DamagedFile`."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            size = start = os.fstat(file.fileno()).st_size
            lines: list[bytes] = []
            # else the last whole one may have begun before
            while len(lines) < 3 and start > 0:
                start = max(0, start - max(_TAIL_BYTES, size - start))
                file.seek(start)
                lines = file.read(_LONGEST_BYTES).split(b"\n")
                if size - start > _LONGEST_BYTES:
                    raise DamagedFile(path, "there is no line near its end")
    except FileNotFoundError:
        raise
    except OSError:
        return read_file(path).split(b"\n")[-3:-1]
    return lines[:-1] if start == 0 else lines[1:-1]
