"""Trial directories on a path that all nodes see: the one truth about what was trained.

    <root>/<sweep>/sweep.yaml                 the spec as last submitted, byte for byte
    <root>/<sweep>/lease.json                 who is at work on the sweep (`orchestrator.store.lease`)
    <root>/<sweep>/trials/<trial>-<8 hex>/
        trial.json        what to do, and where it came from
        attempts.jsonl    a line when an attempt starts, a line when it ends
        metrics.jsonl     append-only, keyed by iteration
        checkpoint.pt     written by `illama.checkpoint`; a user training has a folder `checkpoint` instead
        result.json       written once, last, whole

A trial's state is derived from these files and kept nowhere else.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError, UsageError, did_you_mean_one_of
from orchestrator.pruning import Curve, Pruning
from orchestrator.store.files import (
    append_json_line,
    parse_json,
    read_json,
    read_json_lines,
    write_json,
    write_whole,
)
from orchestrator.trial import Outcome, State, TrialRecord, TrialSpec

RESULT_FORMAT = 1
_TAIL_BYTES = 16_384
"""More than one line of metrics mostly needs."""


class TrialDirectory:
    """The files of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def attempts_path(self) -> Path:
        """A line when an attempt starts, a line when it ends."""
        return self.path / "attempts.jsonl"

    @property
    def metrics_path(self) -> Path:
        """A line for each evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def result_path(self) -> Path:
        """There when the trial is done."""
        return self.path / "result.json"

    @property
    def stack_path(self) -> Path:
        """Where each thread stood when an attempt was ended for its time limit."""
        return self.path / "stack_at_time_limit.txt"

    @property
    def memory_path(self) -> Path:
        """How much an attempt had taken when it was ended for its memory limit."""
        return self.path / "memory_at_limit.txt"

    def write_trial(self, trial: TrialSpec, provenance: Mapping[str, Any]) -> None:
        """Say what is to be done, before a worker begins."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(
            self.path / "trial.json", {"format": 1, **trial.to_json(), "provenance": provenance}
        )

    def read_trial(self) -> TrialSpec:
        """What `write_trial` wrote."""
        return TrialSpec.from_json(read_json(self.path / "trial.json"))

    def provenance(self) -> Mapping[str, Any]:
        """What code and packages it was made with; empty where nothing says so any more."""
        try:
            return dict(read_json(self.path / "trial.json").get("provenance", {}))
        except FileNotFoundError:
            return {}

    def start_attempt(self, session: str, where: Mapping[str, Any]) -> int:
        """Begin the next attempt and return its number, from 1; an attempt that vanished is closed first."""
        events = list(read_json_lines(self.attempts_path))
        if events and events[-1]["event"] == "start":
            self.end_attempt(events[-1]["attempt"], *self.vanished())
        number = 1 + len([event for event in events if event["event"] == "start"])
        line = {
            "event": "start",
            "attempt": number,
            "session": session,
            **where,
            "time": time.time(),
        }
        append_json_line(self.attempts_path, line)
        return number

    def end_attempt(
        self, number: int, outcome: Outcome, cause: str | None = None, traceback: str | None = None
    ) -> None:
        """Say how an attempt ended."""
        line = {
            "event": "end",
            "attempt": number,
            "outcome": outcome,
            "cause": cause,
            "time": time.time(),
        }
        is_known = (
            outcome.is_result
        )  # from result.json, or of one that was pruned from its curve: both are on disk
        append_json_line(
            self.attempts_path,
            line | ({"traceback": traceback} if traceback else {}),
            force=not is_known,
        )

    def vanished(self) -> tuple[Outcome, str]:
        """How an attempt ended that left no line about it, and why: at one of its limits a process has no time for last words."""
        if self.memory_path.exists():
            return Outcome.OUT_OF_MEMORY, self.memory_path.read_text()
        if self.stack_path.exists() and self.stack_path.stat().st_size:
            return Outcome.TIMED_OUT, f"over its time limit; where it stood is in {self.stack_path}"
        return Outcome.LOST, "its process or node died"

    def write_result(self, outcome: Outcome, content: Mapping[str, Any]) -> None:
        """Declare the trial done. The last thing that is ever written here."""
        write_json(
            self.result_path,
            {"format": RESULT_FORMAT, "outcome": outcome, **content, "time": time.time()},
        )

    def metrics(self) -> Iterator[dict[str, Any]]:
        """`{"iteration", "time", "metrics"}` of every evaluation so far, in order."""
        return read_json_lines(self.metrics_path)

    def last_metrics(self) -> dict[str, Any] | None:
        """The newest of `metrics`, without reading them all."""
        try:
            with self.metrics_path.open("rb") as file:
                start = os.fstat(file.fileno()).st_size
                lines: list[bytes] = []
                while len(lines) < 3 and start > 0:  # else the last whole one may have begun before
                    start = max(0, start - _TAIL_BYTES)
                    file.seek(start)
                    lines = file.read().split(b"\n")
        except FileNotFoundError:
            return None
        return parse_json(self.metrics_path, lines[-2]) if len(lines) > 1 else None

    def curve(self, metric: str) -> Curve:
        """A metric by epoch, as far as it was measured."""
        lines = [(line["metrics"], line["iteration"]) for line in self.metrics()]
        return {
            epoch_of(metrics, iteration): metrics[metric]
            for metrics, iteration in lines
            if metric in metrics
        }

    def newest_attempt(self, session: str) -> list[dict[str, Any]]:
        """The lines of the newest attempt: its start, and its end if it has one; none where another driver began it."""
        events = list(read_json_lines(self.attempts_path))
        starts = [index for index, event in enumerate(events) if event["event"] == "start"]
        return events[starts[-1] :] if starts and events[starts[-1]]["session"] == session else []

    def record(
        self, live_session: str | None = None, pruning: Pruning | None = None
    ) -> TrialRecord:
        """What the files say; `live_session` is that of a driver that is alive, if one is, and `pruning` what stops it early."""
        if done := self.record_of_done(pruning):
            return done
        last = self.last_metrics()
        events = list(read_json_lines(self.attempts_path))
        record = TrialRecord(
            State.PENDING,
            attempts=sum(event["event"] == "start" for event in events),
            iteration=last["iteration"] if last else 0,
            epoch=last["metrics"].get("epoch", last["iteration"]) if last else 0.0,
            path=str(self.path),
            hosts=next(
                (hosts_of(event) for event in reversed(events) if event["event"] == "start"), ()
            ),
        )
        if not events:
            return record
        final = events[-1]
        if (
            final["event"] == "start"
            and live_session is not None
            and final["session"] == live_session
        ):
            return replace(record, state=State.RUNNING)
        if final["event"] == "start":
            outcome, cause = self.vanished()
        else:
            outcome, cause = Outcome(final["outcome"]), final["cause"]
        state = State.FAILED if outcome.is_failure else State.INTERRUPTED
        return replace(
            record, state=state, outcome=outcome, cause=cause, traceback=final.get("traceback", "")
        )

    def record_of_done(self, pruning: Pruning | None = None) -> TrialRecord | None:
        """Of one file alone, opened once: a sweep may have thousands of them. None where the trial is not done.

        What `pruning` stops early is done there, whether it has stopped or has gone on for somebody else.
        """
        if pruning and (pruned := self.record_of_pruned(pruning)):
            return pruned
        try:
            result = read_json(self.result_path)
        except FileNotFoundError:
            return None
        return TrialRecord(
            State.DONE,
            _known_outcome(self.result_path, result),
            result.get("cause"),
            attempts=result.get("attempts", 1),
            iteration=result.get("iterations", 0),
            epoch=float(result.get("epochs") or result.get("metrics", {}).get("epoch", 0.0)),
            result=result,
            path=str(self.path),
        )

    def record_of_pruned(self, pruning: Pruning) -> TrialRecord | None:
        """The trial as far as `pruning` lets it get; none where it is not stopped, or not yet."""
        curve = self.curve(pruning.metric)
        epoch = pruning.epoch_of(curve)
        if epoch is None:
            return None
        lines = [
            line for line in self.metrics() if epoch_of(line["metrics"], line["iteration"]) <= epoch
        ]
        last = lines[-1]
        result = {
            "outcome": Outcome.PRUNED,
            "metrics": last["metrics"],
            "iterations": last["iteration"],
            "epochs": epoch,
            "seconds": sum(line["metrics"].get("time/epoch_seconds", 0.0) for line in lines),
            "time": last["time"],
        }
        return TrialRecord(
            State.DONE,
            Outcome.PRUNED,
            pruning.cause(curve, epoch),
            attempts=sum(
                event["event"] == "start" for event in read_json_lines(self.attempts_path)
            ),
            iteration=last["iteration"],
            epoch=float(epoch),
            result=result,
            path=str(self.path),
        )


class MetricsLog:
    """Appends a trial's metrics; replaying an iteration adds nothing."""

    def __init__(self, directory: TrialDirectory) -> None:
        self._path = directory.metrics_path
        last = directory.last_metrics()
        self._iteration = last["iteration"] if last else -1

    def __call__(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Append the metrics of one iteration. Raises `StoreError` where the store cannot be written."""
        if iteration <= self._iteration:
            return
        try:
            append_json_line(
                self._path, {"iteration": iteration, "time": time.time(), "metrics": dict(metrics)}
            )
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
        self._iteration = iteration


class Store:
    """All sweeps below one path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self, sweep: str) -> None:
        """Make sure that the sweep's folder is there and can be written. Raises `StoreError`."""
        trials = self.sweep_path(sweep) / "trials"
        token = trials / f".writable-{uuid.uuid4().hex}"
        try:
            trials.mkdir(parents=True, exist_ok=True)
            write_whole(token, b"")
            token.unlink()
        except OSError as error:
            message = f"cannot write the store at {self.root}: {error.strerror}; choose another with --store"
            raise StoreError(message) from error

    def sweep_path(self, sweep: str) -> Path:
        """The folder of one sweep."""
        return self.root / sweep

    def spec_path(self, sweep: str) -> Path:
        """The spec of a sweep as last submitted. Raises `UsageError` where the store has no such sweep."""
        path = self.sweep_path(sweep) / "sweep.yaml"
        if not path.is_file():
            known = sorted(spec.parent.name for spec in self.root.glob("*/sweep.yaml"))
            hint = did_you_mean_one_of(sweep, known) if known else "; the store is empty"
            raise UsageError(
                f"'{sweep}' is neither a file nor a sweep in the store at {self.root}{hint}"
            )
        return path

    def submit(self, sweep: str, content: bytes, code: Mapping[str, bytes] | None = None) -> None:
        """Keep the spec as submitted, and beside it the modules that it names: workers on every node import them from here."""
        for name, source in {"sweep.yaml": content, **(code or {})}.items():
            path = self.sweep_path(sweep) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, source)

    def directory(self, trial: TrialSpec) -> TrialDirectory:
        """Where the trial's files are, or will be."""
        return TrialDirectory(self.root.joinpath(trial.sweep, "trials", trial.directory_name))

    def record(self, trial: TrialSpec, live_session: str | None = None) -> TrialRecord:
        """What is known of the trial: its own files, or the result of the same training anywhere in the store."""
        own = self.directory(trial)
        if done := own.record_of_done(trial.pruning):
            return done.judged(trial)
        for path in self._directories.get(trial.fingerprint[:8], []):
            done = TrialDirectory(path).record_of_done(trial.pruning) if path != own.path else None
            if done and _fingerprint_of(path) == trial.fingerprint:
                return done.judged(trial)
        return own.record(live_session, trial.pruning)

    @cached_property
    def _directories(self) -> dict[str, list[Path]]:
        """Those of all trials, by the first digits of their fingerprint. Listed once: a driver knows its own trials itself."""
        found: dict[str, list[Path]] = {}
        for trials in sorted(self.root.glob("*/trials")):
            for name in sorted(os.listdir(trials)):
                found.setdefault(name.rpartition("-")[2], []).append(trials / name)
        return found


def epoch_of(metrics: Mapping[str, float], iteration: int) -> int:
    """That these metrics are of; somebody's own training counts in iterations."""
    return int(metrics.get("epoch", iteration))


def curve_of(record: TrialRecord, metric: str) -> Curve:
    """`TrialDirectory.curve`, wherever the trial's files are; empty before there are any."""
    return TrialDirectory(Path(record.path)).curve(metric)


def hosts_of(start: Mapping[str, Any]) -> Sequence[str]:
    """Where an attempt runs, from the line of `attempts.jsonl` that it began with: the leader first, each once."""
    return tuple(dict.fromkeys(filter(None, [start.get("host"), *start.get("other_hosts", [])])))


def _known_outcome(path: Path, result: Mapping[str, Any]) -> Outcome:
    try:
        return Outcome(result["outcome"])
    except (KeyError, ValueError) as error:
        found = result.get("outcome")
        message = f"{path} has the outcome {found!r}, which this version does not know; was it written by a newer one?"
        raise StoreError(message) from error


def _fingerprint_of(path: Path) -> str | None:
    try:
        value = read_json(path / "trial.json")
    except FileNotFoundError:
        return None
    return str(value["fingerprint"])
