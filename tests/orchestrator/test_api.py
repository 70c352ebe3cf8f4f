"""Sweeps from Python: values and exceptions, and no console."""

import doctest
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from invented import NORM, spec_of, write_results

import orchestrator
from orchestrator.errors import Interrupted, UsageError
from orchestrator.outcomes import Outcome
from orchestrator.running.queue import TrialQueue
from orchestrator.store.looks import looks_at
from orchestrator.trial import TrialSpec

PAGE = Path(__file__).parents[2] / "docs" / "python.md"

TRAINING = """
def train(*, width: int = 1, seed, log_metrics):
    if width == 3:
        raise ValueError("three is too wide")
    return {"val/loss": 1 / width + 0.01 * seed}
"""
SPEC = """
name: small
metric: {name: val/loss, mode: min, also: [train/loss]}
seeds: [0, 1]
baseline: {train: {name: "widths:train"}}
steps:
  - {name: two, change: {train.width: 2}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A sweep of four trials that take no time."""
    (tmp_path / "widths.py").write_text(TRAINING)
    (tmp_path / "small.yaml").write_text(SPEC)
    return tmp_path / "small.yaml"


class Heard(orchestrator.Silent):
    """All that a run told its view, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        self.said.append(what)
        yield

    def planned(self, plan: Any) -> None:
        self.said.append(f"{len(plan.trials)} trials")

    @contextmanager
    def training(
        self, plan: Any, store: Any, session: str, *, retry_failed: bool
    ) -> Iterator[None]:
        self.said.append("trains")
        yield
        self.said.append("is over")

    def stopping(self, signal_name: str) -> None:
        self.said.append(signal_name)

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        self.said.append(f"{trial.name} {outcome}")


@pytest.mark.slow
def test_the_page_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    for name, body in re.findall(r"```\w+\n# (small\.\w+)\n(.*?)```", text, re.DOTALL):
        Path(name).write_text(body)
    examples = doctest.DocTestParser().get_doctest(text, {}, "python.md", str(PAGE), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    assert runner.run(examples, out=said.append).failed == 0, "".join(said)
    assert len(examples.examples) > 15


@pytest.mark.slow
def test_a_run_prints_nothing_and_tells_its_view(
    spec: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = Heard()
    sweep = orchestrator.load(spec, spec.parent / "runs")
    ending = sweep.run("local", tracking=False, view=heard)
    assert not ending.has_failures
    assert capfd.readouterr() == ("", "")
    trials = [f"{name}-seed{seed} finished" for name in ("baseline", "two") for seed in (0, 1)]
    alone = "checking that no other driver works on this sweep"
    start = ["planning", alone, "planning", "4 trials", "trains"]
    assert heard.said == [*start, *trials, "is over"]
    again = Heard()
    sweep.run("local", tracking=False, view=again)
    assert again.said == start[:-1], "nothing is left to train"


@pytest.mark.slow
def test_a_failed_trial_is_a_value_and_is_tried_again_when_asked(spec: Path) -> None:
    spec.write_text(SPEC.replace("width: 2", "width: 3"))
    sweep = orchestrator.load(spec, spec.parent / "runs")
    assert sweep.run("local", tracking=False).has_failures
    assert sweep.status().outcomes == {"finished": 2, "failed": 2}
    attempts = {trial["name"]: trial["attempts"] for trial in sweep.status().to_json()["trials"]}
    sweep.run("local", tracking=False)
    sweep.resume("local", tracking=False, seeds=[1])
    after = {trial["name"]: trial["attempts"] for trial in sweep.status().to_json()["trials"]}
    assert after == attempts | {"two-seed1": 2}


@pytest.mark.slow
def test_ctrl_c_raises_once_everything_is_saved(spec: Path) -> None:
    def interrupt(queue: TrialQueue) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert queue.is_finished

    heard = Heard()
    sweep = orchestrator.load(spec, spec.parent / "runs")
    with pytest.raises(Interrupted, match="the same call continues"):
        sweep.run(interrupt, tracking=False, view=heard)
    assert heard.said[-2:] == ["SIGINT", "is over"]
    assert not sweep.run("local", tracking=False).has_failures


@pytest.mark.slow
def test_a_run_in_another_thread_leaves_signals_alone(spec: Path) -> None:
    endings: list[Any] = []
    sweep = orchestrator.load(spec, spec.parent / "runs")
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: endings.append(sweep.run("local", tracking=False)))
    thread.start()
    thread.join()
    assert [ending.has_failures for ending in endings] == [False]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
def test_a_store_is_a_mapping_of_its_sweeps(spec: Path, tmp_path: Path) -> None:
    runs = orchestrator.read(tmp_path / "runs")
    assert list(runs) == []
    orchestrator.load(spec, tmp_path / "runs").run("local", tracking=False, only=["two"])
    assert list(runs) == ["small"]
    assert [len(runs), runs["small"].name, "nothing" in runs] == [1, "small", False]
    assert runs["small"].status().outcomes == Counter(finished=2, pending=2)
    by_name = orchestrator.load("small", tmp_path / "runs")
    assert by_name.status().outcomes == runs["small"].status().outcomes


def test_frames_have_a_line_for_each_step_or_trial(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    spec = spec_of(tmp_path, "design: [roadmap, one_factor]\n" + NORM, 3)
    sweep = orchestrator.Sweep(spec, write_results(spec, tmp_path / "runs"))
    report = sweep.report()
    steps, trials = report.to_frame(), report.to_frame(by="trial")
    assert list(steps["step"]) == list(dict.fromkeys(trials["step"]))
    first = report.to_json()["steps"][1]
    line = steps[steps["step"] == "norm"].iloc[0]
    assert line["mean"] == first["mean"]
    assert line["delta_previous_p_value"] == first["delta_previous"]["p_value"]
    assert [line["ci95_low"], line["ci95_high"]] == list(first["ci95"])
    values = trials[trials["step"] == "norm"].set_index("seed")["val/acc1"].to_dict()
    assert {str(seed): value for seed, value in values.items()} == first["values"]
    with pytest.raises(UsageError, match="no frame by 'epoch'"):
        report.to_frame(by="epoch")  # type: ignore[arg-type]


def test_a_frame_without_pandas_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tmp_path, NORM, 3)
    sweep = orchestrator.Sweep(spec, write_results(spec, tmp_path / "runs"))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"needs pandas .* `pip install pandas`, or use to_json"):
        sweep.report().to_frame()


def test_a_report_from_python_is_a_look_and_shows_itself(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, NORM, 3)
    sweep = orchestrator.Sweep(spec, write_results(spec, tmp_path / "runs"))
    report = sweep.report()
    assert [one.command for one in looks_at(sweep.store.sweep_path("invented"))] == ["python"]
    assert "Roadmap of invented" in str(report)
    assert report._repr_markdown_().encode() == report.render("md")


def test_what_a_notebook_shows_of_a_sweep_fits_a_line(spec: Path) -> None:
    sweep = orchestrator.load(spec, spec.parent / "runs", overrides=["train.width=3"])
    assert repr(sweep) == f"<sweep small of {spec}, store {spec.parent / 'runs'}>"
    assert repr(sweep.plan()) == "<plan of small: 4 new>"
    ending = sweep.run("local", tracking=False)
    assert repr(ending) == "<ending of small, with failures: nothing stopped it>"
    assert repr(sweep.status()) == "<status of small: 2 failed, 2 finished>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"executor": "slurm"}, "there is no executor 'slurm'; allowed: local, ray"),
        ({"executor": "local", "address": "auto"}, "names a Ray cluster"),
    ],
)
def test_an_executor_that_is_not_there_is_refused(
    spec: Path, chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        orchestrator.load(spec, spec.parent / "runs").run(**chosen)
    assert not (spec.parent / "runs").exists()


def test_the_package_offers_what_it_lists_and_imports_it_late() -> None:
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    assert all(getattr(orchestrator, name) for name in orchestrator.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        getattr(orchestrator, "lo" + "d")
    code = "import sys, orchestrator; print(*[m for m in sys.modules if m.startswith('orchestr')])"
    done: Sequence[str] = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert done == ["orchestrator"]


@pytest.mark.slow
def test_two_sweeps_with_modules_of_one_name_keep_to_their_own(tmp_path: Path) -> None:
    sweeps = {}
    for name, default in (("one", 1), ("other", 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mine.py").write_text(
            f"def train(*, k: int = {default}, seed):\n    return {{'m': 1.0 * k}}\n"
        )
        (folder / "s.yaml").write_text(
            f"name: {name}\nmetric: {{name: m, mode: max}}\nseeds: [0]\n"
            "baseline: {train: {name: 'mine:train'}}\nsteps: [{name: more, change: {train.k: 5}}]\n"
        )
        sweeps[name] = orchestrator.load(folder / "s.yaml", store=tmp_path / "runs")
    for sweep in sweeps.values():
        sweep.run(executor="local", tracking=False)
    means = {name: sweep.report().to_json()["steps"][0]["mean"] for name, sweep in sweeps.items()}
    assert means == {"one": 1.0, "other": 2.0}


def test_a_sweep_that_was_last_run_with_other_settings_says_so(spec: Path, cli: Any) -> None:
    store, settings = spec.parent / "runs", ["train.width=4"]
    sweep = orchestrator.load(spec, store)
    assert sweep.is_as_submitted, "it was never run"
    orchestrator.load(spec, store, settings).run("local", tracking=False)
    assert not sweep.is_as_submitted
    assert orchestrator.load(spec, store, settings).is_as_submitted
    assert orchestrator.read(store)["small"].is_as_submitted
    for command in ("status", "report"):
        shown = cli(command, spec, "--store", store)
        assert "note: 'small' was last run with other settings than these" in shown.err
        assert f"orchestrator {command} small --store" in shown.err
        assert not cli(command, "small", "--store", store).err
    sweep.run("local", tracking=False)
    spec.write_text(f"{SPEC}\n# a remark\n")
    assert orchestrator.load(spec, store).is_as_submitted
