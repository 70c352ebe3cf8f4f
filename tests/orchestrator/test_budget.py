"""A sweep starts no trial once its budget is spent, says so, and goes on with a larger one."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.outcomes import Outcome
from orchestrator.planning.budget import Budget, budget_of
from orchestrator.running.spending import SpendingWatch
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.files import append_json_line
from orchestrator.trial import Resources

TRAINING = "def train(*, lr: float = 0.1):\n    return {'score': lr}\n"
SPEC = """\
name: bounded
metric: {name: score, mode: max}
seeds: [0, 1]
budget: {hours: 1.0e-9}
baseline:
  train: {name: "bounded_training:train"}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(budget: str = "{hours: 1.0e-9}") -> Path:
        (tmp_path / "bounded_training.py").write_text(TRAINING)
        (tmp_path / "bounded.yaml").write_text(SPEC.replace("{hours: 1.0e-9}", budget))
        return tmp_path / "bounded.yaml"

    return write


def test_a_queue_is_stopped_when_the_budget_is_spent() -> None:
    stopped: list[bool] = []
    queue: Any = SimpleNamespace(waiting=["another"], stop=lambda: stopped.append(True))
    watch = SpendingWatch(queue, Budget({"gpu_hours": 1e-15}, {"hours": 0.0, "gpu_hours": 0.0}))
    for gpus in (0, 2):
        trial: Any = SimpleNamespace(fingerprint="f", resources=Resources(gpus=gpus))
        assert not stopped
        watch.started(trial)
        watch.ended(trial, Outcome.FAILED)
    assert stopped
    assert str(watch.reason).startswith("stopped: budget: 0.00 of 1e-15 GPU-hours spent")


def test_attempts_are_counted_and_pauses_are_not(tmp_path: Path, write: Any) -> None:
    trial = tmp_path / "bounded" / "trials" / "baseline-seed0-01234567"
    trial.mkdir(parents=True)
    start: dict[str, Any] = {"event": "start", "session": "s"}
    end: dict[str, Any] = {"event": "end", "cause": None}
    day = 86_400.0
    for line in (
        start | {"attempt": 1, "time": 0.0},  # vanished after half an hour,
        end | {"attempt": 1, "time": day, "outcome": "lost"},  # which was noticed a day later
        start | {"attempt": 2, "time": day},
        end | {"attempt": 2, "time": day + 3600, "outcome": "failed"},
        start | {"attempt": 3, "time": 2 * day},
    ):
        append_json_line(trial / "attempts.jsonl", line, key="01234567")
    point = {"iteration": 1, "time": 1800.0, "metrics": {"score": 1.0}}
    append_json_line(trial / "metrics.jsonl", point, key="01234567")
    known: Any = SimpleNamespace(
        record=SimpleNamespace(path=str(trial)), spec=SimpleNamespace(resources=Resources(gpus=2))
    )
    budget = budget_of(load_spec(write("{hours: 2, gpu_hours: 3}")), [known, known])
    assert budget
    assert budget.spent == {"hours": 1.5, "gpu_hours": 3.0}
    assert budget.is_spent
    assert str(budget) == "budget: 1.50 of 2 hours of training and 3.00 of 3 GPU-hours spent"


@pytest.mark.slow
def test_it_is_told_and_a_larger_one_goes_on(cli: Any, write: Any, store_path: Path) -> None:
    options = ("--store", store_path)
    run = (*options, "--no-tracking", "--executor", "local")
    ran = cli("run", write(), *run)
    assert (ran.code, "1 trial is left out" in ran.out) == (0, True), ran.out
    assert "raise `budget` in the spec to continue from here" in ran.err
    again = cli("run", write(), *run)
    status = cli("status", write(), *options, "--json").json
    assert status["outcomes"] == {"finished": 1, "pending": 1}, again.out
    assert status["budget"]["hours"]["spent"] > 1e-9
    assert "budget-spent" in cli("plan", write(), *options).out
    assert cli("run", write("{hours: 1}"), *run).code == 0
    assert cli("status", write("{hours: 1}"), *options, "--json").json["outcomes"] == {
        "finished": 2
    }


def test_one_that_limits_nothing_is_refused(write: Any) -> None:
    with pytest.raises(SpecError, match="a budget has hours, gpu_hours or both"):
        load_spec(write("{}"))
