"""Which trial is next, and what follows from how one ended."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import StoreError, SweepInUse
from orchestrator.outcomes import Outcome, State
from orchestrator.running.queue import LOST_LIMIT, TrialQueue
from orchestrator.store.lease import Lease
from orchestrator.store.store import MetricsLog
from orchestrator.trial import TrialSpec


class Diary:
    """Hears of trials."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, ...]] = []

    def started(self, trial: TrialSpec) -> None:
        self.entries.append(("started", trial.name))

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        self.entries.append(("ended", trial.name, outcome))

    def finished(self) -> None:
        self.entries.append(("finished",))


@pytest.fixture
def sweep(make_sweep: Callable[..., Any]) -> Any:
    return make_sweep(seeds=[0, 1, 2])


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def queue(sweep: Any, diary: Diary) -> TrialQueue:
    return TrialQueue(sweep.trials, sweep.store, "mine", {"python": "3"}, [diary])


def take(queue: TrialQueue) -> TrialSpec:
    trial = queue.next()
    assert trial is not None
    return trial


def begin(queue: TrialQueue) -> TrialSpec:
    """As an executor and its worker do."""
    trial = take(queue)
    queue.store.directory(trial).start_attempt(queue.session, {})
    return trial


def test_it_says_once_that_nothing_runs_and_nothing_will(
    sweep: Any, queue: TrialQueue, diary: Diary
) -> None:
    taken = [begin(queue) for _ in sweep.trials]
    queue.ended(taken[0], Outcome.LOST)
    for trial in (*taken[1:], begin(queue)):
        assert ("finished",) not in diary.entries
        queue.ended(trial, Outcome.FINISHED)
    assert diary.entries[-1] == ("finished",)
    assert diary.entries.count(("finished",)) == 1


def test_trials_come_in_the_order_of_the_road_each_with_its_folder_ready(
    sweep: Any, queue: TrialQueue, diary: Diary
) -> None:
    assert queue.waiting == tuple(sweep.trials)
    taken = [take(queue) for _ in sweep.trials]
    assert taken == sweep.trials
    assert queue.next() is None
    assert list(queue.running.values()) == taken
    assert all(sweep.store.directory(trial).read_trial() == trial for trial in taken)
    assert diary.entries == [("started", trial.name) for trial in taken]


def test_the_queue_is_finished_when_nothing_waits_and_nothing_runs(
    sweep: Any, queue: TrialQueue, diary: Diary
) -> None:
    for _ in sweep.trials:
        assert not queue.is_finished
        take(queue)
    for trial in sweep.trials:
        assert not queue.is_finished
        queue.ended(trial, Outcome.FINISHED)
    assert queue.is_finished
    assert diary.entries[-2:] == [("ended", "baseline-seed2", "finished"), ("finished",)]


@pytest.mark.parametrize(
    "outcome",
    [Outcome.FINISHED, Outcome.COLLAPSED, Outcome.DIVERGED, Outcome.FAILED, Outcome.TIMED_OUT],
)
def test_what_ended_is_not_handed_out_again(
    sweep: Any, queue: TrialQueue, outcome: Outcome
) -> None:
    queue.ended(take(queue), outcome)
    assert [take(queue) for _ in range(2)] == sweep.trials[1:]
    assert queue.next() is None


def test_a_lost_trial_goes_again_before_all_others(
    sweep: Any, queue: TrialQueue, diary: Diary
) -> None:
    first, second = take(queue), take(queue)
    queue.ended(first, Outcome.LOST)
    assert take(queue) == first
    queue.ended(second, Outcome.FINISHED)
    assert take(queue) == sweep.trials[2]
    assert ("ended", first.name, "lost") in diary.entries


def test_a_dead_process_is_a_lost_attempt(queue: TrialQueue) -> None:
    trial = begin(queue)
    queue.ended(trial, None)
    record = queue.store.directory(trial).record()
    assert (record.state, record.outcome, record.cause) == (
        State.INTERRUPTED,
        Outcome.LOST,
        "its process or node died",
    )
    assert take(queue) == trial


def test_a_trial_that_kills_its_process_again_and_again_has_failed(
    queue: TrialQueue, diary: Diary
) -> None:
    for _ in range(LOST_LIMIT):
        trial = begin(queue)
        queue.ended(trial, None)
    record = queue.store.directory(trial).record()
    assert record.state is State.FAILED
    assert record.cause is not None
    assert f"its process died {LOST_LIMIT} times in a row near iteration 0" in record.cause
    assert diary.entries[-1] == ("ended", trial.name, "failed")
    assert take(queue) != trial


def test_a_trial_that_gets_further_each_time_is_never_given_up(queue: TrialQueue) -> None:
    for iteration in range(LOST_LIMIT * 2):
        trial = begin(queue)
        MetricsLog(queue.store.directory(trial))({"loss": 1.0}, iteration)
        queue.ended(trial, None)
        assert queue.store.directory(trial).record().outcome is Outcome.LOST


def test_a_process_that_dies_before_its_attempt_began_is_counted_too(queue: TrialQueue) -> None:
    for _ in range(LOST_LIMIT):
        trial = take(queue)
        queue.ended(trial, None)
    assert queue.store.directory(trial).record().state is State.FAILED


def test_a_process_that_dies_after_its_last_word_changes_nothing(
    queue: TrialQueue, diary: Diary
) -> None:
    finished, failed = begin(queue), begin(queue)
    queue.store.directory(finished).write_result(Outcome.FINISHED, {})
    queue.ended(finished, None)
    directory = queue.store.directory(failed)
    directory.end_attempt(1, Outcome.FAILED, "its own")
    queue.ended(failed, None)
    assert [entry[2] for entry in diary.entries if entry[0] == "ended"] == ["finished", "failed"]
    assert directory.record().cause == "its own"


def test_a_retry_whose_process_dies_before_it_began_is_lost_and_goes_again(
    queue: TrialQueue,
) -> None:
    trial = take(queue)
    directory = queue.store.directory(trial)
    directory.end_attempt(directory.start_attempt("an earlier driver", {}), Outcome.FAILED, "then")
    queue.ended(trial, None)
    assert take(queue) == trial


def test_after_stop_nothing_more_is_handed_out_and_lost_trials_stay_lost(queue: TrialQueue) -> None:
    trial = begin(queue)
    queue.stop()
    assert queue.next() is None
    assert not queue.is_finished
    queue.ended(trial, Outcome.LOST)
    assert queue.is_finished
    assert queue.next() is None


def test_a_folder_that_cannot_be_written_is_a_store_error(
    sweep: Any, queue: TrialQueue, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*: No space left"):
        queue.next()
    assert diary.entries == []


def test_what_stands_in_the_place_of_a_trials_folder_is_set_aside(
    sweep: Any, queue: TrialQueue
) -> None:
    path = sweep.store.directory(sweep.trials[0]).path
    path.write_text("somebody's")
    assert take(queue) == sweep.trials[0]
    assert path.with_name(f"{path.name}.damaged").read_text() == "somebody's"


def test_what_is_done_by_now_is_not_handed_out(sweep: Any, queue: TrialQueue, diary: Diary) -> None:
    first, second, third = sweep.trials
    for trial, place in ((first, first), (second, replace(second, sweep="another"))):
        directory = sweep.store.directory(place)
        directory.write_trial(place, {})
        content = {"metrics": {"val/acc1": 1.0}, "fingerprint": trial.fingerprint}
        directory.write_result(Outcome.FINISHED, content)
    assert take(queue) == third
    assert diary.entries[:2] == [("started", first.name), ("ended", first.name, "finished")]
    assert ("ended", second.name, "finished") in diary.entries


def test_a_sweep_that_was_taken_over_hands_out_nothing_and_writes_nothing(
    sweep: Any, diary: Diary
) -> None:
    sleeper = Lease(sweep.path).__enter__()
    queue = TrialQueue(sweep.trials, sweep.store, sleeper.session, {}, [diary])
    trial = begin(queue)
    (sweep.path / "lease.json").unlink()  # it expired
    with Lease(sweep.path) as later:
        sweep.store.directory(trial).start_attempt(later.session, {})
    content = sweep.store.directory(trial).attempts_path.read_bytes()
    with pytest.raises(SweepInUse, match="taken over"):
        queue.next()
    queue.ended(trial, None)
    assert sweep.store.directory(trial).attempts_path.read_bytes() == content
    assert queue.is_finished


def test_what_another_sweep_trains_now_waits_until_it_is_done(
    make_sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.running.queue._LOOK_SECONDS", 0.0)
    one, two = make_sweep("one", seeds=[0, 1]), make_sweep("two", seeds=[0, 1])
    with Lease(one.path) as first, Lease(two.path) as second:
        mine = TrialQueue(one.trials, one.store, first.session, {})
        theirs = TrialQueue(two.trials, two.store, second.session, {})
        assert begin(mine).seed == 0
        assert begin(theirs).seed == 1
        assert mine.next() is None
        assert theirs.next() is None
        assert not mine.is_finished
        directory = one.store.directory(one.trials[0])
        about = {"metrics": {"val/acc1": 1.0}, "fingerprint": one.trials[0].fingerprint}
        directory.write_result(Outcome.FINISHED, about)
        mine.ended(one.trials[0], Outcome.FINISHED)
        assert theirs.next() is None
        assert theirs.waiting == (), "it found the other's result"
        theirs.ended(two.trials[1], Outcome.FAILED)
        assert take(mine).seed == 1, "it failed there, and is tried here"


def test_out_of_memory_goes_again_with_half_the_images_at_once_until_there_is_one(
    queue: TrialQueue,
) -> None:
    first = take(queue)
    sizes = []
    trial = first
    while trial.fingerprint == first.fingerprint:
        sizes.append(trial.runtime.micro_batch_size)
        assert trial.config == first.config  # the effective batch, and with it the identity, stays
        queue.ended(trial, Outcome.OUT_OF_MEMORY)
        trial = take(queue)
    assert sizes == [None, 29, 14, 7, 3, 1]


def test_a_trial_at_its_memory_limit_left_a_note_and_goes_again_smaller(
    queue: TrialQueue, diary: Diary
) -> None:
    trial = begin(queue)
    directory = queue.store.directory(trial)
    directory.memory_path.write_text("it took 2 GB")
    queue.ended(trial, None)
    assert (directory.record().outcome, directory.record().cause) == (
        Outcome.OUT_OF_MEMORY,
        "it took 2 GB",
    )
    assert diary.entries[-1] == ("ended", trial.name, "out_of_memory")
    smaller = take(queue)
    assert (smaller.fingerprint, smaller.runtime.micro_batch_size) == (trial.fingerprint, 29)
    queue.ended(
        smaller, None
    )  # its process died before it began: the note is of the attempt before
    assert take(queue) == smaller


def test_a_preempted_trial_said_so_and_is_never_given_up(queue: TrialQueue) -> None:
    for _ in range(LOST_LIMIT * 2):
        trial = begin(queue)
        directory = queue.store.directory(trial)
        directory.end_attempt(
            directory.record().attempts, Outcome.LOST, "stopped at iteration 0, checkpoint saved"
        )
        queue.ended(trial, None)
    assert take(queue) == trial


def test_never_more_trials_at_a_time_than_allowed(sweep: Any) -> None:
    queue = TrialQueue(sweep.trials, sweep.store, "mine", {}, max_concurrent=2)
    first, _ = take(queue), take(queue)
    assert queue.next() is None
    assert not queue.is_finished
    queue.ended(first, Outcome.FINISHED)
    assert take(queue) == sweep.trials[2]


def test_what_no_node_can_hold_now_is_passed_over_and_keeps_its_place(
    make_sweep: Callable[..., Any],
) -> None:
    large = {"name": "large", "change": {"model.depth": 2}, "resources": {"cpus": 8}}
    sweep = make_sweep(steps=[large, {"name": "small", "change": {"model.depth": 3}}])
    queue = TrialQueue(sweep.trials, sweep.store, "mine", {})
    baseline, eight, small = sweep.trials
    assert queue.next(lambda resources: resources.cpus < 8) == baseline
    assert queue.next(lambda resources: resources.cpus < 8) == small
    assert queue.next(lambda resources: resources.cpus < 8) is None
    assert take(queue) == eight
    queue.give_back(eight)
    assert queue.waiting == (eight,)
    assert take(queue) == eight


def test_where_it_runs_dry_it_asks_for_more_once_after_each_trial_that_ended(sweep: Any) -> None:
    first, second, _ = sweep.trials
    asked: list[bool] = []

    def more(is_idle: bool) -> list[TrialSpec]:
        asked.append(is_idle)
        return [first, second]

    queue = TrialQueue([first, second], sweep.store, "mine", {}, more=more)
    begin(queue), begin(queue)
    assert (queue.next(), asked) == (None, []), "nothing has ended yet"
    queue.ended(first, Outcome.FINISHED)
    assert not queue.is_finished
    assert (queue.next(), queue.next(), asked) == (None, None, [False]), (
        "what it had before is no news"
    )
    queue.ended(second, Outcome.FINISHED)
    assert not queue.is_finished, "it has not asked yet"
    assert (queue.next(), asked) == (None, [False, True])
    assert queue.is_finished


def test_what_it_is_given_later_is_handed_out_and_nothing_once_it_is_stopped(sweep: Any) -> None:
    first, second, third = sweep.trials
    queue = TrialQueue(
        [first], sweep.store, "mine", {}, more=lambda is_idle: [first, second, third]
    )
    begin(queue)
    queue.ended(first, Outcome.FINISHED)
    assert take(queue) == second
    assert queue.waiting == (third,)
    queue.ended(second, Outcome.FAILED)
    assert take(queue) == third
    queue.ended(third, Outcome.FINISHED)
    queue.stop()
    assert queue.is_finished
    assert queue.next() is None
