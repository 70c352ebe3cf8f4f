"""The right of an attempt to write its trial's files: it ends when a later attempt begins.

A process that was stopped or cut off for long may wake up in the middle of a training that another
has finished meanwhile.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from orchestrator.outcomes import Outcome
from orchestrator.store.locks import locked
from orchestrator.store.metrics_file import MetricsLog
from orchestrator.store.sessions import successor
from orchestrator.store.trial_directory import TrialDirectory


class Superseded(Exception):
    """A later attempt at the same trial has begun, or ended: this one must not write any more."""


class Fence:
    """Around the writes of one attempt: its number and its driver's session have to be the
    newest.
    """

    def __init__(self, directory: TrialDirectory, number: int, session: str) -> None:
        self.directory = directory
        self.session = session
        self.number = number
        """Number of the attempt, from 1."""
        self._seen: tuple[int, int] | None = None
        self._log = MetricsLog(directory)

    @classmethod
    def begin(cls, directory: TrialDirectory, session: str, where: Mapping[str, Any]) -> Self:
        """Begin the next attempt. Raises `Superseded` where the trial is done by now, or the sweep
        another driver's.
        """

        def check() -> None:
            if directory.record_of_done() or successor(directory.path.parent.parent, session):
                raise Superseded

        return cls(directory, directory.start_attempt(session, where, check), session)

    def check(self) -> None:
        """Raise `Superseded` where a later attempt has begun. Costs one look while nothing was
        written.
        """
        try:
            about = os.stat(self.directory.attempts_path)
        except OSError as error:
            raise Superseded from error
        seen = (about.st_ino, about.st_size)
        if seen == self._seen:
            return
        starts = [event for event in self.directory.attempts() if event["event"] == "start"]
        mine = (self.number, self.session)
        if not starts or (starts[-1]["attempt"], starts[-1]["session"]) != mine:
            raise Superseded
        self._seen = seen

    def is_newest(self) -> bool:
        """True if no later attempt has begun."""
        try:
            self.check()
        except Superseded:
            return False
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody begins a later attempt inside. Raises `Superseded`, and `StoreError` where one was
        stopped within.
        """
        self.check()
        with locked(self.directory.attempts_path):
            self.check()
            yield

    def log(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Append metrics, as `MetricsLog` does."""
        with self.held():
            self._log(metrics, iteration)

    def log_final(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Append what a training returned beside what it logged last."""
        with self.held():
            self._log.add(metrics, iteration)

    def finish(self, outcome: Outcome, content: Mapping[str, Any], fingerprint: str) -> None:
        """Declare the trial done and the attempt ended."""
        with self.held():
            about = {"fingerprint": fingerprint, "attempts": self.number, **content}
            self.directory.write_result(outcome, about)
            self.directory.end_attempt(self.number, outcome, content.get("cause"))

    def end(self, outcome: Outcome, cause: str | None, traceback: str | None = None) -> None:
        """Say how the attempt ended."""
        with self.held():
            self.directory.end_attempt(self.number, outcome, cause, traceback)
