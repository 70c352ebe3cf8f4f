"""The band above a page that is served while its sweep runs: what is done, what runs and how far it
is, what failed and why.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import counted
from orchestrator.metrics import decimals_of
from orchestrator.outcomes import State
from orchestrator.planning.causes import CauseGroup
from orchestrator.planning.status import SweepStatus
from orchestrator.report.sparkline import sparkline
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.text import duration_text, tally
from orchestrator.trial import KnownTrial

_MOST_RUNNING = 40
"""Trials that run and get a line of their own."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that runs, or was interrupted and waits for the next run."""

    name: str
    state: str
    where: str
    reached: str
    value: str
    """Last value of the sweep's metric; empty before the first."""
    curve: str
    """The metric so far, a bar for each evaluation."""


@dataclass(frozen=True)
class Band:
    """All that the band says of one moment."""

    version: str
    """Digest of what the page below depends on: another one means that the page is out of date."""
    summary: str
    driver: str
    done: int
    total: int
    metric: str
    running: Sequence[RunningTrial]
    more: int
    """Running trials beyond those that have a line."""
    causes: Sequence[CauseGroup]


def band_of(status: SweepStatus, metric: str) -> Band:
    """The band of a sweep that is compared by `metric`. Reads the metrics of trials that run."""
    ended = [known for known in status.trials if known.record.has_ended]
    active = [known for known in status.trials if known.record.state in _ACTIVE]
    left = status.seconds_left
    rest = f"; about {duration_text(left)} of compute left in total" if left else ""
    return Band(
        version=_version(status.trials),
        summary=f"{len(ended):,} of {counted(len(status.trials), 'trial')} done: "
        f"{tally(status.outcomes)}{rest}",
        driver=_driver_text(status),
        done=len(ended),
        total=len(status.trials),
        metric=metric,
        running=[_running(known, metric, status) for known in active[:_MOST_RUNNING]],
        more=max(0, len(active) - _MOST_RUNNING),
        causes=status.causes,
    )


_ACTIVE = (State.RUNNING, State.INTERRUPTED)


def _version(trials: Sequence[KnownTrial]) -> str:
    digest = hashlib.sha256()
    for known in trials:
        record = known.record
        digest.update(f"{known.spec.name} {record.standing} {record.iteration}\n".encode())
    return digest.hexdigest()[:16]


def _driver_text(status: SweepStatus) -> str:
    if status.holder:
        return f"running: process {status.holder.pid} on {status.holder.host}"
    if all(known.record.has_ended for known in status.trials):
        return "all trials have ended"
    command = f"orchestrator run {status.spec_path}{status.store_option}"
    return f"no driver is running; `{command}` continues"


def _running(known: KnownTrial, metric: str, status: SweepStatus) -> RunningTrial:
    trial, record = known.spec, known.record
    values = list(TrialDirectory(Path(record.path)).curve(metric).values())
    silent = status.silent.get(trial.name)
    silence = f", no output or progress for {duration_text(silent)}" if silent else ""
    return RunningTrial(
        name=trial.name,
        state=f"{record.state}{silence}",
        where=", ".join(record.hosts),
        reached=trial.reached_text(record.epoch),
        value=f"{values[-1]:.{decimals_of(metric, values)}f}" if values else "",
        curve=sparkline(values),
    )
