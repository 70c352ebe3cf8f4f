"""`list`, `gc`, `delete`, `init`, `keep`, and merging stores: a store stays tidy, and nothing
that is needed goes.
"""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.cleaning import delete_sweep, drop, inspect
from orchestrator.cli.first_sweep import FILES
from orchestrator.errors import SweepInUse
from orchestrator.outcomes import Outcome
from orchestrator.running.keeping import DroppedCheckpoints
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.contents import bytes_text
from orchestrator.store.lease import Lease, live_holder
from orchestrator.store.output_log import read_output
from orchestrator.waiting import heard_by

Cli = Callable[..., Any]
STEPS = [{"name": "rms", "change": {"model.norm": "rmsnorm"}}]


@pytest.fixture
def make_done(make_sweep: Callable[..., Any]) -> Callable[..., Any]:
    """A sweep whose trials are done, by their files alone: nothing was trained."""

    def make(name: str, **changes: Any) -> Any:
        sweep = make_sweep(name, **changes)
        sweep.store.submit(name, sweep.spec.content, sweep.spec.code)
        for trial in sweep.trials:
            finish(sweep, trial)
        return sweep

    return make


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a job of a queue."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def finish(sweep: Any, trial: Any) -> None:
    directory = sweep.store.directory(trial)
    directory.write_trial(trial, {})
    directory.start_attempt("0" * 32, {"host": "h", "pid": 1})
    metrics = {"val/acc1": 50.0 + trial.seed, "epoch": 2}
    content = {"metrics": metrics, "epochs": 2, "iterations": 6, "fingerprint": trial.fingerprint}
    directory.write_result(Outcome.FINISHED, content)
    directory.end_attempt(1, Outcome.FINISHED)


def test_list_shows_what_is_there_without_reading_a_spec(
    cli: Cli, make_done: Callable[..., Any], store_path: Path
) -> None:
    assert "there are no sweeps" in cli("list", "--store", store_path).out
    sweep = make_done("first", seeds=[0, 1])
    (sweep.path / "sweep.yaml").write_text("no: spec")
    with Lease(sweep.path):
        assert "running: process" in cli("list", "--store", store_path).out
    [found] = cli("list", "--store", store_path, "--json").json
    assert (found["name"], found["begun"], found["done"]) == ("first", 2, 2)
    assert found["bytes"] > 1000


def test_gc_says_what_it_drops_and_keeps_what_another_sweep_reuses(
    cli: Cli,
    make_done: Callable[..., Any],
    make_sweep: Callable[..., Any],
    store_path: Path,
    nobody_answers: None,
) -> None:
    sweep = make_done("first", steps=[*STEPS, {"name": "slow", "change": {"train.lr": 0.001}}])
    (store_path / ".smoke" / "first").mkdir(parents=True)
    edited = make_sweep("first")  # the baseline alone is left
    edited.store.submit("first", edited.spec.content)
    other = make_sweep("second", steps=STEPS)  # and this one reuses rms
    other.store.submit("second", other.spec.content)
    refused = cli("gc", "--store", store_path)
    folders = {trial.variant: sweep.store.directory(trial).path for trial in sweep.trials}
    assert f"{folders['slow'].name}  " in refused.out
    assert "sweep first no longer asks for it" in refused.out
    assert ".smoke" in refused.out
    assert refused.code == 2
    assert folders["slow"].is_dir(), "nobody has answered"
    assert cli("gc", "--yes", "--store", store_path).code == 0
    assert {name: path.is_dir() for name, path in folders.items()} == {
        "baseline": True,
        "rms": True,
        "slow": False,
    }
    assert not (store_path / ".smoke").exists()
    assert "nothing to delete" in cli("gc", "--store", store_path).out


def test_gc_takes_no_trial_for_garbage_while_a_spec_cannot_be_read_or_a_driver_is_at_work(
    cli: Cli, make_done: Callable[..., Any], make_sweep: Callable[..., Any], store_path: Path
) -> None:
    sweep = make_done("first", steps=STEPS)
    edited = make_sweep("first")
    edited.store.submit("first", edited.spec.content)
    with Lease(sweep.path):
        assert "nothing to delete" in cli("gc", "--yes", "--store", store_path).out
    broken = make_sweep("second")
    broken.store.submit("second", b"name: second\nnonsense: 1\n")
    told = cli("gc", "--yes", "--store", store_path)
    assert "cannot tell what sweep second needs, so no trial is deleted" in told.err
    assert all(sweep.store.directory(trial).path.is_dir() for trial in sweep.trials)


def test_what_a_spec_has_come_to_ask_for_since_it_was_found_stays(
    make_done: Callable[..., Any], make_sweep: Callable[..., Any]
) -> None:
    sweep = make_done("first", steps=STEPS)
    edited = make_sweep("first")
    edited.store.submit("first", edited.spec.content)
    found = inspect(edited.store).garbage
    assert [one.path for one in found] == [sweep.store.directory(sweep.trials[1]).path]
    sweep.store.submit("first", sweep.spec.content)
    assert drop(edited.store, found) == 0
    edited.store.submit("first", edited.spec.content)
    with Lease(sweep.path), pytest.raises(SweepInUse):
        drop(edited.store, found)
    assert found[0].path.is_dir()
    assert drop(edited.store, found) == 1
    assert not found[0].path.exists()
    assert live_holder(sweep.path) is None


def test_delete_refuses_a_sweep_at_work_names_who_reuses_it_and_asks(
    cli: Cli,
    make_done: Callable[..., Any],
    make_sweep: Callable[..., Any],
    store_path: Path,
    nobody_answers: None,
) -> None:
    sweep = make_done("first")
    other = make_sweep("second")
    other.store.submit("second", other.spec.content)
    with Lease(sweep.path):
        assert cli("delete", "first", "--yes", "--store", store_path).code == 3
    asked = cli("delete", "first", "--store", store_path)
    assert asked.code == 2
    assert sweep.path.is_dir()
    done = cli("delete", "first", "--yes", "--store", store_path)
    assert "sweep second reuses 1 result from it" in done.err
    assert done.code == 0
    assert not sweep.path.exists()
    assert "did you mean" in cli("delete", "secnd", "--yes", "--store", store_path).err


def test_a_sweep_that_mlflow_never_saw_is_deleted_wherever_its_store_is(
    cli: Cli, make_done: Callable[..., Any], tmp_path: Path
) -> None:
    store = make_done("first").store.root.rename(tmp_path / "what?")
    done = cli("delete", "first", "--yes", "--store", store)
    assert (done.code, done.err) == (0, "")
    assert not (store / "first").exists()


def test_what_is_deleted_is_counted_off_for_whoever_waits(make_done: Callable[..., Any]) -> None:
    sweep, heard = make_done("first", steps=STEPS), list[tuple[str, int, int]]()
    with heard_by(lambda *told: heard.append(told)):
        delete_sweep(sweep.store, "first")
    assert heard == [("deleting trials", done, 2) for done in range(3)]
    assert not sweep.path.exists()


def test_a_sweep_that_is_a_link_is_deleted_without_what_it_leads_to(
    make_done: Callable[..., Any], tmp_path: Path
) -> None:
    sweep = make_done("first")
    sweep.path.rename(tmp_path / "elsewhere")
    sweep.path.symlink_to(tmp_path / "elsewhere")
    delete_sweep(sweep.store, "first")
    assert not sweep.path.is_symlink()
    assert len(list((tmp_path / "elsewhere" / "trials").iterdir())) == len(sweep.trials)


def test_two_stores_are_merged_by_copying_trial_folders(
    cli: Cli, make_done: Callable[..., Any], store_path: Path, tmp_path: Path
) -> None:
    sweep = make_done("first", seeds=[0, 1])
    here, there = store_path / "first" / "trials", tmp_path / "there" / "first"
    shutil.copytree(store_path / "first", there)
    for trial in sweep.trials:  # each machine has trained one seed
        folder = sweep.store.directory(trial).path
        shutil.rmtree(there / "trials" / folder.name if trial.seed == 0 else folder)
    assert "1 new, 1 done" in cli("plan", sweep.spec.path, "--store", store_path).out
    subprocess.run(["cp", "-rn", f"{there}/trials/.", str(here)], check=False)
    assert "2 done" in cli("plan", sweep.spec.path, "--store", store_path).out
    report = cli("report", sweep.spec.path, "--store", store_path, "--format", "json").json
    assert report["steps"][0]["values"] == {"0": 50.0, "1": 51.0}


def test_keep_drops_checkpoints_of_what_has_ended_and_nothing_else(
    make_done: Callable[..., Any],
) -> None:
    sweep = make_done("first", steps=STEPS)
    for trial in sweep.trials:
        folder = sweep.store.directory(trial).path
        (folder / "checkpoint").mkdir()
        for name in ("checkpoint.pt", "checkpoint.previous.pt", "checkpoint/last"):
            (folder / name).touch()
    rule = DroppedCheckpoints(sweep.store, lambda trial: trial.variant == "rms")
    for trial, outcome in zip(sweep.trials, (Outcome.PRUNED, Outcome.FINISHED), strict=True):
        rule.ended(trial, outcome)
    assert len(list(sweep.path.glob("trials/*/checkpoint*"))) == 6
    for trial in sweep.trials:
        rule.ended(trial, Outcome.FINISHED)
    assert {path.parent.name[:3] for path in sweep.path.glob("trials/*/checkpoint*")} == {"rms"}
    assert len(list(sweep.path.glob("trials/*/result.json"))) == 2


@pytest.mark.slow
def test_what_init_writes_runs_at_once_and_keeps_what_the_spec_says(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli("init", tmp_path / "new").code == 0
    again = cli("init", tmp_path / "new")
    assert (again.code, "already exists" in again.err) == (2, True)
    path = tmp_path / "new" / "sweep.yaml"
    spec = yaml.safe_load(path.read_text())
    assert len(load_spec(path).variants) == 4
    spec |= {"seeds": [0, 1], "steps": spec["steps"][:1], "keep": "end"}
    spec["baseline"]["train"]["epochs"] = 2
    path.write_text(yaml.safe_dump(spec))
    where = ("--store", tmp_path / "runs", "--executor", "local", "--no-tracking")
    assert cli("run", path, *where).code == 0
    kept = {found.parent.name[:5] for found in (tmp_path / "runs").rglob("checkpoint")}
    assert kept == {"wide-"}
    [log] = (tmp_path / "runs").glob("first/trials/wide-seed1-*/output.log")
    assert read_output(log)[0].text.startswith("epoch 1: ")


def test_what_init_writes_is_formatted_python() -> None:
    compile(FILES["train.py"], "train.py", "exec")
    assert max(map(len, FILES["train.py"].splitlines())) <= 110


def test_shell_completion_is_offered() -> None:
    command = [sys.executable, "-m", "orchestrator", "--show-completion", "bash"]
    # a test run that no shell started (nohup, a CI) has no shell to detect
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "_ORCHESTRATOR_COMPLETE" in shown.stdout, shown.stderr


def test_sizes_in_words() -> None:
    assert [bytes_text(size) for size in (12, 8240, 1_234_567, 5 * 10**12)] == [
        "12 B",
        "8.2 kB",
        "1.2 MB",
        "5.0 TB",
    ]
