"""The contracts that other people's scripts rely on: verbs, options, exit codes, JSON, and
errors in one sentence.
"""

import atexit
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
import typer.main
from test_plan import TRIAL_KEYS
from test_report_roadmap import STEP_KEYS

from orchestrator.cli.app import app
from orchestrator.store.lease import Lease

Cli = Callable[..., Any]
WriteSpec = Callable[..., Path]

OPTIONS = {
    "plan": {"--store", "--only", "--seeds", "--json"},
    "run": {
        "--executor",
        "--address",
        "--store",
        "--tracking-uri",
        "--no-tracking",
        "--only",
        "--seeds",
        "--max-failures",
        "--smoke",
    },
    "resume": {
        "--executor",
        "--address",
        "--store",
        "--tracking-uri",
        "--no-tracking",
        "--only",
        "--seeds",
        "--max-failures",
    },
    "list": {"--store", "--json"},
    "gc": {"--store", "--yes"},
    "delete": {"--store", "--tracking-uri", "--yes"},
    "init": set(),
    "logs": {"--store", "--follow", "--attempt", "--lines"},
    "show": {"--store", "--json"},
    "debug": {"--store", "--pdb", "--from-start"},
    "status": {"--store", "--json"},
    "adopt": {"--store", "--only", "--seeds"},
    "measure": {
        "--executor",
        "--address",
        "--store",
        "--tracking-uri",
        "--no-tracking",
        "--only",
        "--seeds",
    },
    "report": {
        "--store",
        "--format",
        "--output",
        "--width",
        "--columns",
        "--rows",
        "--metric",
        "--mode",
    },
    "compare": {"--store", "--format", "--metric", "--mode"},
    "sync": {"--store", "--tracking-uri", "--keep-deleted"},
    "register": {"--store", "--tracking-uri", "--step", "--seed", "--name"},
    "export": {"--store", "--format", "--output"},
    "ui": {"--store", "--tracking-uri", "--port", "--report-port", "--only-mlflow", "--open"},
}
"""Taking one away breaks somebody's script; a new one is added here."""

STEPS: list[dict[str, Any]] = [
    {"name": "rms", "change": {"model.norm": "rmsnorm"}, "side": {"slow": {"train.lr": 0.0001}}},
    {"name": "both", "change": {"model.position": "rope", "train.weight_decay": 0.1}},
]


def test_the_verbs_and_their_options_are_pinned() -> None:
    commands: Any = typer.main.get_command(app)
    found = {
        name: {option for p in command.params for option in p.opts if option.startswith("--")}
        - {"--help"}
        for name, command in commands.commands.items()
    }
    assert found == OPTIONS


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version").out == f"orchestrator {version('ablation-orchestrator')}\n"
    assert cli("run", "-h").out == cli("run", "--help").out


def test_help_explains_itself_to_a_newcomer(cli: Cli) -> None:
    finished = cli("--help")
    assert finished.code == 0
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", finished.out).split())
    for verb in OPTIONS:
        assert f" {verb} " in words
    assert "Start with: orchestrator init" in words
    assert (
        "Exit codes: 0 success; 1 some trials failed; 2 the spec or the command line is wrong; 3 "
        "the store" in words
    )
    assert "130 interrupted, with everything saved" in words


@pytest.mark.parametrize("verb", OPTIONS)
def test_every_verb_explains_each_of_its_options(cli: Cli, verb: str) -> None:
    finished = cli(verb, "--help")
    assert finished.code == 0
    commands: Any = typer.main.get_command(app)
    for option in commands.commands[verb].params:
        assert option.help or option.name == "help", option.name
    assert all(option in finished.out for option in OPTIONS[verb])


_LIGHT = """
import sys
sys.argv[0] = "orchestrator"
from orchestrator.cli.app import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {"torch", "ray", "mlflow", "optuna", "sklearn", "scipy", "pandas", "matplotlib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plan", "--help"],
        ["run", "--help"],
        ["plan", "SPEC"],
        ["plan", "SPEC", "--json"],
    ],
)
def test_plan_and_help_import_no_heavy_library_and_answer_at_once(
    write_spec: WriteSpec, arguments: list[str]
) -> None:
    spec = str(write_spec(steps=STEPS))
    command = [
        sys.executable,
        "-c",
        _LIGHT,
        *(spec if argument == "SPEC" else argument for argument in arguments),
    ]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    cpu = psutil.Process(child.pid)
    seconds = 0.0
    while child.poll() is None:
        try:
            seconds = sum(cpu.cpu_times()[:2])
        except psutil.NoSuchProcess:
            break
        time.sleep(0.005)
    _, error = child.communicate()
    assert child.returncode == 0, error
    assert (
        seconds < 2.5
    )  # of the processor, whatever else runs on this machine; about 0.7 on a quiet one


def test_plan_json_has_its_keys_and_every_trial(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(seeds=[3, 5], steps=STEPS)
    finished = cli("plan", spec, "--store", store_path, "--json")
    assert (finished.code, finished.err) == (0, "")
    plan = finished.json
    assert plan.keys() >= {"trials", "warnings", "estimate"}
    assert [trial["name"] for trial in plan["trials"]] == [
        f"{variant}-seed{seed}"
        for variant in ("baseline", "rms", "slow", "both")
        for seed in (3, 5)
    ]
    for trial in plan["trials"]:
        assert trial.keys() >= TRIAL_KEYS
        assert trial["action"] == "new"
        assert re.fullmatch(r"[0-9a-f]{64}", trial["fingerprint"])
        assert isinstance(trial["params"], int)
        assert isinstance(trial["flops"], int)
    assert plan["trials"][0]["changes"] == {}
    assert plan["trials"][-1]["changes"] == {"model.position": "rope", "train.weight_decay": 0.1}
    assert all(warning.keys() >= {"code", "message", "line"} for warning in plan["warnings"])
    assert {warning["code"] for warning in plan["warnings"]} >= {"few-seeds", "confounded-step"}
    assert isinstance(plan["estimate"], dict)
    assert not store_path.exists(), "planning writes nothing"


def test_plan_tells_what_is_done_to_retry_to_continue_and_to_reuse(cli: Cli, zoo: Path) -> None:
    trials = zoo / "runs" / "zoo" / "trials"
    [finished] = trials.glob("rmsnorm-seed1-*")
    (finished / "result.json").unlink()
    [began] = trials.glob("rmsnorm-seed0-*")
    shutil.rmtree(began)
    plan = cli("plan", zoo / "zoo.yaml", "--store", zoo / "runs", "--json").json
    actions = {trial["name"]: trial["action"] for trial in plan["trials"]}
    assert (
        actions["baseline-seed0"] == actions["too_fast-seed0"] == actions["causal-seed1"] == "done"
    )
    assert actions["broken-seed0"] == "retry"
    told = cli("plan", zoo / "zoo.yaml", "--store", zoo / "runs").out
    assert "1 to continue" in told
    assert "2 failed" in told
    assert actions["rmsnorm-seed0"] == "new"
    assert actions["rmsnorm-seed1"] == "continue"
    other = zoo / "other.yaml"
    other.write_text(
        (zoo / "zoo.yaml").read_text().replace("name: zoo", "name: oo")
    )  # `zoo` ends in `oo`
    plan = cli("plan", other, "--store", zoo / "runs", "--json").json
    actions = {trial["name"]: trial["action"] for trial in plan["trials"]}
    assert actions["baseline-seed0"] == actions["causal-seed1"] == "reuse"
    assert actions["broken-seed0"] == "new"


def test_plan_for_people_names_variants_changes_and_warnings(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    finished = cli("plan", write_spec(steps=STEPS), "--store", store_path)
    assert finished.code == 0
    for words in (
        "baseline",
        "norm: rmsnorm",
        "1 new",
        "few-seeds",
        "confounded-step",
        "trials to train",
    ):
        assert words in finished.out


def test_status_json_has_its_keys_and_tells_what_failed_and_why(cli: Cli, zoo: Path) -> None:
    finished = cli("status", zoo / "zoo.yaml", "--store", zoo / "runs", "--json")
    assert (finished.code, finished.err) == (0, "")
    status = finished.json
    assert status.keys() >= {"sweep", "outcomes", "trials"}
    assert status["sweep"] == "zoo"
    assert status["outcomes"] == {"finished": 4, "collapsed": 2, "diverged": 2, "failed": 2}
    for trial in status["trials"]:
        assert trial.keys() >= {
            "name",
            "state",
            "outcome",
            "attempts",
            "cause",
            "iteration",
            "mlflow_run_id",
        }
    by_name = {trial["name"]: trial for trial in status["trials"]}
    assert by_name["broken-seed1"]["state"] == "failed"
    assert "ValueError: data digits" in by_name["broken-seed1"]["cause"]
    expected = {
        "state": "done",
        "outcome": "finished",
        "attempts": 1,
        "cause": None,
        "iteration": 6,
        "mlflow_run_id": None,
    }
    assert expected.items() <= by_name["baseline-seed0"].items()


def test_status_for_people_and_by_name_in_the_store(cli: Cli, zoo: Path) -> None:
    for reference in (zoo / "zoo.yaml", "zoo"):
        finished = cli("status", reference, "--store", zoo / "runs")
        assert finished.code == 0
        assert "zoo: 10 trials: 2 collapsed, 2 diverged, 2 failed, 4 finished" in finished.out
        assert (
            f"failed: broken-seed0, attempt 1 on {socket.gethostname()}, epoch 0/2: ValueError: "
            "data" in finished.out
        )
        assert re.search(
            r'\n    File ".*\.py", line \d+, in \w+\n    traceback: orchestrator show '
            rf"zoo/broken-seed0 --store {re.escape(shlex.quote(str(zoo / 'runs')))}\n",
            finished.out,
        )


def test_status_without_the_images_says_what_it_cannot_know(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(
        **{
            "baseline.data": {"name": "image_folder", "folder": "nowhere"},
            "baseline.model.name": "vit_tiny",
        }
    )
    status = cli("status", spec, "--store", store_path)
    assert status.code == 0, status.err
    assert "nowhere/train is missing" in status.out
    assert "results of other sweeps that it shares are not looked for" in status.out
    assert cli("status", spec, "--store", store_path, "--json").json["absent"]
    begun = store_path / "tiny" / "trials" / "baseline-seed0-12345678" / "trial.json"
    begun.parent.mkdir(parents=True)
    begun.write_text("{}")
    refused = cli("status", spec, "--store", store_path)
    assert (refused.code, "nowhere/train is missing" in refused.err) == (2, True)


def test_report_json_has_its_keys_in_roadmap_order(cli: Cli, zoo: Path) -> None:
    finished = cli("report", "zoo", "--store", zoo / "runs", "--format", "json")
    assert (finished.code, finished.err) == (0, "")
    report = finished.json
    assert report.keys() >= {"sweep", "metric", "steps"}
    assert (report["sweep"], report["metric"]) == ("zoo", "val/acc1")
    assert [step["name"] for step in report["steps"]] == [
        "baseline",
        "rmsnorm",
        "causal",
        "too_fast",
        "broken",
    ]
    for step in report["steps"]:
        assert step.keys() >= STEP_KEYS
    baseline, rmsnorm, causal, too_fast, broken = report["steps"]
    assert baseline["delta_previous"] is baseline["delta_baseline"] is None
    assert rmsnorm["delta_previous"].keys() >= {"mean", "ci95", "p_value", "versus"}
    assert rmsnorm["delta_previous"]["versus"] == rmsnorm["delta_baseline"]["versus"] == "baseline"
    assert rmsnorm["seeds"] == [0, 1]
    assert rmsnorm["mean"] == pytest.approx(sum(rmsnorm["values"].values()) / 2)
    assert len(rmsnorm["ci95"]) == 2
    assert causal["outcomes"] == {"collapsed": 2}
    assert causal["delta_previous"]["versus"] == "rmsnorm"
    assert too_fast["side"] is True
    assert too_fast["values"] == broken["values"] == {}
    assert broken["outcomes"] == {"failed": 2}
    assert broken["mean"] is None


@pytest.mark.parametrize("form", ["table", "json", "md", "latex", "html", "svg"])
def test_every_format_goes_to_the_terminal_or_a_file_alike(cli: Cli, zoo: Path, form: str) -> None:
    printed = cli("report", "zoo", "--store", zoo / "runs", "--format", form)
    assert printed.code == 0
    assert "rmsnorm" in printed.out or "rmsnorm" in printed.out.replace("\\_", "_")
    path = zoo / "the report"
    saved = cli("report", "zoo", "--store", zoo / "runs", "--format", form, "--output", path)
    assert (saved.code, saved.out) == (0, "")
    assert "wrote" in saved.err
    assert "\x1b" not in path.read_text()
    assert [line.rstrip() for line in path.read_text().splitlines()] == [
        line.rstrip() for line in printed.out.splitlines()
    ]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("a.html", b"<!doctype html>"),
        ("a.TEX", b"% "),
        ("a.json", b"{"),
        ("a.txt", b"Roadmap of zoo"),
    ],
)
def test_a_report_is_written_as_its_file_is_called(
    cli: Cli, zoo: Path, name: str, start: bytes
) -> None:
    assert cli("report", "zoo", "--store", zoo / "runs", "--output", zoo / name).code == 0
    assert (zoo / name).read_bytes().startswith(start)


def test_a_report_of_a_sweep_that_never_ran_is_an_empty_roadmap(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    finished = cli("report", write_spec(steps=STEPS), "--store", store_path, "--format", "json")
    assert finished.code == 0
    assert {json.dumps(step["outcomes"]) for step in finished.json["steps"]} == {'{"pending": 1}'}


WRONG: list[tuple[list[str], int, str]] = [
    (["plan", "none.yaml"], 2, "none.yaml: cannot read the spec: No such file or directory"),
    (["plan", "EMPTY"], 2, "empty.yaml:1:1: the file is empty"),
    (["plan", "BAD"], 2, "bad.yaml:1:1: unknown key 'nmae'; did you mean 'name'?"),
    (["run", "BAD"], 2, "bad.yaml:1:1: key 'seeds' is missing"),
    (["resume", "nonsense"], 2, "'nonsense' is neither a file nor a sweep in the store"),
    (["status", "nonsense"], 2, "the store is empty"),
    (["report", "nonsense"], 2, "'nonsense' is neither a file nor a sweep in the store"),
    (["sync", "nonsense"], 2, "'nonsense' is neither a file nor a sweep in the store"),
    (["plan", "SPEC", "--only", "rmss"], 2, "the spec has no step 'rmss'; did you mean 'rms'?"),
    (["plan", "SPEC", "--seeds", "0,7"], 2, "the spec has no seed 7"),
    (
        ["plan", "SPEC", "--seeds", "zero"],
        2,
        "--seeds takes whole numbers with commas between them",
    ),
    (["run", "SPEC", "--seeds", "1,"], 2, "--seeds takes whole numbers with commas between them"),
    (
        ["run", "SPEC", "--executor", "local", "--address", "auto"],
        2,
        "--address names a Ray cluster",
    ),
    (["run", "SPEC", "--executor", "nowhere"], 2, "there is no executor 'nowhere'"),
    (["plan"], 2, "Missing argument"),
    (["plan", "SPEC", "--jsno"], 2, "No such option: --jsno"),
    (["paln", "SPEC"], 2, "No such command 'paln'"),
    (["ui"], 2, "to show yet"),
    (["report", "SPEC", "--output", "FILE/below"], 2, "cannot write"),
    (
        ["report", "SPEC", "--output", "roadmap.docx"],
        2,
        "cannot be written as '.docx'; name one of these with --format: table",
    ),
    (["run", "SPEC", "--executor", "local", "--store", "FILE"], 3, "is not a folder"),
    (
        ["run", "SPEC", "--executor", "local", "--store", "/proc/nowhere"],
        3,
        "choose another with --store",
    ),
    (["plan", "SPEC", "--store", "FILE"], 3, "is not a folder"),
    (["status", "SPEC", "--store", "FILE"], 3, "is not a folder"),
    (["list", "--store", "FILE/below"], 3, "is not a folder; choose another folder with --store"),
    (["report", "SPEC", "--mode", "up"], 2, "Invalid value for '--mode': 'up' is none of max, min"),
    (["compare", "SPEC", "SPEC", "--format", "x"], 2, "'x' is none of table, json, md"),
    (["delete", "nonsense", "--yes"], 2, "has no sweep 'nonsense'; it is empty"),
    (["gc", "--store", "~nobody-is-called-so/runs"], 3, "the store cannot be at ~nobody"),
    (["gc", "--store", "a" * 300], 3, "File name too long; choose another folder"),
    (["report", "SPEC", "--store", "FILE"], 3, "is not a folder"),
    (
        ["sync", "SPEC", "--tracking-uri", "nonsense://x"],
        3,
        "cannot write to MLflow at nonsense://x",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    WRONG,
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_with_the_exit_code_of_whose_it_is(
    cli: Cli,
    write_spec: WriteSpec,
    weird_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(weird_path)
    (weird_path / "empty.yaml").touch()
    (weird_path / "bad.yaml").write_text("nmae: tiny\n")
    (weird_path / "file").touch()
    write_spec("spec", steps=STEPS)
    places = {"SPEC": "spec.yaml", "EMPTY": "empty.yaml", "BAD": "bad.yaml", "FILE": "file"}
    finished = cli(
        *(places.get(argument, argument.replace("FILE/", "file/")) for argument in arguments)
    )
    message = " ".join(re.sub(r"[│╭╮╰╯─]", " ", finished.err).split())
    assert words in message
    assert finished.code == code
    assert "Traceback" not in finished.err + finished.out
    assert finished.out == ""


def test_all_problems_of_a_spec_are_printed_each_on_its_line(cli: Cli, weird_path: Path) -> None:
    spec = weird_path / "bad.yaml"
    spec.write_text("name: '[red]x[/red]'\nseeds: []\nbaseline: {}\nstep: 1\n")
    finished = cli("plan", spec)
    lines = finished.err.splitlines()
    assert len(lines) >= 4
    assert all(f"{spec}:" in line for line in lines)
    assert re.search(r"bad\.yaml:4:1: unknown key 'step'; did you mean 'steps'\?", finished.err)


def test_a_name_of_the_store_wins_over_a_folder_of_that_name(
    cli: Cli, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(zoo)
    (zoo / "zoo").mkdir()
    assert cli("status", "zoo", "--store", zoo / "runs").code == 0


def test_a_second_driver_is_refused_with_exit_code_three(
    cli: Cli, make_sweep: Callable[..., Any]
) -> None:
    sweep = make_sweep()
    arguments = (sweep.spec.path, "--store", sweep.store.root)
    with Lease(sweep.path):
        for command in (
            ["run", *arguments, "--executor", "local", "--no-tracking"],
            ["sync", *arguments],
        ):
            finished = cli(*command)
            assert finished.code == 3
            assert "sweep 'tiny' is being run by process" in finished.err
        assert cli("status", *arguments, "--json").json["driver"]["pid"]
        assert cli("plan", *arguments).code == 0


def test_one_damaged_trial_stops_no_command_and_is_named_once(cli: Cli, zoo: Path) -> None:
    [folder] = (zoo / "runs" / "zoo" / "trials").glob("baseline-seed0-*")
    (folder / "result.json").write_text('{"outcome"')
    for verb in ("plan", "status", "report"):
        finished = cli(verb, zoo / "zoo.yaml", "--store", zoo / "runs")
        assert finished.code == 0
        assert finished.err.count("damaged: result.json") == 1
        assert str(folder / "result.json") in finished.err
        assert "these trials count as not done, and `run` trains them again" in finished.err


@pytest.mark.slow
def test_run_trains_only_what_is_asked_for(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(seeds=[0, 1], steps=STEPS)
    local = ("--store", store_path, "--executor", "local", "--no-tracking")
    assert cli("run", spec, *local, "--only", "rms", "--only", "baseline", "--seeds", "1").code == 0
    names = {
        path.parent.name.rpartition("-")[0] for path in store_path.glob("tiny/trials/*/result.json")
    }
    assert names == {"baseline-seed1", "rms-seed1"}


def test_run_in_a_file_prints_plain_lines_and_the_roadmap(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    finished = cli(
        "run", write_spec(), "--store", store_path, "--executor", "local", "--no-tracking"
    )
    assert finished.code == 0
    assert "\x1b" not in finished.out + finished.err
    assert "tiny: 1 trial: 1 new" in finished.out
    assert "[1/1] baseline-seed0 finished" in finished.out
    assert "Roadmap of tiny" in finished.out


@pytest.mark.slow
def test_sync_fills_mlflow_and_status_knows_the_runs(
    cli: Cli, zoo: Path, new_mlflow: Callable[..., str]
) -> None:
    new_mlflow()
    finished = cli("sync", "zoo", "--store", zoo / "runs")
    assert finished.code == 0
    assert "MLflow is up to date for zoo" in finished.err
    status = cli("status", "zoo", "--store", zoo / "runs", "--json").json
    assert all(re.fullmatch(r"[0-9a-f]{32}", trial["mlflow_run_id"]) for trial in status["trials"])


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(zoo: Path) -> None:
    command = f"{sys.executable} -m orchestrator report zoo --store runs --format html | head -c 1"
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=zoo, capture_output=True, text=True
    )
    assert "Traceback" not in finished.stderr
    assert "Broken" not in finished.stderr


@pytest.mark.slow
def test_help_for_a_reader_that_goes_away_is_no_error() -> None:
    """Nobody reads from the start, so that the first line already finds nobody."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "orchestrator", "--help"]
    finished = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (finished.returncode, finished.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "md", "html"])
def test_a_terminal_that_cannot_show_every_letter_is_no_error(zoo: Path, form: str) -> None:
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "report",
        "zoo",
        "--store",
        "runs",
        "--format",
        form,
    ]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    finished = subprocess.run(command, cwd=zoo, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "rmsnorm" in finished.stdout


def test_a_file_in_the_current_folder_hides_no_package(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise SystemExit('hidden')")
    command = [sys.executable, "-m", "orchestrator", "--version"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.stdout.startswith("orchestrator "), finished.stderr


def test_a_run_that_was_stopped_at_once_says_how_to_go_on(
    cli: Cli, write_spec: WriteSpec, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.api.run_sweep", stopped)
    done = cli("run", write_spec(), "--store", store_path, "--executor", "local")
    assert done.code == 130
    assert "will continue from their last checkpoints.\nContinue with:\n  orchestrator " in done.err


def test_an_interrupt_before_there_is_a_command_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class SlowToImport(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    from orchestrator.__main__ import main

    monkeypatch.setitem(sys.modules, "orchestrator.cli.app", SlowToImport("orchestrator.cli.app"))
    monkeypatch.setattr(atexit, "register", lambda leave: None)  # it would end the tests' process
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("pass", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('no')", 1),
        ("raise KeyboardInterrupt", 130),
        ("1 / 0", 1),
    ],
)
def test_a_process_leaves_with_its_code_when_exit_functions_and_threads_are_through(
    body: str, code: int
) -> None:
    script = f"""
import sys, types
from orchestrator.__main__ import main

def command_line():
    import atexit, threading, time
    atexit.register(print, "saved", end="")
    threading.Thread(target=lambda: (time.sleep(0.2), print("written,", end=" "))).start()
    {body}

sys.modules["orchestrator.cli.app"] = types.SimpleNamespace(main=command_line)
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (code, "written, saved")
    assert ("Traceback" in ended.stderr) == (body == "1 / 0")
