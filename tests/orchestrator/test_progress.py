"""The live view tells what is done, what runs, and when it will be over; in a file as in a
terminal.
"""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from invented import snapshot_of
from rich.console import Console

from orchestrator.planning.plan import make_plan
from orchestrator.running.progress import ProgressView
from orchestrator.store.store import MetricsLog
from orchestrator.trial import Outcome, TrialSpec


class Clock:
    """The time, when we say so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("running.progress", "store.trial_directory"):
        monkeypatch.setattr(f"orchestrator.{module}.time", clock)
    return clock


@pytest.fixture
def sweep(make_sweep: Callable[..., Any]) -> Any:
    return make_sweep(seeds=[0, 1, 2, 3], **{"baseline.train.epochs": 10})


class Stage:
    """A view of a sweep, and the workers that it watches."""

    def __init__(self, sweep: Any, **console: Any) -> None:
        self.sweep = sweep
        self.file = io.StringIO()
        plan = make_plan(snapshot_of(sweep.spec, sweep.trials, sweep.store.record))
        self.view = ProgressView(
            Console(file=self.file, **console), plan, sweep.store, "mine", "val/acc1"
        )

    def start(self, trial: TrialSpec) -> None:
        directory = self.sweep.store.directory(trial)
        directory.write_trial(trial, {})
        directory.start_attempt("mine", {})
        self.view.started(trial)

    def epoch(self, trial: TrialSpec, epoch: int) -> None:
        MetricsLog(self.sweep.store.directory(trial))(
            {"epoch": float(epoch), "val/acc1": 10.0 * epoch}, epoch
        )

    @property
    def text(self) -> str:
        return self.file.getvalue()


def test_a_terminal_that_cannot_redraw_gets_lines(sweep: Any, clock: Clock) -> None:
    """Emacs' shell, some CI."""
    stage = Stage(sweep, force_terminal=True, _environ={"TERM": "dumb"})
    with stage.view:
        for trial in sweep.trials:
            stage.start(trial)
            stage.view.ended(trial, Outcome.FINISHED)
    assert sum("finished" in line for line in stage.text.splitlines()) == 4


def test_in_a_file_each_trial_is_one_plain_line(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    with stage.view:
        for trial, outcome in zip(
            sweep.trials,
            (Outcome.FINISHED, Outcome.COLLAPSED, Outcome.FAILED, Outcome.DIVERGED),
            strict=True,
        ):
            stage.start(trial)
            stage.epoch(trial, 10)
            clock.now += 5
            stage.view.ended(trial, outcome)
    lines = stage.text.splitlines()
    assert lines[0].startswith(
        "[1/4] baseline-seed0 finished val/acc1 100.00, 5.0 s; about 0:15 left"
    )
    assert [line.split()[:3] for line in lines] == [
        ["[1/4]", "baseline-seed0", "finished"],
        ["[2/4]", "baseline-seed1", "collapsed"],
        ["[3/4]", "baseline-seed2", "failed"],
        ["[4/4]", "baseline-seed3", "diverged"],
    ]
    assert lines[-1].endswith("about 0:00 left")
    assert not set(stage.text) & set("\x1b\r\b")


def test_in_a_file_a_line_now_and_then_tells_that_it_goes_on(
    sweep: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr("orchestrator.running.progress._LINE_SECONDS", 0.01)
    stage = Stage(sweep)
    with stage.view:
        stage.start(sweep.trials[0])
        line = r"^0 of 4 trials done, 1 running \| \d:\d\d elapsed, time left unknown$"
        wait_until(lambda: re.search(line, stage.text, re.MULTILINE), "a line")
    assert "\x1b" not in stage.text


def test_in_a_terminal_every_running_trial_shows_its_epoch_and_metric(
    sweep: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr("orchestrator.running.progress._REDRAW_SECONDS", 0.01)
    stage = Stage(sweep, force_terminal=True, width=120)
    with stage.view:
        stage.start(sweep.trials[0])
        stage.epoch(sweep.trials[0], 3)
        wait_until(
            lambda: "epoch 3/10" in stage.text and "val/acc1 30.00" in stage.text, "the epoch shows"
        )
        assert "baseline-seed0" in stage.text
        assert "baseline-seed1" not in stage.text


def left(view: ProgressView) -> float:
    """Seconds, as the view tells them."""
    match = re.fullmatch(r"about (?:(\d+):)?(\d+):(\d\d) left", view._time_left())
    assert match, view._time_left()
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def test_the_time_left_is_what_the_epochs_so_far_took(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    first, second, *_ = sweep.trials
    assert stage.view._time_left() == "time left unknown"
    stage.start(first)
    stage.start(second)
    clock.now += 20
    assert stage.view._time_left() == "time left unknown"
    stage.epoch(first, 5)
    stage.epoch(second, 5)
    stage.view._render()
    assert left(stage.view) == 60  # 10 of 40 epochs in 20 s
    clock.now += 20
    for trial in (first, second):
        stage.epoch(trial, 10)
        stage.view.ended(trial, Outcome.FINISHED)
    assert left(stage.view) == 40


def test_what_was_trained_before_does_not_make_this_run_look_fast(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    trial = sweep.trials[0]
    sweep.store.directory(trial).write_trial(trial, {})
    stage.epoch(trial, 8)
    stage.start(trial)
    clock.now += 10
    stage.epoch(trial, 9)
    stage.view._render()
    assert left(stage.view) == 310  # one epoch in 10 s, 31 to go


def test_a_lost_trial_and_its_next_attempt_leave_the_sum_right(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    trial = sweep.trials[0]
    stage.start(trial)
    clock.now += 40
    stage.epoch(trial, 4)
    stage.view.ended(trial, Outcome.LOST)
    assert stage.view._done == 0
    stage.start(trial)
    assert left(stage.view) == 360
    clock.now += 60
    stage.epoch(trial, 10)
    stage.view.ended(trial, Outcome.FINISHED)
    assert left(stage.view) == 300


def test_what_a_failed_trial_left_untrained_is_not_left_to_do(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    for trial in sweep.trials:
        stage.start(trial)
        clock.now += 10
        stage.epoch(trial, 1)
        stage.view.ended(trial, Outcome.FAILED)
    assert left(stage.view) == 0
    assert "4 failed" in stage.view._summary_line()


def test_until_the_first_trial_runs_the_view_says_starting_and_that_time_is_not_counted_again(
    sweep: Any, clock: Clock
) -> None:
    stage = Stage(sweep)
    clock.now += 100  # Ray, or torch, comes up
    assert "0 of 4 trials done, starting |" in stage.view._summary_line()
    stage.start(sweep.trials[0])
    clock.now += 10
    stage.epoch(sweep.trials[0], 1)
    assert "0 of 4 trials done, 1 running |" in stage.view._summary_line()
    assert left(stage.view) == 390


def test_a_trial_that_nobody_looked_at_before_it_ended_tells_how_long_the_others_take(
    sweep: Any, clock: Clock
) -> None:
    stage, trial = Stage(sweep), sweep.trials[0]
    directory = sweep.store.directory(trial)
    directory.write_trial(trial, {})
    stage.view.started(trial)
    clock.now += 100
    directory.start_attempt("mine", {})  # by a worker that had to come up first
    clock.now += 5
    stage.start(sweep.trials[1])
    for each in sweep.trials[:2]:
        stage.epoch(each, 10)
    stage.view.ended(trial, Outcome.FINISHED)
    assert left(stage.view) == 5  # two of four in 5 s


def test_what_is_done_already_counts_as_done_and_not_as_left(sweep: Any, clock: Clock) -> None:
    directory = sweep.store.directory(sweep.trials[0])
    directory.write_trial(sweep.trials[0], {})
    directory.write_result(Outcome.FINISHED, {"metrics": {}, "seconds": 1.0})
    stage = Stage(sweep)
    assert stage.view._summary_line().startswith("1 of 4 trials done, starting |")
    stage.start(sweep.trials[1])
    clock.now += 10
    stage.epoch(sweep.trials[1], 10)
    stage.view._render()
    assert left(stage.view) == 20


def test_names_that_look_like_markup_are_shown_as_they_are(
    make_sweep: Callable[..., Any], clock: Clock
) -> None:
    sweep = make_sweep(regimes={"red": {"model.depth": 2}})
    stage = Stage(sweep)
    stage.start(sweep.trials[0])
    stage.view.ended(sweep.trials[0], Outcome.OUT_OF_MEMORY)
    assert stage.text.startswith("[0/1] red/baseline-seed0 out_of_memory")
    assert "will be retried with a micro-batch of 29" in stage.text


def test_files_that_cannot_be_read_end_no_view_and_no_sweep(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    with stage.view:
        stage.start(sweep.trials[0])
        sweep.store.directory(sweep.trials[0]).metrics_path.write_text("damaged\n")
        stage.view.ended(sweep.trials[0], Outcome.FINISHED)
    assert stage.text.startswith("[1/4] baseline-seed0 finished")
