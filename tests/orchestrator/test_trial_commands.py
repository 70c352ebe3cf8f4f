"""`logs`, `show` and `debug`: one trial, by the name that people type."""

import io
import json
import pdb
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.app import main
from orchestrator.cli.options import out
from orchestrator.cli.trials import news
from orchestrator.errors import UsageError
from orchestrator.report.sparkline import sparkline
from orchestrator.store.store import Store
from orchestrator.store.trial_lookup import trial_named

TRAINING = """
import warnings

def helper(table):
    return table["lr"]

def train(*, mode: str = "well", seed, log_metrics, checkpoint_dir):
    print(f"{mode}: began with {sorted(path.name for path in checkpoint_dir.iterdir())}")
    for iteration in range(1, 5):
        log_metrics({"score": iteration / 4 + seed}, iteration)
        (checkpoint_dir / "last").write_text(str(iteration))
        if mode == "badly" and iteration == 3:
            helper({"hidden": 5})
        if mode == "looked_at" and iteration == 3:
            breakpoint()
    return {"score": 1.0 + seed}
"""
SPEC = """
name: {name}
metric: {{name: score, mode: max}}
seeds: [0, 1]
baseline:
  train: {{name: "lesson:train"}}
steps:
  - name: badly
    change: {{train.mode: badly}}
  - name: looked_at
    change: {{train.mode: looked_at}}
"""
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, its module, and a store in which the sweep has run."""
    folder = tmp_path_factory.mktemp("lessons")
    (folder / "lesson.py").write_text(TRAINING)
    (folder / "lessons.yaml").write_text(SPEC.format(name="lessons"))
    run = ["run", str(folder / "lessons.yaml"), "--store", str(folder / "runs"), "--no-tracking"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["orchestrator", *run, "--executor", "local"])
        with pytest.raises(SystemExit):
            main()
    return folder


@pytest.fixture
def store(ran: Path) -> Path:
    return ran / "runs"


@pytest.mark.slow
def test_logs_show_what_was_printed_with_the_traceback_from_the_users_code_on(
    cli: Cli, store: Path
) -> None:
    shown = cli("logs", "badly-seed0", "--store", store)
    assert shown.code == 0, shown.err
    heading, first, *rest = shown.out.splitlines()
    assert heading.startswith("──── attempt 1, ")
    assert first == "badly: began with []"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[1].endswith('lesson.py", line 13, in train')
    assert rest[-1] == "KeyError: 'lr'"
    assert cli("logs", "badly-seed0", "-n", 1, "--store", store).out == "KeyError: 'lr'\n"
    missing = cli("logs", "badly-seed0", "--attempt", 7, "--store", store)
    assert (missing.code, "attempt 7" in missing.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["lessons/badly-seed1"], ["lessons", "badly-seed1"], ["SPEC"]])
def test_a_trial_is_named_alone_with_its_sweep_or_with_its_spec(
    cli: Cli, ran: Path, store: Path, words: list[str]
) -> None:
    words = [str(ran / "lessons.yaml"), "badly-seed1"] if words == ["SPEC"] else words
    shown = cli("show", *words, "--store", store, "--json")
    assert shown.json["name"] == "badly-seed1"
    again = cli("show", shown.json["path"], "--store", store, "--json")
    assert again.json["name"] == "badly-seed1"


def test_follow_ends_where_nobody_is_at_work(cli: Cli, store: Path) -> None:
    followed = cli("logs", "baseline-seed0", "--follow", "--store", store)
    assert followed.out.endswith("well: began with []\n")


def test_follow_ends_where_nobody_reads_any_more(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.lease.live_session", lambda path: "at work")
    monkeypatch.setattr("orchestrator.cli.trials._may_print", lambda directory, session: True)
    monkeypatch.setattr(out, "quiet", True)
    assert cli("logs", "baseline-seed0", "--follow", "--store", store).code == 0


def test_show_says_how_far_a_trial_got(cli: Cli, store: Path) -> None:
    assert "finished, iteration 4\n" in cli("show", "baseline-seed0", "--store", store).out


def test_show_has_settings_attempts_curve_traceback_and_cause(cli: Cli, store: Path) -> None:
    text = cli("show", "badly-seed0", "--store", store).out
    assert "orchestrator logs lessons/badly-seed0`" in text, "another sweep may have one, too"
    for part in ("lessons/badly-seed0: failed", "mode: badly", "▁▅█", "KeyError: 'lr'", "0.25"):
        assert part in text, part
    assert "in helper" in text
    found = cli("show", "badly-seed0", "--store", store, "--json").json
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["failed"]
    assert found["curves"]["score"] == [[1, 0.25], [2, 0.5], [3, 0.75]]


@pytest.mark.slow
def test_debug_stops_at_breakpoints_in_the_users_own_file_and_leaves_the_store_alone(
    cli: Cli, ran: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    # Python's own, in whose place pytest puts another
    monkeypatch.setattr(sys, "breakpointhook", lambda: pdb.Pdb().set_trace(sys._getframe(1)))
    monkeypatch.setattr(sys, "stdin", io.StringIO("p mode\nc\n"))
    shown = cli("debug", ran / "lessons.yaml", "looked_at-seed0", "--store", store)
    assert "'looked_at'" in shown.err, "where a training's own output goes"
    assert f"{ran / 'lesson.py'}(" in shown.err
    assert shown.code == 0
    assert "looked_at: began with ['last']" in shown.err, "from its checkpoint"
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == files


@pytest.mark.slow
def test_debug_opens_where_it_raised(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("p table\nq\n"))
    shown = cli("debug", "badly-seed0", "--pdb", "--from-start", "--store", store)
    assert "{'hidden': 5}" in shown.out
    assert "badly: began with []" in shown.err
    assert "badly-seed0: failed: KeyError: 'lr'" in shown.err
    assert shown.code == 1


def test_a_name_that_is_not_there_or_not_the_only_one_is_one_clear_error(
    ran: Path, tmp_path: Path
) -> None:
    shutil.copytree(ran / "runs" / "lessons", tmp_path / "lessons")
    shutil.copytree(ran / "runs" / "lessons", tmp_path / "more")
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="name one of them: lessons/badly-seed0, more/badly-seed0"):
        trial_named(store, "badly-seed0")
    assert trial_named(store, "badly-seed0", "more").path.parent.parent.name == "more"
    with pytest.raises(UsageError, match=r"did you mean 'badly-seed[01]'"):
        trial_named(store, "badly-seed9")
    with pytest.raises(UsageError, match=r"'more' is a sweep; .* such as more/badly-seed0"):
        trial_named(store, "more")
    with pytest.raises(UsageError, match="it has badly-seed0"):
        trial_named(store, "x")
    with pytest.raises(UsageError, match="no trial has started"):
        trial_named(Store(tmp_path / "nowhere"), "x")


def test_of_trainings_under_one_name_it_is_the_newest(ran: Path, tmp_path: Path) -> None:
    [old] = (ran / "runs" / "lessons" / "trials").glob("badly-seed0-*")
    trials = tmp_path / "lessons" / "trials"
    shutil.copytree(old, trials / old.name)
    (tmp_path / "lessons" / "sweep.yaml").touch()
    new = trials / "badly-seed0-0123abcd"
    new.mkdir()
    (new / "trial.json").write_text(json.dumps({}))
    assert trial_named(Store(tmp_path), "badly-seed0").path == new
    assert trial_named(Store(tmp_path), old.name).path.name == old.name


def test_what_follows_a_text_that_was_shortened_or_is_still_being_written() -> None:
    assert news("one\n", "one\ntwo\n") == "two\n"
    assert news("one\n 10 %", "one\n 20 %") == "\r 20 %"
    assert (
        news("head\nmiddle\nend of it\n", "head\n...\nend of it\nmore\n")
        == "head\n...\nend of it\nmore\n"
    )
    long = "".join(f"line {index}\n" for index in range(100))
    assert news(long, "line 0\n...\n" + long[300:] + "more\n") == "more\n"


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([2.0, 2.0]) == "▄▄"
    assert sparkline([]) == ""
    assert sparkline(list(range(1000)), width=8) == "▁▂▃▄▅▆▇█"
