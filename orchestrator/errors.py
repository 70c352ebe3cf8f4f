"""Errors: what can go wrong, by whose fault, and the exit code that says so.

    OrchestratorError
    ├── SpecError         2   the spec is wrong; holds every problem of the file with its place
    ├── UsageError        2   the command line asks for something that is not there
    ├── StoreError        3   the store cannot be read or written
    │   ├── SweepInUse    3   another driver is at work on this sweep
    │   ├── DamagedFile   3   a file of the store is not whole; mostly it counts as not there
    │   └── NewerFile     3   a file of the store was written by a newer version
    ├── TrackingError     3   the tracking server cannot be reached
    │   └── RecordRefused 3   it refuses single records; all others are there
    └── ClusterError      3   the cluster cannot be reached, or can never run a trial

`Interrupted` stands beside the tree: a run that was asked to stop has saved everything (exit code
130).

A trial that fails is not an exception here: it is an `Outcome` (`orchestrator.outcomes`). `assert`
is for our own mistakes only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from illama.spelling import did_you_mean


class OrchestratorError(Exception):
    """A failure that is explained to the user in one message, without a traceback."""

    exit_code: ClassVar[int] = 1


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop by Ctrl-C or SIGTERM, and has saved every checkpoint."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a spec; lines and columns count from 1, and are 0 outside of
    files and of a file that cannot be read.
    """

    line: int
    column: int
    message: str
    path: str = ""
    """The place of the mistake where it is not the spec's file: a file that it extends, or the
    command line.
    """

    def text(self, path: str) -> str:
        """`sweep.yaml:3:5: it is wrong`, where the spec is at `path`."""
        where = self.path or path
        return (
            f"{where}:{self.line}:{self.column}: {self.message}"
            if self.line
            else f"{where}: {self.message}"
        )


class SpecError(OrchestratorError):
    """The spec is wrong."""

    exit_code = 2

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = sorted(set(problems))
        super().__init__("\n".join(problem.text(path) for problem in self.problems))


class UsageError(OrchestratorError):
    """The command line asks for something that is not there."""

    exit_code = 2


class StoreError(OrchestratorError):
    """The store cannot be read or written."""

    exit_code = 3


class SweepInUse(StoreError):
    """Another driver holds the sweep's lease."""


class DamagedFile(StoreError):
    """A file of the store is not whole, or something else is in its place."""

    def __init__(self, path: Path | str, why: str) -> None:
        self.path = Path(path)
        self.why = why
        hint = "restore it, or delete it: then it counts as not written yet"
        super().__init__(f"{path} is damaged ({why}); {hint}")


class NewerFile(StoreError):
    """A file of the store was written by a newer version: it is neither read wrongly nor
    overwritten.
    """

    def __init__(self, path: Path | str, what: str) -> None:
        hint = "if a newer version wrote it, update this one, or choose another --store"
        super().__init__(f"{path} has {what}, which this version does not know; {hint}")


class TrackingError(OrchestratorError):
    """The tracking server cannot be reached or refuses us."""

    exit_code = 3


class RecordRefused(TrackingError):
    """The tracking server refuses single records; all others are there."""


class ClusterError(OrchestratorError):
    """The cluster cannot be reached, or can never run a trial."""

    exit_code = 3


def counted(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`, `2 studies`."""
    if count == 1:
        return f"{count:,} {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("dy") else f"{count:,} {noun}s"


def did_you_mean_one_of(word: str, allowed: Sequence[str]) -> str:
    """Suggest the nearest name as `did_you_mean` does, and all that is allowed where none is
    near.
    """
    return did_you_mean(word, allowed) or f"; allowed: {', '.join(sorted(allowed))}"
