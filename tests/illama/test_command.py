"""A training by a command: filled in without a shell, followed by its lines, ended with its
trial.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from illama.config import UserCodeError, resolve
from illama.config.command import CommandLine, CommandTraining, filled
from illama.config.imports import import_from
from illama.training.command import PRINTED
from illama.training.results import Diverged, Stopped, TrainResult
from illama.training.trainer import train

SCRIPT = """
import json, os, sys, time
import beside
mode, seed = sys.argv[1:3]
done = int(open("done").read()) if os.path.exists("done") else 0
if mode == "fail":
    sys.exit("it was not to be")
if mode == "nan":
    print("metric loss=nan epoch=1")
    time.sleep(60)
if mode == "file":
    with open(sys.argv[3], "a") as file:
        for epoch in (1, 2):
            file.write(json.dumps({"epoch": epoch, "loss": 1 / epoch, "note": "text"}) + "\\n")
    sys.exit()
if mode == "settings":
    print("metric lr=%s seed=%s" % (json.load(open(sys.argv[3]))["optim"]["lr"], seed))
    sys.exit()
for epoch in range(done + 1, 4):
    print("metric loss=%s epoch=%d" % (beside.LOSS / epoch, epoch))
    print("metric acc=%s epoch=%d" % (epoch + int(seed), epoch))
    print("metric of prose")
    with open("done", "w") as file:
        file.write(str(epoch))
    if mode == "slow" and not done and epoch == 2:
        time.sleep(60)
print("metric test/acc=0.5 params=7")
"""
COMMAND = "python script.py {mode} {seed}"
Lines = list[tuple[dict[str, float], int]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    beside = tmp_path / "spec"
    beside.mkdir()
    (beside / "script.py").write_text(SCRIPT)
    (beside / "beside.py").write_text("LOSS = 6.0\n")
    import_from(beside)
    yield beside
    import_from(Path())


def training(mode: str = "plain", seed: int = 0, **train: Any) -> CommandTraining:
    settings = {"command": COMMAND, "mode": mode, **train}
    found = resolve({"train": settings, "seed": seed})
    assert isinstance(found, CommandTraining)
    return found


def run(
    what: CommandTraining, folder: Path, should_stop: Callable[[], bool] = lambda: False
) -> tuple[TrainResult, Lines]:
    lines: Lines = []
    result = train(
        what,
        log_metrics=lambda metrics, at: lines.append((dict(metrics), at)),
        checkpoint_dir=folder,
        should_stop=should_stop,
    )
    return result, lines


def line(command: str, **options: Any) -> CommandLine:
    return CommandLine(command=command, code="", options=options)


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        ("x --lr {lr}", {"lr": 1e-3}, ["x", "--lr", "0.001"]),
        ("x --note={note}", {"note": "a b; $(rm x) '\""}, ["x", "--note=a b; $(rm x) '\""]),
        ("x '{a} {b}'", {"a": 1, "b": True}, ["x", "1 true"]),
        ("x --w {w}", {"w": [8, 16]}, ["x", "--w", "8", "16"]),
        ("x {amp:--amp} y", {"amp": True}, ["x", "--amp", "y"]),
        ("x {amp:--amp} y", {"amp": False}, ["x", "y"]),
        ("x {optim.lr}", {"optim": {"lr": 2}}, ["x", "2"]),
        ("x {{}}", {}, ["x", "{}"]),
    ],
)
def test_each_word_is_filled_in_by_itself(command: str, options: Any, words: list[str]) -> None:
    assert filled(line(command, **options), {}) == words


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"command": "python script.py"}, r"the command has no \{seed\}"),
        ({"command": "python gone.py {mode} {seed}"}, "there is no 'gone.py' next to the spec"),
        (
            {"command": "python script.py '{seed}"},
            "cannot be split into words: No closing quotation",
        ),
        ({"command": "python script.py {seed} {"}, "a brace itself is written twice"),
        ({"command": f"{COMMAND} --w={{w}}", "w": [1]}, "'w' is a list"),
        ({"command": COMMAND, "files": ["../x"]}, "'../x' in train.files is not a file"),
    ],
)
def test_a_command_that_cannot_run_is_refused_before(
    train: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(UserCodeError, match=message):
        training(**train)


@pytest.mark.slow
def test_lines_of_metrics_become_points_and_final_figures(tmp_path: Path) -> None:
    result, lines = run(training(seed=1), tmp_path / "trial")
    assert lines[:3] == [
        ({"loss": 6.0, "acc": 2.0}, 1),
        ({"loss": 3.0, "acc": 3.0}, 2),
        ({"loss": 2.0, "acc": 4.0}, 3),
    ]
    assert result.final == {"loss": 2.0, "acc": 4.0, "test/acc": 0.5}
    assert result.params == 7


@pytest.mark.slow
def test_a_file_of_metrics_will_do_as_well(tmp_path: Path) -> None:
    what = training("file", command=f"{COMMAND} {{metrics_file}}")
    result, lines = run(what, tmp_path / "trial")
    assert (result.final, lines) == ({"loss": 0.5}, [({"loss": 1.0}, 1), ({"loss": 0.5}, 2)])


@pytest.mark.slow
def test_any_settings_go_by_a_file(tmp_path: Path) -> None:
    command = "python script.py settings {seed} {settings_file}"
    what = resolve({"train": {"command": command, "optim": {"lr": 0.5}}, "seed": 3})
    assert isinstance(what, CommandTraining)
    assert run(what, tmp_path / "trial")[0].final == {"lr": 0.5, "seed": 3.0}


@pytest.mark.slow
def test_asked_to_stop_it_goes_on_in_the_same_folder_and_no_point_is_lost(tmp_path: Path) -> None:
    expected = run(training(), tmp_path / "undisturbed")
    printed = tmp_path / "trial" / PRINTED

    def is_half_done() -> bool:
        return printed.exists() and len(printed.read_text().splitlines()) == 4

    with pytest.raises(Stopped):
        run(training("slow"), tmp_path / "trial", is_half_done)
    assert is_half_done()
    result, lines = run(training("slow"), tmp_path / "trial")
    assert (result.final, lines) == (expected[0].final, expected[1])


@pytest.mark.slow
def test_one_that_fails_says_the_last_that_it_said(tmp_path: Path) -> None:
    message = "script.py ended with exit code 1: it was not to be"
    with pytest.raises(RuntimeError, match=message):
        run(training("fail"), tmp_path / "trial")


@pytest.mark.slow
def test_a_figure_that_is_not_finite_ends_it_with_all_that_it_started(tmp_path: Path) -> None:
    command = "sh run.sh {mode} {seed}"
    script = (
        "sleep 61 & echo $! > child; echo metric loss=nan epoch=1; echo metric loss=1 "
        "epoch=2; sleep 60"
    )
    Path(tmp_path / "spec" / "run.sh").write_text(script)
    with pytest.raises(Diverged):
        run(training("nan", command=command), tmp_path / "trial")
    child = int((tmp_path / "trial" / "checkpoint" / "child").read_text())
    time.sleep(0.1)
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_its_code_is_what_it_is_made_of(folder: Path) -> None:
    first = training()
    (folder / "unrelated.py").write_text("x = 1\n")
    assert training().identity == first.identity
    assert set(first.sources(folder)) == {"script.py", "beside.py"}
    (folder / "beside.py").write_text("LOSS = 7.0\n")
    assert training().identity != first.identity
    with pytest.raises(UserCodeError, match="have changed since this was planned"):
        train(first, log_metrics=lambda *_: None)


@pytest.mark.slow
def test_the_settings_of_an_attempt_are_left_beside_it(tmp_path: Path) -> None:
    run(training(seed=2), tmp_path / "trial")
    found = json.loads((tmp_path / "trial" / "checkpoint" / "settings.json").read_text())
    assert (found["mode"], found["seed"]) == ("plain", 2)
    assert os.path.isdir(found["checkpoint_dir"])
