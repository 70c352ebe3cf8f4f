"""A trial's state is what its files say, and nothing else."""

import errno
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StoreError, UsageError
from orchestrator.outcomes import Outcome, State
from orchestrator.store.damage import collected
from orchestrator.store.store import MetricsLog, Store, TrialDirectory
from orchestrator.trial import TrialSpec


@pytest.fixture
def sweep(make_sweep: Callable[..., Any]) -> Any:
    return make_sweep(
        steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}}],
        regimes={"deep": {"model.depth": 2}},
    )


@pytest.fixture
def trial(sweep: Any) -> TrialSpec:
    first: TrialSpec = sweep.trials[0]
    return first


@pytest.fixture
def directory(sweep: Any, trial: TrialSpec) -> TrialDirectory:
    place: TrialDirectory = sweep.store.directory(trial)
    place.write_trial(trial, {"git_commit": "abc"})
    return place


RESULT = {"metrics": {"val/acc1": 50.0}, "seconds": 2.0}


def test_a_trial_is_read_back_as_it_was_written(
    directory: TrialDirectory, trial: TrialSpec
) -> None:
    assert directory.read_trial() == trial
    content = json.loads((directory.path / "trial.json").read_bytes())
    assert content["provenance"] == {"git_commit": "abc"}
    assert content["fingerprint"] == trial.fingerprint
    assert content["settings"]["train"]["lr"] == 0.01


def test_every_trial_has_one_folder_of_its_own_whatever_its_regime(sweep: Any) -> None:
    folders = [sweep.store.directory(trial).path for trial in sweep.trials]
    assert len(set(folders)) == len(folders) == 2
    assert {folder.parent for folder in folders} == {sweep.path / "trials"}
    for folder, trial in zip(folders, sweep.trials, strict=True):
        assert folder.name == f"deep--{trial.variant}-seed0-{trial.fingerprint[:8]}"


def test_a_trial_without_attempts_is_pending(
    sweep: Any, trial: TrialSpec, directory: TrialDirectory
) -> None:
    assert directory.record().state is State.PENDING
    assert sweep.store.record(replace(trial, seed=7)).state is State.PENDING


def test_a_trial_under_way_is_running_while_its_driver_lives_and_interrupted_after(
    directory: TrialDirectory,
) -> None:
    assert directory.start_attempt("mine", {"host": "here"}) == 1
    assert [line["event"] for line in directory.newest_attempt("mine")] == ["start"]
    assert directory.newest_attempt("other") == []
    assert directory.record("mine").state is State.RUNNING
    assert directory.record("other").state is State.INTERRUPTED
    assert directory.record().state is State.INTERRUPTED


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.LOST, State.INTERRUPTED),
        (Outcome.FAILED, State.FAILED),
        (Outcome.OUT_OF_MEMORY, State.FAILED),
    ],
)
def test_without_a_result_the_last_attempt_decides(
    directory: TrialDirectory, outcome: Outcome, state: State
) -> None:
    directory.end_attempt(directory.start_attempt("mine", {}), outcome, "because", "Traceback ...")
    record = directory.record("mine")
    assert (record.state, record.outcome, record.cause, record.attempts) == (
        state,
        outcome,
        "because",
        1,
    )
    directory.start_attempt("mine", {})
    assert directory.record("mine").state is State.RUNNING
    assert directory.record("mine").attempts == 2


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.COLLAPSED, Outcome.DIVERGED])
def test_with_a_result_the_trial_is_done_even_if_its_attempt_was_never_closed(
    directory: TrialDirectory, outcome: Outcome
) -> None:
    directory.start_attempt("mine", {})
    directory.write_result(outcome, RESULT)
    record = directory.record("mine")
    assert (record.state, record.outcome) == (State.DONE, outcome)
    assert record.metrics == {"val/acc1": 50.0}
    assert record.seconds == 2.0


def test_an_attempt_names_every_node_that_it_runs_on(directory: TrialDirectory) -> None:
    directory.start_attempt("old", {"host": "gone"})
    directory.start_attempt("mine", {"host": "a", "other_hosts": ["b", "a", "c"]})
    assert directory.record("mine").hosts == ("a", "b", "c")


def test_an_attempt_that_vanished_is_closed_as_lost_by_the_next(directory: TrialDirectory) -> None:
    directory.start_attempt("first", {})
    assert directory.start_attempt("second", {}) == 2
    events = [json.loads(line) for line in directory.attempts_path.read_text().splitlines()]
    assert [(e["event"], e["attempt"], e.get("outcome")) for e in events] == [
        ("start", 1, None),
        ("end", 1, "lost"),
        ("start", 2, None),
    ]


def test_a_torn_line_is_no_attempt(directory: TrialDirectory) -> None:
    directory.end_attempt(directory.start_attempt("mine", {}), Outcome.FAILED, "because")
    with directory.attempts_path.open("a") as file:
        file.write('{"event": "sta')
    assert directory.record().state is State.FAILED
    assert directory.start_attempt("mine", {}) == 2
    assert directory.record("mine").state is State.RUNNING


def test_replaying_an_iteration_adds_nothing(directory: TrialDirectory) -> None:
    for _ in range(2):  # an attempt, and the next that replays it
        log = MetricsLog(directory)
        log({"loss": 1.0, "epoch": 1.0}, 3)
        log({"loss": 0.5, "epoch": 2.0}, 6)
        log({"loss": 0.5, "epoch": 2.0}, 6)
    assert [(line["iteration"], line["metrics"]["loss"]) for line in directory.metrics()] == [
        (3, 1.0),
        (6, 0.5),
    ]
    assert directory.record().iteration == 6
    assert directory.record().epoch == 2.0


def test_a_torn_line_of_metrics_is_logged_again(directory: TrialDirectory) -> None:
    MetricsLog(directory)({"loss": 1.0}, 3)
    MetricsLog(directory)({"loss": 0.5}, 6)
    content = directory.metrics_path.read_bytes()
    directory.metrics_path.write_bytes(content[:-2])
    assert directory.record().iteration == 3
    MetricsLog(directory)({"loss": 0.5}, 6)
    assert [line["iteration"] for line in directory.metrics()] == [3, 6]


def test_the_newest_metrics_are_found_without_reading_all(directory: TrialDirectory) -> None:
    assert directory.last_metrics() is None
    directory.metrics_path.touch()
    assert directory.last_metrics() is None
    log = MetricsLog(directory)
    for iteration in range(200):
        log({f"metric{i}": float(iteration) for i in range(100)}, iteration)
    assert directory.last_metrics() == list(directory.metrics())[-1]


def test_the_newest_metrics_may_be_more_than_anybody_thought_of(directory: TrialDirectory) -> None:
    log = MetricsLog(directory)
    for iteration in (1, 2):
        log({f"mine/metric_{number}": 0.5 for number in range(2000)}, iteration)
    assert directory.last_metrics() == list(directory.metrics())[-1]


def test_metrics_that_cannot_be_written_are_a_store_error(
    directory: TrialDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*metrics\.jsonl"):
        MetricsLog(directory)({"loss": 1.0}, 1)


def test_the_same_training_is_found_anywhere_in_the_store(
    sweep: Any, trial: TrialSpec, directory: TrialDirectory
) -> None:
    directory.start_attempt("mine", {})
    directory.write_result(Outcome.FINISHED, RESULT)
    elsewhere = replace(trial, sweep="another", variant="renamed")
    record = sweep.store.record(elsewhere)
    assert (record.state, record.path) == (State.DONE, str(directory.path))
    nearly = replace(elsewhere, fingerprint=trial.fingerprint[:8] + "0" * 56)
    assert sweep.store.record(nearly).state is State.PENDING


def test_a_trials_own_result_comes_before_another_of_the_same_training(
    sweep: Any, trial: TrialSpec, directory: TrialDirectory
) -> None:
    directory.write_result(Outcome.FINISHED, RESULT)
    other = sweep.store.directory(replace(trial, sweep="another")).path
    shutil.copytree(directory.path, other)
    assert Store(sweep.store.root).record(trial).path == str(directory.path)
    shutil.rmtree(directory.path)
    assert Store(sweep.store.root).record(trial).path == str(other)


def test_a_result_without_its_trial_is_no_result_of_another(
    sweep: Any, trial: TrialSpec, directory: TrialDirectory
) -> None:
    directory.write_result(Outcome.FINISHED, RESULT)
    (directory.path / "trial.json").unlink()
    assert sweep.store.record(replace(trial, sweep="another")).state is State.PENDING


def test_the_spec_is_kept_byte_for_byte(sweep: Any) -> None:
    sweep.store.submit("tiny", b"name: tiny  # \xc3\xbc\r\n")
    assert sweep.store.spec_path("tiny").read_bytes() == b"name: tiny  # \xc3\xbc\r\n"


def test_an_unknown_sweep_is_answered_with_the_nearest(sweep: Any, tmp_path: Path) -> None:
    sweep.store.submit("tiny", b"")
    with pytest.raises(
        UsageError,
        match=r"'tin' is neither a file nor a sweep in the store at .*; did you mean 'tiny'\?",
    ):
        sweep.store.spec_path("tin")
    with pytest.raises(UsageError, match="the store is empty"):
        Store(tmp_path / "nowhere").spec_path("tiny")


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "is a pipe"),
        (Path.mkdir, "is a folder"),
        (lambda path: path.symlink_to("gone"), "it is a broken link"),
        (lambda path: path.write_text("name: other"), "it was changed after it was submitted"),
    ],
)
def test_what_is_in_a_specs_place_is_told_and_not_taken_for_another_sweep(
    sweep: Any, put: Callable[[Path], object], why: str
) -> None:
    sweep.store.submit("tiny", b"name: tiny")
    path = sweep.store.spec_path("tiny")
    path.unlink()
    put(path)
    with pytest.raises(
        StoreError, match=rf"sweep\.yaml is damaged \({why}\); name the sweep's own"
    ):
        sweep.store.spec_path("tiny")


def test_preparing_leaves_nothing_behind_but_the_folder(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b").prepare("tiny")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "a",
        "a/b",
        "a/b/tiny",
        "a/b/tiny/trials",
    ]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_store_that_cannot_be_written_says_so_and_what_to_do(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StoreError, match=r"cannot write the store at .*; choose another with --store"
    ) as caught:
        Store(tmp_path / place).prepare("tiny")
    assert caught.value.exit_code == 3


FILES = ("result.json", "attempts.jsonl", "metrics.jsonl", "trial.json")


@pytest.fixture
def finished(directory: TrialDirectory, trial: TrialSpec) -> TrialDirectory:
    """With two points of a curve and a result."""
    number = directory.start_attempt("mine", {"host": "here"})
    log = MetricsLog(directory)
    log({"val/acc1": 40.0}, 3)
    log({"val/acc1": 50.0}, 6)
    content = {"fingerprint": trial.fingerprint, "metrics": {"val/acc1": 50.0}, "iterations": 6}
    directory.write_result(Outcome.FINISHED, content)
    directory.end_attempt(number, Outcome.FINISHED)
    return directory


def unseal(directory: TrialDirectory) -> None:
    """As the files of before there were checksums."""
    for name in FILES:
        path = directory.path / name
        text = re.sub(rb',\s*"crc32": "[0-9a-f]{8}"', b"", path.read_bytes())
        text = re.sub(rb',\s*"metrics_bytes": \d+', b"", text)
        if name == "result.json":
            text = re.sub(rb'\s*"fingerprint": "\w+",', b"", text)
        path.write_bytes(text.replace(b'"format": 2', b'"format": 1'))


def test_files_of_before_there_were_checksums_are_read_as_they_were(
    finished: TrialDirectory, trial: TrialSpec
) -> None:
    before, curve = finished.record(), finished.curve("val/acc1")
    unseal(finished)
    with collected() as notes:
        record = finished.record()
        assert (record.state, record.metrics) == (State.DONE, before.metrics)
        assert finished.curve("val/acc1") == curve == {3: 40.0, 6: 50.0}
        assert finished.read_trial() == trial
        assert len(finished.attempts()) == 2
    assert list(notes.lines()) == []


@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_changes_a_number_or_stops_anything(
    finished: TrialDirectory, trial: TrialSpec, sweep: Any, name: str, is_sealed: bool
) -> None:
    if not is_sealed:
        unseal(finished)
    path = finished.path / name
    content = path.read_bytes()
    dice = random.Random(0)
    with collected():
        for _ in range(150):
            changed = bytearray(content)
            changed[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            path.write_bytes(changed)
            record = sweep.store.record(trial)
            assert record.metrics in ({}, {"val/acc1": 50.0})
            assert (record.state is State.DONE) == bool(record.metrics)
            assert name == "metrics.jsonl" or finished.curve("val/acc1") == {3: 40.0, 6: 50.0}
            assert not is_sealed or set(finished.curve("val/acc1").values()) <= {40.0, 50.0}
            finished.provenance()


@pytest.mark.parametrize("is_sealed", [True, False])
def test_another_trials_files_are_not_this_trials(
    finished: TrialDirectory, sweep: Any, trial: TrialSpec, is_sealed: bool
) -> None:
    if not is_sealed:
        unseal(finished)
    other = sweep.trials[1]
    place = sweep.store.directory(other)
    shutil.copytree(finished.path, place.path)
    with collected() as notes:
        assert sweep.store.record(other).state is not State.DONE
        assert place.provenance() == {}
        if is_sealed:
            assert place.curve("val/acc1") == {}
            assert place.attempts() == []
    assert any("another trial" in line for line in notes.lines())


@pytest.mark.parametrize(
    "content", ['{"outcome": "finished", "time": 1.0}', '{"outcome": "unheard of", "time": 1.0}']
)
def test_a_result_that_says_nothing_is_none(directory: TrialDirectory, content: str) -> None:
    directory.result_path.write_text(content)
    with collected() as notes:
        assert directory.record().state is State.PENDING
    assert "damaged: result.json" in "".join(notes.lines())


@pytest.mark.parametrize("name", FILES[:3])
def test_a_damaged_file_is_named_once_with_its_path_and_counts_as_not_there(
    directory: TrialDirectory, name: str
) -> None:
    (directory.path / name).write_text("nonsense\n")
    with collected() as notes:
        assert directory.record().state is State.PENDING
        assert directory.record().state is State.PENDING
    first, second = notes.lines()
    assert first.startswith(f"damaged: {name} (")
    assert second == f"  {directory.path / name}"


def test_a_curve_that_was_cut_off_is_named_and_the_result_stands(finished: TrialDirectory) -> None:
    lines = finished.metrics_path.read_bytes().splitlines(keepends=True)
    finished.metrics_path.write_bytes(lines[0])
    with collected() as notes:
        assert finished.record().metrics == {"val/acc1": 50.0}
    assert "to train a trial again, delete its folder" in "".join(notes.lines())


@pytest.mark.slow
def test_a_result_of_a_newer_version_is_neither_read_wrongly_nor_overwritten(
    cli: Callable[..., Any], write_spec: Callable[..., Path], store_path: Path
) -> None:
    spec = write_spec(seeds=[0, 1])
    local = ("--store", store_path, "--executor", "local", "--no-tracking")
    assert cli("run", spec, *local, "--seeds", "0").code == 0
    [result] = store_path.glob("tiny/trials/*/result.json")
    content = json.loads(result.read_bytes())
    result.write_text(json.dumps(content | {"outcome": "enlightened", "format": 9}))
    newer = result.read_bytes()
    status = cli("status", spec, "--store", store_path)
    assert status.code == 0
    assert "which this version does not know" in " ".join(status.out.split())
    for verb in ("run", "resume"):
        assert cli(verb, spec, *local).code == 1, "the other trial is trained, this one is told"
        assert result.read_bytes() == newer
    assert len(list(store_path.glob("tiny/trials/*/result.json"))) == 2
