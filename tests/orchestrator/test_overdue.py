"""A trial that runs far longer than those that finished is named, and goes on."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented import spec_of
from rich.console import Console

from orchestrator.outcomes import Outcome
from orchestrator.planning.pace import Pace
from orchestrator.planning.status import status_of
from orchestrator.planning.survey import survey
from orchestrator.report.overview import status_view
from orchestrator.running.overdue import OverdueWatch
from orchestrator.store.lease import Lease
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec

Began = Callable[..., None]
MINUTE = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def trials(tmp_path: Path, store: Store) -> list[TrialSpec]:
    """Three seeds of a baseline and of a step."""
    spec = spec_of(tmp_path, "steps: [{name: norm, change: {model.norm: rmsnorm}}]")
    return list(survey(spec, store).specs)


@pytest.fixture
def began(store: Store, monkeypatch: pytest.MonkeyPatch) -> Began:
    """Begins an attempt some seconds before now."""

    def begin(trial: TrialSpec, seconds_ago: float, session: str = "mine") -> None:
        directory = store.directory(trial)
        directory.write_trial(trial, {})
        with monkeypatch.context() as patch:
            now = time.time()
            patch.setattr("orchestrator.store.trial_directory.time.time", lambda: now - seconds_ago)
            directory.start_attempt(session, {})

    return begin


def test_the_slowest_of_its_own_variant_counts_and_else_of_the_sweep(
    trials: list[TrialSpec],
) -> None:
    baseline, norm = trials[0], trials[3]
    pace = Pace()
    assert pace.remark(baseline, 1e6) == "", "nothing is known yet"
    pace.add(trials[1], 4 * MINUTE)
    pace.add(trials[2], 2 * MINUTE)
    assert pace.remark(baseline, 12 * MINUTE) == ""
    assert pace.remark(baseline, 13 * MINUTE) == (
        "it has run for 13:00 min; the slowest finished trial of its variant, baseline-seed1,"
        " took 4:00 min"
    )
    assert "the slowest finished trial of the sweep, baseline-seed1" in pace.remark(norm, 13 * 60)
    pace.add(trials[4], 10 * MINUTE)
    assert pace.remark(norm, 13 * MINUTE) == ""


def test_nothing_is_said_in_the_first_minutes(trials: list[TrialSpec]) -> None:
    pace = Pace()
    pace.add(trials[0], 1.0)
    assert pace.remark(trials[1], 299.0) == ""
    assert pace.remark(trials[1], 301.0)


def test_a_run_names_it_once_and_learns_from_what_finishes(
    trials: list[TrialSpec], store: Store, began: Began
) -> None:
    told: list[str] = []
    watch = OverdueWatch(store, "mine", Pace(), told.append)
    for trial, minutes in zip(trials[:3], (2, 20, 4), strict=True):
        began(trial, minutes * MINUTE)
        watch.started(trial)
    watch.started(trials[3])  # waits for a place
    watch.look()
    assert told == []
    watch.ended(trials[0], Outcome.FAILED)
    watch.look()
    assert told == [], "what failed says nothing about how long it takes"
    watch.ended(trials[2], Outcome.FINISHED)
    watch.look()
    watch.look()
    [message] = told
    assert message.startswith(
        "baseline-seed1 is taking long: it has run for 20:00 min; the slowest finished trial of"
    )
    assert message.endswith("baseline-seed2, took 4:00 min; it is not stopped")


def test_it_looks_by_itself_while_it_is_open(
    trials: list[TrialSpec], store: Store, began: Began, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = threading.Event()
    monkeypatch.setattr("orchestrator.running.overdue._LOOK_SECONDS", 0.01)
    pace = Pace()
    pace.add(trials[0], MINUTE)
    began(trials[1], 20 * MINUTE)
    with OverdueWatch(store, "mine", pace, lambda message: heard.set()) as watch:
        watch.started(trials[1])
        assert heard.wait(10)


def test_status_names_it(
    trials: list[TrialSpec], store: Store, began: Began, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, "steps: [{name: norm, change: {model.norm: rmsnorm}}]")
    began(trials[0], 0)
    store.directory(trials[0]).write_result(
        Outcome.FINISHED, {"metrics": {"val/acc1": 1.0}, "best": {}, "seconds": 70.0}
    )
    store.prepare(spec.name)
    with Lease(store.sweep_path(spec.name)) as lease:
        began(trials[1], 30 * MINUTE, lease.session)
        status = status_of(spec, Store(store.root))
    found: dict[str, Any] = {
        trial["name"]: trial["overdue"] for trial in status.to_json()["trials"]
    }
    assert "the slowest finished trial of its variant, baseline-seed0" in found["baseline-seed1"]
    assert found["norm-seed0"] is None
    console = Console(width=200, record=True)
    console.print(status_view(status))
    assert "it has run for 30:00 min" in console.export_text()
