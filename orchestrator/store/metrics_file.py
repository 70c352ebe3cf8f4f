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

_SYSTEM = "system/"
_TAIL_BYTES = 16_384
"""Bytes of a file's end; more than one line of metrics mostly needs."""
_LONGEST_BYTES = 1 << 26


class MetricsLog:
    """Appends a trial's metrics; replaying an iteration adds nothing.

    A training may log an iteration in several calls, each with other metrics.
    """

    def __init__(self, directory: "TrialDirectory") -> None:
        self._path = directory.metrics_path
        self._key = directory.key
        self._directory = directory
        last = directory.last_metrics() or {}
        self._iteration = last.get("iteration", -1)
        self._metrics: Mapping[str, float] = last.get("metrics", {})

    def __call__(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Append the metrics of one iteration. Raises `StoreError` where the store cannot be
        written.
        """
        if iteration < self._iteration:
            return
        if iteration == self._iteration:
            self._complete(metrics)
            return
        self._append({"iteration": iteration, "time": time.time(), "metrics": dict(metrics)})
        self._iteration, self._metrics = iteration, dict(metrics)

    def _complete(self, metrics: Mapping[str, float]) -> None:
        """Append what the last iteration lacks; how busy the machine is does not count."""
        new = {name: value for name, value in metrics.items() if name not in self._metrics}
        if all(name.startswith(_SYSTEM) for name in new):
            return
        self._metrics = {**self._metrics, **new}
        self._append_further(self._metrics, self._iteration)

    def add(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Append what the last iteration has beside what was logged of it; nothing where it has it
        all.
        """
        *_, last = [None, *self._directory.metrics()]
        if (
            last is None
            or last["iteration"] != iteration
            or metrics.items() <= last["metrics"].items()
        ):
            return
        self._append_further({**last["metrics"], **metrics}, iteration)

    def _append_further(self, whole: Mapping[str, float], iteration: int) -> None:
        line = {"iteration": iteration, "time": time.time(), "metrics": dict(whole), "final": True}
        self._append(line)

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            append_json_line(self._path, line, key=self._key)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error


def metrics_in(path: Path, key: str) -> Iterator[dict[str, Any]]:
    """The whole lines in order, each iteration once; `key` is part of their checksums.

    A line that is `final` has further metrics of the iteration before it: they are in the line of
    that iteration, and once more by themselves as `added` at the time `added_at`.
    """
    held: dict[str, Any] | None = None
    for line, is_sealed in read_json_lines(path, key):
        try:
            _check(path, line, is_sealed)
        except DamagedFile as damage:
            note(damage)
            continue
        if held is None or line["iteration"] > held["iteration"]:
            if held:
                yield held
            held = line
        elif line.get("final") and line["iteration"] == held["iteration"]:
            held = _with_final(held, line)
    if held:
        yield held


def _with_final(line: dict[str, Any], final: dict[str, Any]) -> dict[str, Any]:
    known = line["metrics"]
    new = {name: value for name, value in final["metrics"].items() if known.get(name) != value}
    added = {**line.get("added", {}), **new}
    return {**line, "metrics": {**known, **added}, "added": added, "added_at": final["time"]}


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
    if is_sealed:
        check(SealedMetricsRecord, path, line, is_sealed)
    else:
        check(MetricsRecord, path, line, is_sealed)


def last_lines(path: Path | str) -> list[bytes]:
    """The last whole lines of a file. Raises `OSError`, and `DamagedFile` where it has none near
    its end.
    """
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
