"""The page from a script to a table: its script, its sweeps and its table, as they stand there."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import orchestrator
from orchestrator.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "your_own_training.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SEEDS = "seeds: [0, 1, 2, 3, 4, 5]"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page, with fewer seeds than it has."""
    for name, text in BLOCK.findall(PAGE.read_text("utf-8")):
        (tmp_path / name).write_text(text.replace(SEEDS, "seeds: [0, 1]"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_its_sweeps_are_what_the_page_says(folder: Path) -> None:
    sweep = orchestrator.load("digits.yaml", store="runs")
    assert {trial.trial.variant for trial in sweep.plan().trials} == {
        *("baseline", "momentum", "standardise", "low_rate")
    }
    assert orchestrator.load("by_command.yaml", store="runs").plan().trials


@pytest.mark.slow
def test_the_script_becomes_a_latex_table(folder: Path) -> None:
    ending = orchestrator.load("digits.yaml", store="runs").run("local", tracking=False)
    assert not ending.has_failures
    command = ["report", "digits.yaml", "--format", "latex", "--output", "digits.tex"]
    done = CliRunner().invoke(app, [*command, "--store", "runs"])
    assert done.exit_code == 0, done.output
    text = (folder / "digits.tex").read_text()
    assert r"\begin{tabular}" in text
    assert "momentum" in text
    assert "low" in text
    part = re.search(
        r"^`(--columns \S+ --rows \S+)` selects part", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert part
    done = CliRunner().invoke(app, [*command[:4], "--store", "runs", *part[1].split()])
    assert done.exit_code == 0, done.output
    assert "momentum" in done.output
    assert "low\\_rate" not in done.output.partition("bottomrule")[0]


@pytest.mark.slow
def test_the_same_script_by_its_command(folder: Path) -> None:
    sweep = orchestrator.load("by_command.yaml", store="runs")
    assert not sweep.run("local", tracking=False).has_failures
