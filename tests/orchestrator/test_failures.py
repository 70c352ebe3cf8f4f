"""A sweep that fails for one cause is seen early: causes are grouped, it is stopped, and a smoke
test finds them all.
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.outcomes import Outcome
from orchestrator.planning.causes import grouped_causes
from orchestrator.running.failures import FailureWatch
from orchestrator.store.silence import is_unusual, silent_seconds
from orchestrator.store.trial_directory import TrialDirectory

Cli = Callable[..., Any]
TRAINING = """
def train(*, mode: str = "well", epochs: int = 400, seed, log_metrics):
    if mode == "late":
        raise ValueError(f"no batch {seed}")
    for epoch in range(epochs):
        if mode == "second" and epoch == 1:
            raise KeyError("lr")
        log_metrics({"score": float(epoch)}, epoch + 1)
    return {"another" if mode == "unnamed" else "score": 1.0}
"""
SPEC = """
name: failing
metric: {{name: score, mode: max}}
seeds: [0, 1, 2]
baseline:
  train: {{name: "lesson:train", mode: {baseline}}}
steps:
  - {{name: second, change: {{train.mode: second}}}}
  - {{name: late, change: {{train.mode: late}}}}
  - {{name: unnamed, change: {{train.mode: unnamed}}}}
"""


class Queue:
    """What a watch sees of a queue whose trials all end at once."""

    def __init__(self, names: str, causes: dict[str, str]) -> None:
        self.waiting = [SimpleNamespace(variant_label=name[0], name=name) for name in names.split()]
        self.store = SimpleNamespace(record=lambda t: SimpleNamespace(cause=causes.get(t.name[0])))
        self.order: Callable[[Any], int] | None = None
        self.is_stopped = False
        self.run: list[str] = []

    def stop(self) -> None:
        self.is_stopped = True

    def go(self, most: int | None = None) -> str | None:
        watch: Any = FailureWatch(self, most)  # type: ignore[arg-type]
        while self.waiting and not self.is_stopped:
            assert self.order
            trial = sorted(self.waiting, key=self.order)[0]
            self.waiting.remove(trial)
            self.run.append(trial.name)
            watch.started(trial)
            failed = self.store.record(trial).cause is not None
            watch.ended(trial, Outcome.FAILED if failed else Outcome.FINISHED)
        return str(watch.reason) if watch.reason else None


def test_one_cause_in_three_variants_stops_and_variants_not_tried_go_first() -> None:
    queue = Queue("a0 a1 a2 b0 b1 c0 d0 e0", dict.fromkeys("abcde", "no data at 0x7f12"))
    assert queue.go() == (
        "stopped: all trials so far failed, in 3 variants, for the same reason: no data at 0x7f12"
    )
    assert queue.run == ["a0", "b0", "c0"]


@pytest.mark.parametrize(
    ("names", "causes"),
    [
        ("a0 a1 b0 c0 d0 e0", {"a": "x", "b": "x", "d": "x", "e": "x"}),  # c is well
        ("a0 a1 b0 c0 d0 e0", {"a": "x", "b": "y", "c": "x", "d": "x"}),
        ("a0 a1 a2 a3 a4", {"a": "x"}),  # no other variant tells whether it is all of them
    ],
)
def test_it_goes_on_where_anything_is_well_or_causes_differ(
    names: str, causes: dict[str, str]
) -> None:
    queue = Queue(names, causes)
    assert queue.go() is None
    assert len(queue.run) == len(names.split())


def test_as_many_failures_as_were_allowed() -> None:
    queue = Queue("a0 b0 c0 d0 e0", {"b": "x", "c": "y"})
    assert queue.go(most=2) == "stopped after 2 failures"
    assert queue.run == ["a0", "b0", "c0"]
    assert Queue("a0 b0 c0 d0 e0", dict.fromkeys("abcde", "x")).go(most=0) is None


def test_causes_that_differ_in_numbers_are_one() -> None:
    groups = grouped_causes({"a": "step 3 of 9", "b": "step 41 of 9", "c": "other"})
    assert list(map(str, groups)) == ["a, b: step 3 of 9", "c: other"]
    many = grouped_causes({f"t{index}": "x" for index in range(15)})
    assert str(many[0]) == "t0, t1, t2, t3, t4 and 10 more: x"


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], Path]:
    def write(baseline: str = "well") -> Path:
        (tmp_path / "lesson.py").write_text(TRAINING)
        (tmp_path / "failing.yaml").write_text(SPEC.format(baseline=baseline))
        return tmp_path / "failing.yaml"

    return write


LOCAL = ("--executor", "local")


@pytest.mark.slow
def test_a_smoke_test_finds_every_cause_and_leaves_the_store_alone(
    cli: Cli, spec: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    found = cli("run", spec(), "--smoke", *LOCAL, "--store", store)
    assert found.code == 1
    lines = found.out.splitlines()
    assert "second: KeyError: 'lr'" in lines
    assert "late: ValueError: no batch 0" in lines
    assert any(line.startswith("unnamed: lesson:train returned another") for line in lines)
    assert "1 of 4 variants trained without an error; nothing is kept" in lines
    assert not list(store.glob("*/trials/*"))
    assert cli("show", "late-seed0", "--store", store / ".smoke").code == 0


def test_cells_that_coincide_are_tried_once_and_all_counted(
    cli: Cli, write_spec: Callable[..., Path], store_path: Path
) -> None:
    steps = [
        {"name": "rms", "change": {"model.norm": "rmsnorm"}},
        {"name": "fast", "change": {"train.lr": 0.02}},
    ]
    path = write_spec(steps=steps, design=["roadmap", "leave_one_out"])
    tried = cli("run", path, "--smoke", *LOCAL, "--store", store_path)
    assert tried.code == 0, tried.err
    ends = [line.partition(" ")[0] for line in tried.out.splitlines() if line.startswith("[")]
    assert ends == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert "5 of 5 variants train" in tried.out


@pytest.mark.slow
def test_a_run_stops_says_why_and_how_to_go_on_and_status_groups(
    cli: Cli, spec: Callable[..., Path], tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    where = (*LOCAL, "--no-tracking", "--store", store)
    path = spec("late")
    text = path.read_text()
    path.write_text(
        text.replace("train.mode: second", "train.epochs: 3")
        .replace("train.mode: late", "train.epochs: 4")
        .replace("train.mode: unnamed", "train.epochs: 5")
    )
    ended = cli("run", path, *where)
    assert ended.code == 1
    assert "stopped: all trials so far failed, in 3 variants, for the same reason" in ended.err
    assert "add --max-failures 0" in ended.err
    assert "late-seed0 failed" in ended.out
    assert ended.out.count("as baseline-seed0") == 2
    assert "baseline-seed0, second-seed0, late-seed0: ValueError: no batch 0" in ended.out
    status = cli("status", path, "--store", store)
    assert "for the same reason: second-seed0, late-seed0" in status.out
    found = cli("status", path, "--store", store, "--json").json
    assert [len(group["trials"]) for group in found["causes"]] == [3]
    assert found["outcomes"] == {"failed": 3, "pending": 9}


def test_silence_is_worth_a_word_where_it_is_long_for_the_trial(tmp_path: Path) -> None:
    folder = tmp_path / "a-seed0-0123abcd"
    folder.mkdir()
    directory = TrialDirectory(folder)
    assert silent_seconds(directory) == 0.0
    directory.attempts_path.touch()
    assert silent_seconds(directory, lambda: time.time() + 720) == pytest.approx(720, abs=5)
    assert not is_unusual(directory, 59)
    assert is_unusual(directory, 61)
    for iteration in (1, 2):
        line = f'{{"iteration": {iteration}, "time": {iteration * 300}, "metrics": {{"x": 1.0}}}}\n'
        with directory.metrics_path.open("a") as file:
            file.write(line)
    assert not is_unusual(directory, 720), "its evaluations are five minutes apart"
    assert is_unusual(directory, 1000)
