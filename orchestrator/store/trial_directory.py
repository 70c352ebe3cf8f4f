"""The files of one trial.

trial.json        what to do, and where it came from
attempts.jsonl    a line when an attempt starts, a line when it ends
metrics.jsonl     append-only, keyed by iteration
epochs/           weights that were kept along the training, a folder for each epoch
checkpoint.pt     written by `illama.checkpoint`; a user training has a folder `checkpoint` instead
output.log        what it printed, attempt by attempt; bounded in size
artifacts/        files that a user training leaves for people (`store.artifacts`)
mlflow/           what a user training logs by MLflow's own functions (`store.own_mlflow`)
predictions.bin   which held-out images the final network got right (`store.predictions`)
result.json       written once, last, whole

Each line and each file has a checksum. What is not whole is passed over with a note and counts as
not there.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from illama.config import EPOCHS
from orchestrator.errors import DamagedFile, NewerFile
from orchestrator.outcomes import Outcome, State
from orchestrator.pruning import Curve, Pruning
from orchestrator.store.attempts_file import attempts_in, hosts_of, outcome_of
from orchestrator.store.damage import note
from orchestrator.store.files import (
    append_json_line,
    clear_litter,
    load_json,
    make_way,
    read_file,
    read_json,
    set_aside,
    write_json,
)
from orchestrator.store.locks import locked
from orchestrator.store.metrics_file import epoch_of, last_metrics_in, metrics_in
from orchestrator.store.records import (
    ProvenanceRecord,
    ResultRecord,
    check,
)
from orchestrator.store.results import curve_is_shortened, refuse_wrong_result
from orchestrator.trial import TrialRecord, TrialSpec

TRIAL_FORMAT = 2
RESULT_FORMAT = 2
"""The version of the format of a result; from 2 on there is a checksum."""
_UNFINISHED = (
    *(
        f"{folder}checkpoint.{end}.tmp"
        for folder in ("", "checkpoint/")
        for end in ("pt", "sha256")
    ),
    "own_training.tmp",
)
"""Temporary files of a training, which only the newest attempt writes."""
_FILES = ("checkpoint.pt", "checkpoint.previous.pt", "checkpoint.sha256", "own_training.json")
"""The files of a training, beside our own."""


class TrialDirectory:
    """The files of one trial."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def key(self) -> str:
        """Start of the fingerprint, which is part of every line's checksum."""
        return self.path.name.rpartition("-")[2]

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
        """The file that is there when the trial is done."""
        return self.path / "result.json"

    @property
    def stack_path(self) -> Path:
        """Stacks of all threads when an attempt was ended for its time limit."""
        return self.path / "stack_at_time_limit.txt"

    @property
    def memory_path(self) -> Path:
        """Memory that an attempt had taken when it was ended for its limit."""
        return self.path / "memory_at_limit.txt"

    @property
    def output_path(self) -> Path:
        """File of what it printed, attempt by attempt (`orchestrator.store.output_log`)."""
        return self.path / "output.log"

    def write_trial(
        self,
        trial: TrialSpec,
        provenance: Mapping[str, Any],
        adopted: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what is to be done, before a worker begins, or whose result counts as done
        (`orchestrator.store.adoption`).
        """
        is_in_the_way = os.path.lexists(self.path) and not self.path.is_dir()
        if is_in_the_way or self._holds_another_trial():
            set_aside(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        about = {"format": TRIAL_FORMAT, **trial.to_json(), "provenance": provenance}
        if adopted:
            about["adopted"] = adopted
        write_json(self.path / "trial.json", about)

    def _holds_another_trial(self) -> bool:
        """True if the files were copied here from another trial's folder: none of them may be
        taken for this trial's.
        """
        try:
            value = read_json(self.path / "trial.json", newest=TRIAL_FORMAT)
        except (FileNotFoundError, NewerFile, DamagedFile):
            return False
        return not str(value.get("fingerprint", self.key)).startswith(self.key)

    def read_trial(self) -> TrialSpec:
        """Read what `write_trial` wrote. Raises `StoreError` where it is not whole."""
        path = self.path / "trial.json"
        value = read_json(path, newest=TRIAL_FORMAT)
        try:
            return TrialSpec.from_json(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedFile(path, f"not a trial of this version: {error!r}") from error

    def provenance(self) -> Mapping[str, Any]:
        """Code and packages that the trial was made with; empty where nothing says so any more."""
        path = self.path / "trial.json"
        try:
            value, _ = load_json(path, newest=TRIAL_FORMAT)
            if str(value.get("fingerprint"))[:8] != self.key:
                raise DamagedFile(path, "it belongs to another trial")
            found = value.get("provenance", {})
            check(ProvenanceRecord, path, found, is_sealed=True)
        except (FileNotFoundError, NewerFile):
            return {}
        except DamagedFile as damage:
            note(damage)
            return {}
        return dict(found)

    def refuse_newer(self) -> None:
        """Raise `NewerFile` where a newer version was at work here: nothing of it is written
        over.
        """
        for path, newest in (
            (self.path / "trial.json", TRIAL_FORMAT),
            (self.result_path, RESULT_FORMAT),
        ):
            with suppress(FileNotFoundError, DamagedFile):
                read_json(path, newest=newest)
        with suppress(FileNotFoundError, DamagedFile):
            self._result()

    def start_attempt(
        self, session: str, where: Mapping[str, Any], check: Callable[[], None] = lambda: None
    ) -> int:
        """Begin the next attempt and return its number, from 1; an attempt that vanished is closed
        first.

        What `check` raises keeps it from beginning; nobody else begins or ends an attempt
        meanwhile.
        """
        self._make_ready()
        with locked(self.attempts_path):
            check()
            events = self.attempts()
            if events and events[-1]["event"] == "start":
                self.end_attempt(events[-1]["attempt"], *self.vanished())
            number = 1 + max((event["attempt"] for event in events), default=0)
            line = {"event": "start", "attempt": number, "session": session, **where}
            append_json_line(self.attempts_path, {**line, "time": time.time()}, key=self.key)
        return number

    def _make_ready(self) -> None:
        """Clear what dead processes left, and set aside what is no file in a file's place."""
        clear_litter(self.path)
        for name in _UNFINISHED:
            with suppress(OSError):  # a folder of that name is somebody's
                (self.path / name).unlink(missing_ok=True)
        ours = (self.attempts_path, self.metrics_path, self.result_path)
        notes = (self.stack_path, self.memory_path, self.output_path)
        for path in (*ours, *notes):
            make_way(path)
        for name in _FILES:
            make_way(self.path / name, sys.maxsize)  # weights may be large
        folder = self.path / "checkpoint"
        if os.path.lexists(folder) and not folder.is_dir():
            set_aside(folder)

    def set_aside_checkpoints(self) -> None:
        """Give the checkpoints of another training another name: the next one begins at the
        beginning.
        """
        for name in (*_FILES, "checkpoint", EPOCHS, "artifacts", "mlflow"):
            path = self.path / name
            if os.path.lexists(path):
                set_aside(path)

    def attempts(self) -> list[dict[str, Any]]:
        """The whole lines of `attempts.jsonl` that this version knows, in order."""
        return attempts_in(self.attempts_path, self.key)

    def end_attempt(
        self, number: int, outcome: Outcome, cause: str | None = None, traceback: str | None = None
    ) -> None:
        """Say how an attempt ended."""
        line: dict[str, Any] = {"event": "end", "attempt": number, "outcome": outcome}
        line |= {"cause": cause, "time": time.time()}
        if traceback:
            line["traceback"] = traceback
        # a result is in result.json, or follows from the curve of one that was pruned: on disk,
        # both
        force = not outcome.is_result
        append_json_line(self.attempts_path, line, key=self.key, force=force)

    def vanished(self) -> tuple[Outcome, str]:
        """Outcome and cause of an attempt that left no line: at a limit there is no time for
        last words.
        """
        with suppress(FileNotFoundError, DamagedFile):
            note_left = read_file(self.memory_path).decode(errors="replace")
            return Outcome.OUT_OF_MEMORY, note_left
        if self.stack_path.is_file() and self.stack_path.stat().st_size:
            return Outcome.TIMED_OUT, f"over its time limit; its stack is in {self.stack_path}"
        return Outcome.LOST, "its process or node died"

    def write_result(self, outcome: Outcome, content: Mapping[str, Any]) -> None:
        """Declare the trial done. The last thing that is ever written here."""
        result = {"format": RESULT_FORMAT, "outcome": outcome, **content, "time": time.time()}
        with suppress(OSError):
            result["metrics_bytes"] = self.metrics_path.stat().st_size
        write_json(self.result_path, result)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """`{"iteration", "time", "metrics"}` of every evaluation so far, in order, each
        iteration once.
        """
        return metrics_in(self.metrics_path, self.key)

    def last_metrics(self) -> dict[str, Any] | None:
        """The newest of `metrics`, without reading them all."""
        return last_metrics_in(self.metrics_path, self.key)

    def curve(self, metric: str) -> Curve:
        """A metric by epoch, as far as it was measured."""
        lines = [(line["metrics"], line["iteration"]) for line in self.metrics()]
        return {
            epoch_of(metrics, iteration): metrics[metric]
            for metrics, iteration in lines
            if metric in metrics
        }

    def newest_attempt(self, session: str) -> list[dict[str, Any]]:
        """The lines of the newest attempt: its start, and its end if it has one; none where
        another driver began it.
        """
        newest: list[dict[str, Any]] = []
        for event in self.attempts():
            if event["event"] == "start":
                newest = []
            newest.append(event)
        if not newest or newest[0].get("session") != session:
            return []
        return newest

    def record(
        self, live_session: str | None = None, pruning: Pruning | None = None
    ) -> TrialRecord:
        """Record from the files; `live_session` is that of a driver that is alive, if one is."""
        try:
            if done := self.record_of_done(pruning):
                return done
        except NewerFile as newer:
            return self.record_of_newer(newer)
        events = self.attempts()
        starts = [event for event in events if event["event"] == "start"]
        record = TrialRecord(State.PENDING, attempts=len(starts), path=str(self.path))
        if last := self.last_metrics():
            epoch = last["metrics"].get("epoch", last["iteration"])
            record = replace(record, iteration=last["iteration"], epoch=epoch)
        if starts:
            record = replace(record, hosts=hosts_of(starts[-1]))
        if not events:
            return record
        return self._with_last(record, events[-1], live_session)

    def _with_last(
        self, record: TrialRecord, last: Mapping[str, Any], live_session: str | None
    ) -> TrialRecord:
        """The record with how the last attempt stands, whose start or end is `last`."""
        if last["event"] == "end":
            outcome, cause = outcome_of(last)
        elif live_session is not None and last["session"] == live_session:
            return replace(record, state=State.RUNNING)
        else:
            outcome, cause = self.vanished()
        state = State.INTERRUPTED
        if outcome.is_failure:
            state = State.FAILED
        trace = last.get("traceback") or ""
        return replace(record, state=state, outcome=outcome, cause=cause, traceback=trace)

    def record_of_newer(self, newer: NewerFile) -> TrialRecord:
        """A trial that a newer version was at work on: left alone, and told."""
        cause, path = str(newer), str(self.path)
        return TrialRecord(State.FAILED, Outcome.FAILED, cause, attempts=1, path=path)

    def record_of_done(self, pruning: Pruning | None = None) -> TrialRecord | None:
        """Record made of one file alone, opened once: a sweep may have thousands of them. None
        where the trial is not done.

        What `pruning` stops early is done there, whether it has stopped or has gone on for somebody
        else. Raises `NewerFile`.
        """
        if pruning and (pruned := self.record_of_pruned(pruning)):
            return pruned
        try:
            result = self._result()
        except FileNotFoundError:
            return None
        except DamagedFile as damage:
            note(damage)
            return None
        if curve_is_shortened(str(self.path), result):
            note(DamagedFile(self.metrics_path, "its length has changed since it was complete"))
        return TrialRecord(
            State.DONE,
            Outcome(result["outcome"]),
            result.get("cause"),
            attempts=result.get("attempts", 1),
            iteration=result.get("iterations", 0),
            epoch=float(result.get("epochs") or result.get("metrics", {}).get("epoch", 0.0)),
            result=result,
            path=str(self.path),
        )

    def _result(self) -> dict[str, Any]:
        """Content of `result.json`. Raises `FileNotFoundError`, `NewerFile`, and `DamagedFile`
        where it is not this trial's.
        """
        path = f"{self.path}/result.json"
        result, is_sealed = load_json(path, newest=RESULT_FORMAT)
        check(ResultRecord, path, result, is_sealed)
        refuse_wrong_result(str(self.path), self.key, result, is_sealed=is_sealed)
        return result

    def record_of_pruned(self, pruning: Pruning) -> TrialRecord | None:
        """The trial as far as `pruning` lets it get; none where it is not stopped, or not yet."""
        lines = list(self.metrics())
        curve = {
            epoch_of(line["metrics"], line["iteration"]): line["metrics"][pruning.metric]
            for line in lines
            if pruning.metric in line["metrics"]
        }
        epoch = pruning.epoch_of(curve)
        if epoch is None:
            return None
        lines = [line for line in lines if epoch_of(line["metrics"], line["iteration"]) <= epoch]
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
            attempts=sum(event["event"] == "start" for event in self.attempts()),
            iteration=last["iteration"],
            epoch=float(epoch),
            result=result,
            path=str(self.path),
        )
