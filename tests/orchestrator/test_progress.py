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

from orchestrator.cli.console import can_redraw
from orchestrator.outcomes import SAVED, Outcome
from orchestrator.planning.plan import make_plan
from orchestrator.running.progress import ProgressView
from orchestrator.store.store import MetricsLog
from orchestrator.trial import TrialSpec
from orchestrator.waiting import begun


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


class Terminal(io.StringIO):
    """A screen that keeps all that was ever on it."""

    def isatty(self) -> bool:
        return True


class Stage:
    """A view of a sweep, and the workers that it watches."""

    def __init__(self, sweep: Any, *, retry_failed: bool = False, **console: Any) -> None:
        self.sweep = sweep
        self.file = Terminal() if console.get("force_terminal") else io.StringIO()
        plan = make_plan(snapshot_of(sweep.spec, sweep.trials, sweep.store.record))
        shown_on = Console(file=self.file, **console)
        self.view = ProgressView(
            shown_on,
            plan,
            sweep.store,
            "mine",
            redraws=can_redraw(shown_on),
            retry_failed=retry_failed,
        )

    def fail(self, trial: TrialSpec, outcome: Outcome, cause: str) -> None:
        self.start(trial)
        self.sweep.store.directory(trial).end_attempt(1, outcome, cause)
        self.view.ended(trial, outcome)

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
    def counts(self) -> str:
        self.view._look_at_all()
        return self.view._part().counts

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
        "[1/4] baseline-seed0 finished after 5 s, val/acc1 100.00; about 15 s left"
    )
    assert [line.split()[:3] for line in lines] == [
        ["[1/4]", "baseline-seed0", "finished"],
        ["[2/4]", "baseline-seed1", "collapsed"],
        ["[3/4]", "baseline-seed2", "failed"],
        ["[4/4]", "baseline-seed3", "diverged"],
    ]
    assert "; about 0 s left" in lines[-1]
    assert not set(stage.text) & set("\x1b\r\b")


def test_in_a_file_a_line_now_and_then_tells_that_it_goes_on(
    sweep: Any, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    monkeypatch.setattr("orchestrator.running.progress._LINE_SECONDS", 0.01)
    stage = Stage(sweep)
    with stage.view:
        stage.start(sweep.trials[0])
        line = r"^0 of 4 trials done, 1 running \| \d+ s elapsed, time left unknown$"
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
    match = re.fullmatch(r"about (?:(\d+) s|(\d+):(\d\d) min) left", view._time_left())
    assert match, view._time_left()
    alone, minutes, seconds = (int(part or 0) for part in match.groups())
    return alone + minutes * 60 + seconds


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
    stage.view._look_at_all()
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
    stage.view._look_at_all()
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
    assert "4 failed" in stage.counts


def test_until_the_first_trial_runs_the_view_says_starting_and_that_time_is_not_counted_again(
    sweep: Any, clock: Clock
) -> None:
    stage = Stage(sweep)
    clock.now += 100  # Ray, or torch, comes up
    assert stage.counts == "0 of 4 trials done, starting"
    stage.start(sweep.trials[0])
    clock.now += 10
    stage.epoch(sweep.trials[0], 1)
    assert stage.counts == "0 of 4 trials done, 1 running"
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
    assert stage.counts == "1 of 4 trials done, starting"
    stage.start(sweep.trials[1])
    clock.now += 10
    stage.epoch(sweep.trials[1], 10)
    stage.view._look_at_all()
    assert left(stage.view) == 20


def test_names_that_look_like_markup_are_shown_as_they_are(
    make_sweep: Callable[..., Any], clock: Clock
) -> None:
    sweep = make_sweep(regimes={"red": {"model.depth": 2}})
    stage = Stage(sweep)
    stage.start(sweep.trials[0])
    stage.view.ended(sweep.trials[0], Outcome.OUT_OF_MEMORY)
    assert stage.text.startswith("[0/1] red/baseline-seed0 out of memory")
    assert "will be retried with a micro-batch of 29" in stage.text


def test_files_that_cannot_be_read_end_no_view_and_no_sweep(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    with stage.view:
        stage.start(sweep.trials[0])
        sweep.store.directory(sweep.trials[0]).metrics_path.write_text("damaged\n")
        stage.view.ended(sweep.trials[0], Outcome.FINISHED)
    assert stage.text.startswith("[1/4] baseline-seed0 finished")


CAUSE = "RuntimeError: CUDNN_STATUS_EXECUTION_FAILED at layer 17, see the log for the rest of it"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "")


def test_in_a_terminal_each_failure_is_printed_with_its_cause_and_each_cause_once(
    sweep: Any, clock: Clock
) -> None:
    stage = Stage(sweep, force_terminal=True, width=80)
    with stage.view:
        stage.fail(sweep.trials[0], Outcome.FAILED, CAUSE)
        stage.fail(sweep.trials[1], Outcome.FAILED, CAUSE.replace("17", "9"))
        stage.fail(sweep.trials[2], Outcome.DIVERGED, "train/loss is nan")
    text = plain(stage.text)
    assert "[1/4] baseline-seed0 failed after 0 s\n  RuntimeError: CUDNN_STATUS" in text
    assert "[2/4] baseline-seed1 failed after 0 s: same cause as baseline-seed0\n" in text
    assert "[3/4] baseline-seed2 diverged after 0 s: train/loss is nan\n" in text


def test_in_a_file_a_failure_and_its_cause_are_one_line(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep, width=80)
    stage.fail(sweep.trials[0], Outcome.FAILED, CAUSE)
    assert stage.text == f"[1/4] baseline-seed0 failed after 0 s; time left unknown: {CAUSE}\n"


def test_what_a_diverged_trial_logged_last_is_no_result(sweep: Any, clock: Clock) -> None:
    stage, trial = Stage(sweep), sweep.trials[0]
    stage.start(trial)
    stage.epoch(trial, 5)
    stage.view.ended(trial, Outcome.DIVERGED)
    assert "baseline-seed0 diverged at epoch 5/10 after 0 s" in stage.text
    assert "val/acc1" not in stage.text


def test_a_trial_that_was_stopped_and_saved_is_not_called_lost(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    stage.view.stopping()
    stage.fail(sweep.trials[0], Outcome.LOST, f"stopped at epoch 0, {SAVED}")
    assert "baseline-seed0 stopped after 0 s; will continue from its checkpoint" in stage.text
    assert stage.view._part().times == "0 s elapsed, stopping"
    assert "lost" not in stage.counts


def test_a_line_that_is_printed_and_the_part_below_it_agree(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep, force_terminal=True, width=80)
    with stage.view:
        for trial in sweep.trials[:2]:
            stage.start(trial)
        stage.view.ended(sweep.trials[0], Outcome.FINISHED)
        below = plain(stage.text).split("[1/4] baseline-seed0 finished")[1]
    assert "1 of 4 trials done, 1 running" in below
    assert "0 of 4 trials done" not in below
    assert "baseline-seed0" not in below


@pytest.mark.parametrize(("retry_failed", "counts"), [(False, "1 of 4"), (True, "0 of 4")])
def test_what_failed_before_and_is_left_alone_is_not_waited_for(
    sweep: Any, retry_failed: bool, counts: str
) -> None:
    directory = sweep.store.directory(sweep.trials[0])
    directory.write_trial(sweep.trials[0], {})
    directory.end_attempt(directory.start_attempt("before", {}), Outcome.FAILED, "it broke")
    counted = Stage(sweep, retry_failed=retry_failed).counts
    assert counted.startswith(f"{counts} trials done, starting")
    assert counted.endswith(", 1 failed") != retry_failed


def test_colours_that_are_asked_for_in_a_file_bring_nothing_that_redraws(
    sweep: Any, clock: Clock
) -> None:
    stage = Stage(sweep, _environ={"FORCE_COLOR": "1"})
    with stage.view:
        stage.start(sweep.trials[0])
        stage.view.ended(sweep.trials[0], Outcome.FINISHED)
    assert "\x1b[32mfinished\x1b[0m" in stage.text
    assert plain(stage.text).startswith("[1/4] baseline-seed0 finished")
    assert "\x1b[2K" not in stage.text


def test_it_tells_what_the_executor_does_before_the_first_trial(sweep: Any, clock: Clock) -> None:
    stage = Stage(sweep)
    with stage.view:
        begun("starting Ray")
        assert stage.counts == "0 of 4 trials done, starting Ray"
    begun("something else")
    assert stage.counts == "0 of 4 trials done, starting Ray"
