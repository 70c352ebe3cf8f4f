"""The curve of a trial, a line for each evaluation."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from illama.sealed import refuse_other_than_files
from orchestrator.errors import DamagedFile, StoreError
from orchestrator.store.damage import note
from orchestrator.store.files import append_json_line, parse_line, read_json_lines
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
        lines = last_lines(path)
    except DamagedFile as damage:
        note(damage)
        return None
    except OSError:  # none, or what says below what is wrong with it
        lines = []
    if not lines:
        *_, last = [None, *metrics_in(path, key)]
        return last
    try:
        value, is_sealed = parse_line(path, lines[-1], key=key)
        _check(path, value, is_sealed)
    except DamagedFile:
        *_, last = [None, *metrics_in(path, key)]
        return last
    return dict(value)


def epoch_of(metrics: Mapping[str, float], iteration: int) -> int:
    """Epoch that these metrics are of; a user training counts in iterations."""
    return int(metrics.get("epoch", iteration))


def _check(path: Path, line: dict[str, Any], is_sealed: bool) -> None:
    check(SealedMetricsRecord if is_sealed else MetricsRecord, path, line, is_sealed)


def last_lines(path: Path | str) -> list[bytes]:
    """The last whole lines of a file. Raises `OSError`, and `DamagedFile` where it has none near its end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = refuse_other_than_files(descriptor, path)
        length = _TAIL_BYTES
        while True:
            start = max(0, size - length)
            lines = os.pread(descriptor, length, start).split(b"\n")
            if start == 0:
                return lines[:-1]
            if len(lines) > 2:  # else the last whole one may have begun before
                return lines[1:-1]
            if length > _LONGEST_BYTES:
                raise DamagedFile(Path(path), "there is no line near its end")
            length *= 4
    finally:
        os.close(descriptor)
