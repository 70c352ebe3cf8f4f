"""Several processes train as one does, and none outlives the one that leads them."""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from illama import checkpoint
from illama.config import Config, RuntimeConfig
from illama.data.augment import mix
from illama.evaluation.accuracy import Tally, evaluate, tally
from illama.training import distributed
from illama.training.distributed import Followers, MeetingPoint, Ranks, leading
from illama.training.learner import Learner
from illama.training.loader import make_loader
from illama.training.results import NodeLost, ProcessLost
from illama.training.trainer import Stopped, _Training, train

Build = Callable[..., Config]
CPU = torch.device("cpu")

EVERYTHING = {
    "train.batch_size": 33,  # two processes cannot have as many images each
    "train.mixup": 0.8,
    "train.cutmix": 1.0,
    "train.hflip": 0.5,
    "train.random_crop": 1,
    "train.reprob": 0.25,
    "train.drop_path": 0.2,
    "train.ema": 0.9,
    "train.clip_grad": 1.0,
    "train.label_smoothing": 0.1,
    "train.soft_mask": {"schedule": "linear", "epochs": 2},
    "train.lr": 1e-3,
}


@pytest.mark.parametrize(("count", "size"), [(4, 2), (33, 2), (33, 3), (7, 4), (64, 8)])
def test_each_row_has_one_process_and_its_mirror_place_the_same(count: int, size: int) -> None:
    shares = [Ranks(rank, size).rows(count) for rank in range(size)]
    for share in shares:
        assert isinstance(share, np.ndarray)
        assert len(share)
        assert (count - 1 - share[::-1] == share).all()
    assert sorted(np.concatenate(shares)) == list(range(count))
    parts = [range(count)[Ranks(rank, size).part(count)] for rank in range(size)]
    assert list(itertools.chain(*parts)) == list(range(count))


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_a_mixed_batch_are_the_rows_of_the_whole(
    small_config: Build, size: int
) -> None:
    config = small_config(EVERYTHING)
    whole = make_loader(config, RuntimeConfig(), CPU)
    shares = [make_loader(config, RuntimeConfig(), CPU, Ranks(rank, size)) for rank in range(size)]
    for iteration, batch in enumerate(whole.batches(epoch=1, first=2)):
        expected = mix(*batch, config.train, config.seed, iteration)
        for rank, share in enumerate(shares):
            rows = Ranks(rank, size).rows(33)
            found = mix(
                *list(share.batches(epoch=1, first=2))[iteration],
                config.train,
                config.seed,
                iteration,
            )
            assert torch.equal(found.images, expected.images[rows])
            assert torch.equal(found.labels, expected.labels[rows])
            assert torch.equal(found.others, expected.others[rows])
            assert found.share == expected.share


def test_parts_of_the_validation_images_count_up_to_the_whole(small_config: Build) -> None:
    network = Learner(small_config(), RuntimeConfig(), CPU, 5).model
    images, labels = (
        torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.arange(7),
    )
    whole = evaluate(network, [(images, labels)])
    parts = [
        tally(network, [(images[rows], labels[rows])] if rows else [], keep_hits=True)
        for rows in ([0, 1], [], [2], [3, 4, 5, 6])
    ]
    sums = Tally()
    for part in parts:
        sums.merge(part)
    assert sums.metrics() == pytest.approx(whole, rel=1e-6)
    expected = network(images).argmax(dim=1) == labels
    assert sums.hits.tolist() == expected.tolist()


def test_parts_that_all_predict_the_same_have_collapsed_exactly() -> None:
    prediction = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    sums = Tally()
    for count in (1, 5, 3):
        sums.merge(
            tally(
                lambda images: prediction.expand(len(images), -1),
                [(torch.zeros(count), torch.arange(count))],
            )
        )
    assert sums.metrics()["logit_std"] == 0


Trained = tuple[dict[str, Any], Any]
"""State of the last checkpoint, and final metrics."""


class Halt:
    """Ends a training at one of its iterations: by asking it to stop, or by what `act` does
    there.
    """

    def __init__(self, iteration: int, act: Callable[[], object] | None = None) -> None:
        self.questions, self.iteration, self.act = itertools.count(), iteration, act

    def __call__(self) -> bool:
        here = next(self.questions) == self.iteration
        if here and self.act is not None:
            self.act()
            return False
        return here


def trained(
    config: Config,
    directory: Path,
    halt: Halt | None = None,
    others: "Beside | None" = None,
    **runtime: Any,
) -> Trained:
    """Weights and result, the latter without anything about time."""
    result = train(
        config,
        runtime=RuntimeConfig(device="cpu", **runtime),
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=directory,
        should_stop=halt or (lambda: False),
        others=others,
    )
    state = checkpoint.load(directory)
    assert state is not None
    return state, {
        name: value for name, value in result.final.items() if not name.startswith("time/")
    }


def kill_one() -> None:
    followers()[-1].kill()


def signal_all() -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # of which only the leader takes notice
        followers()[-1].send_signal(number)


def followers(leader: int | None = None) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(leader).children()
        if any("spawn_main" in word for word in child.cmdline())
    ]


def assert_equal(left: Mapping[str, Any], right: Mapping[str, Any], tolerance: float) -> None:
    for part in ("model", "average"):
        for name, tensor in left[part].items():
            torch.testing.assert_close(tensor, right[part][name], atol=tolerance, rtol=0)


@pytest.fixture(scope="module")
def alone(small_config: Build, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What one process makes of the training."""
    return trained(small_config(EVERYTHING), tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def in_two(small_config: Build, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What two processes of this machine make of it."""
    folder = tmp_path_factory.mktemp("together")
    return trained(small_config(EVERYTHING), folder, processes=2, micro_batch_size=5)


@pytest.mark.slow
def test_two_processes_train_as_one_and_a_killed_one_costs_nothing_but_time(
    small_config: Build, tmp_path: Path, alone: Trained, in_two: Trained
) -> None:
    config = small_config(EVERYTHING)
    (by_one, metrics), (together, same) = alone, in_two
    assert_equal(by_one, together, tolerance=2e-5)
    assert same == pytest.approx(metrics, rel=1e-4)
    with pytest.raises(ProcessLost, match="process 2 of 2 was killed by SIGKILL"):
        trained(
            config,
            tmp_path / "killed",
            Halt(7, kill_one),
            processes=2,
            micro_batch_size=5,
            checkpoint_seconds=0,
        )
    assert followers() == []
    assert not torch.distributed.is_initialized()
    assert (checkpoint.load(tmp_path / "killed") or {})["progress"]["iteration"] > 0
    resumed, again = trained(
        config, tmp_path / "killed", Halt(2, signal_all), processes=2, micro_batch_size=5
    )
    assert_equal(together, resumed, tolerance=0)
    assert again == same
    hits = together["progress"]["hits"]
    assert 100 * hits.count("1") / len(hits) == pytest.approx(same["val/acc1"])
    assert resumed["progress"]["hits"] == hits
    assert followers() == []


@pytest.mark.slow
def test_a_training_goes_on_in_another_number_of_processes(
    small_config: Build, tmp_path: Path, alone: Trained
) -> None:
    config = small_config(EVERYTHING)
    by_one, metrics = alone
    with pytest.raises(Stopped):
        trained(config, tmp_path / "parts", Halt(4))
    with pytest.raises(Stopped):
        trained(config, tmp_path / "parts", Halt(6), processes=3)
    end, same = trained(config, tmp_path / "parts")
    assert_equal(by_one, end, tolerance=2e-5)
    assert same == pytest.approx(metrics, rel=1e-4)
    assert followers() == []


class Beside:
    """Another node that is this one: its processes are started from here, and meet the leader at
    a port all the same.
    """

    names, host = ("beside",), "127.0.0.1"

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime
        self.theirs: Followers | None = None

    def start(self, meeting_point: MeetingPoint, follow: Callable[[Ranks], None]) -> None:
        size = 2 * self.runtime.processes
        self.theirs = Followers(
            self.runtime, range(self.runtime.processes, size), size, meeting_point, follow
        )
        self.theirs.wait_until_ready()

    def failure(self) -> Exception | None:
        return self.theirs.look() if self.theirs else None

    def end(self) -> None:
        if self.theirs:
            self.theirs.end()


@pytest.mark.slow
def test_processes_of_two_nodes_train_as_as_many_of_one_and_tell_what_befalls_them(
    small_config: Build, tmp_path: Path, in_two: Trained
) -> None:
    config, folder = small_config(EVERYTHING), tmp_path / "spread"
    there = RuntimeConfig(device="cpu", micro_batch_size=5)
    together, same = in_two
    here: dict[str, Any] = {"micro_batch_size": 5, "checkpoint_seconds": 0}
    with pytest.raises(ProcessLost, match="process 2 of 2 was killed by SIGKILL"):
        trained(config, folder, Halt(7, kill_one), Beside(there), **here)
    spread, again = trained(config, folder, None, Beside(there), **here)
    assert_equal(together, spread, tolerance=0)
    assert again == same
    assert followers() == []


def test_processes_that_see_different_checkpoints_do_not_train(small_config: Build) -> None:
    class Divided(Ranks):
        def gather(self, value: Any) -> list[Any]:
            return [value, 40]

    training = _Training(small_config(), RuntimeConfig(), Divided(), None, lambda: False)
    with pytest.raises(
        NodeLost, match="its nodes see different checkpoints, of iterations 0 and 40"
    ):
        training.agree()


def fail_in_the_second(ranks: Ranks) -> None:
    ranks.add_up([torch.ones(1)])
    raise torch.OutOfMemoryError("no memory in the second process")


class Unpicklable(RuntimeError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_without_words(ranks: Ranks) -> None:
    raise Unpicklable(1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("follow", "kind", "message"),
    [
        (fail_in_the_second, torch.OutOfMemoryError, "no memory in the second process"),
        (fail_without_words, RuntimeError, "Unpicklable: 1 and 2"),
    ],
)
def test_what_another_process_raises_is_raised_here(
    follow: Callable[[Ranks], None], kind: type[Exception], message: str
) -> None:
    def lead() -> None:
        with leading(RuntimeConfig(device="cpu", processes=2), follow) as ranks:
            for _ in range(2):
                ranks.add_up([torch.ones(1)])

    with pytest.raises(kind, match=message) as caught:
        lead()
    assert f"in {follow.__name__}" in "".join(caught.value.__notes__), "where it happened is told"
    assert followers() == []


class DiesAtTheMeeting:
    """Where it is unpickled, in the other process: makes that one die in place of joining the
    group.
    """

    def __init__(self, after: float) -> None:
        self.after = after

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        def die(*arguments: Any, **named: Any) -> None:
            time.sleep(state["after"])
            os.kill(os.getpid(), signal.SIGKILL)

        torch.distributed.init_process_group = die

    def __call__(self, ranks: Ranks) -> None:
        raise AssertionError("it is dead")


@pytest.mark.slow
def test_a_process_that_dies_once_it_is_ready_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed, "_MEETING_SECONDS", 1.0)

    def lead(follow: Callable[[Ranks], None]) -> Tensor:
        ones = torch.ones(1)
        with leading(RuntimeConfig(device="cpu", processes=2), follow) as ranks:
            ranks.add_up([ones])
        return ones

    with pytest.raises(ProcessLost, match="process 2 of 2 was killed by SIGKILL"):
        lead(DiesAtTheMeeting(after=0.5))  # while the leader waits for the connection
    assert followers() == []
    assert lead(add_up_late).item() == 2, (
        "the next group of the same leader, which may wait for a sum as long as it takes"
    )


def add_up_late(ranks: Ranks) -> None:
    time.sleep(2)
    ranks.add_up([torch.ones(1)])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_leader(tmp_path: Path, number: signal.Signals) -> None:
    recipe = (
        "model: {name: illama_digits, embed_dim: 16, depth: 1, num_heads: 2}\n"
        "data: {name: digits, val_fraction: 0.9}\n"
    )
    (tmp_path / "recipe.yaml").write_text(
        recipe + "train: {epochs: 100000, batch_size: 32, lr: 1e-3}\n"
    )
    command = [
        sys.executable,
        "-m",
        "illama",
        "train",
        "recipe.yaml",
        "runtime.processes=2",
        "--device",
        "cpu",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()  # the metrics of an epoch: both are at work
        others = psutil.Process(leader.pid).children(recursive=True)
        [follower] = followers(leader.pid)
        if number == signal.SIGINT:
            os.killpg(leader.pid, number)  # as a terminal does
        else:
            follower.suspend()  # even where it cannot look after itself
            leader.send_signal(number)
        assert leader.wait(30) == (130 if number == signal.SIGINT else -number)
    psutil.wait_procs(others, timeout=30)
    assert [
        process
        for process in others
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ] == []


def test_more_processes_than_pairs_of_images_are_refused(small_config: Build) -> None:
    with pytest.raises(
        ValueError, match="batch_size 4 has no pair of images for each of 3 processes"
    ):
        make_loader(small_config({"train.batch_size": 4}), RuntimeConfig(), CPU, Ranks(0, 3))


def test_more_processes_than_gpus_are_refused(
    monkeypatch: pytest.MonkeyPatch, small_config: Build
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"processes is 2, but torch finds 1 GPUs"):
        train(
            small_config(),
            runtime=RuntimeConfig(processes=2),
            log_metrics=lambda metrics, iteration: None,
        )


def test_one_process_needs_no_other() -> None:
    ranks = Ranks()
    ones = torch.ones(2)
    ranks.add_up([ones])
    assert ones.tolist() == [1, 1]
    assert ranks.gather(math.pi) == [math.pi]
    assert ranks.part(5) == slice(0, 5)
