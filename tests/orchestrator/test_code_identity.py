"""Results outlive harmless edits of the user's code, and those of earlier versions are found
again.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from illama.config.imports import import_from
from orchestrator.driver import plan_sweep
from orchestrator.outcomes import Outcome
from orchestrator.planning.differences import code_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec

CODE = "def train(*, lr: float = 0.1, seed):\n    return {'m': lr + seed}\n"
SPEC = """\
name: own
metric: {name: m, mode: max}
seeds: [0, 1]
baseline:
  train: {name: "own:train"}
steps:
  - name: faster
    change: {train.lr: 0.2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "own.yaml").write_text(SPEC)
    yield tmp_path
    import_from(Path())  # forget it


def loaded(folder: Path) -> SweepSpec:
    return load_spec(folder / "own.yaml")


def finish(store: Store, trial: TrialSpec, code: Mapping[str, Any] | None = None) -> None:
    """Write the files of a trial that ended well."""
    directory = store.directory(trial)
    directory.write_trial(trial, {"code": code} if code else {})
    about = {"fingerprint": trial.fingerprint, "metrics": {"m": 1.0}}
    directory.write_result(Outcome.FINISHED, about)


def actions(folder: Path) -> list[str]:
    return [planned.action for planned in plan_sweep(loaded(folder), Store(folder / "runs")).trials]


def trials(folder: Path) -> list[TrialSpec]:
    return [planned.trial for planned in plan_sweep(loaded(folder), Store(folder / "runs")).trials]


@pytest.mark.slow
def test_a_comment_makes_no_trial_new(folder: Path) -> None:
    for trial in trials(folder):
        finish(Store(folder / "runs"), trial)
    (folder / "own.py").write_text(f'"""Words."""\n{CODE}# words\n')
    assert actions(folder) == ["done"] * 4


@pytest.mark.slow
def test_what_an_earlier_version_trained_is_found_by_the_bytes_of_its_code(folder: Path) -> None:
    store = Store(folder / "runs")
    for trial in trials(folder)[:2]:
        assert trial.earlier is not None
        finish(store, trial.earlier)
    assert actions(folder) == ["done", "done", "new", "new"]
    assert store.record(trials(folder)[0]).metrics == {"m": 1.0}
    (folder / "own.py").write_text(CODE + "# words\n")
    assert actions(folder) == ["new"] * 4


@pytest.mark.slow
def test_what_an_earlier_version_began_goes_on_in_its_folder(folder: Path) -> None:
    [first, *_] = trials(folder)
    assert first.earlier is not None
    directory = Store(folder / "runs").directory(first.earlier)
    directory.write_trial(first.earlier, {})
    directory.start_attempt("gone", {})
    assert actions(folder) == ["continue", "new", "new", "new"]
    assert Store(folder / "runs").directory(trials(folder)[0]).path == directory.path


def finish_all(folder: Path) -> None:
    store, spec = Store(folder / "runs"), loaded(folder)
    for trial in trials(folder):
        finish(store, trial, code_of(spec))


def reasons(folder: Path) -> list[str]:
    plan = plan_sweep(loaded(folder), Store(folder / "runs")).to_json()
    return [str(trial["reason"]) for trial in plan["trials"]]


def edit(folder: Path, before: str, after: str, file: str = "own.py") -> None:
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))


@pytest.mark.slow
def test_a_plan_names_the_setting_the_file_and_the_seed_that_make_a_trial_new(folder: Path) -> None:
    assert reasons(folder)[0] == "the store has no results of this sweep yet"
    finish_all(folder)
    assert reasons(folder) == ["None"] * 4
    edit(folder, "0.2", "0.3", "own.yaml")
    assert reasons(folder)[2] == "train.lr: 0.2 -> 0.3 (nearest result: faster-seed0)"
    edit(folder, "0.3", "0.2", "own.yaml")
    edit(folder, "[0, 1]", "[5]", "own.yaml")  # what there is has other seeds
    assert reasons(folder) == ["there is no result with seed 5 to compare it with"] * 2
    edit(folder, "[5]", "[0, 1, 2]", "own.yaml")
    assert reasons(folder)[2] == "seed 2 has no result yet"
    edit(folder, "lr + seed", "lr * 1 + seed")
    assert reasons(folder)[0] == "own.py changed (nearest result: baseline-seed0)"


@pytest.mark.slow
def test_a_plan_names_a_new_parameter_and_a_new_file(folder: Path) -> None:
    finish_all(folder)
    edit(folder, "0.1, seed", "0.1, drop: float = 0.0, seed")
    edit(folder, "def train", "from part import x\ndef train")
    (folder / "part.py").write_text("x = 1\n")
    told = "new parameter train.drop, left at its default 0.0; own.py changed, part.py added"
    assert reasons(folder)[0] == f"{told} (nearest result: baseline-seed0)"


@pytest.mark.slow
def test_results_are_adopted_across_an_edit_and_the_report_says_so(folder: Path, cli: Any) -> None:
    finish_all(folder)
    edit(folder, "0.1, seed", "0.1, drop: float = 0.0, seed")
    options = (folder / "own.yaml", "--store", folder / "runs")
    assert "`orchestrator adopt` would keep 4 results" in cli("plan", *options).out
    assert cli("adopt", *options, "--only", "baseline").code == 0
    assert actions(folder) == ["reuse", "reuse", "new", "new"]
    report = cli("report", *options, "--format", "json").json
    told = ["new parameter train.drop, left at its default 0.0", "own.py changed"]
    assert report["adopted"] == {"baseline-seed0": told, "baseline-seed1": told}
    assert report["steps"][0]["values"] == {"0": 1.0, "1": 1.0}
    for form in ("table", "md", "latex", "html"):
        page = cli("report", *options, "--format", form).out
        assert "Adopted from other code" in page, form
    [about] = (folder / "runs/own/trials").glob(f"{trials(folder)[0].directory_name}/trial.json")
    assert json.loads(about.read_text())["adopted"]["differences"] == told


@pytest.mark.slow
def test_gc_keeps_the_results_that_were_adopted(folder: Path, cli: Any) -> None:
    finish_all(folder)
    edit(folder, "0.1, seed", "0.1, drop: float = 0.0, seed")
    options = (folder / "own.yaml", "--store", folder / "runs")
    assert cli("adopt", *options, "--only", "baseline").code == 0
    spec = load_spec(folder / "own.yaml")
    Store(folder / "runs").submit(spec.name, spec.content, spec.code)
    dropped = cli("gc", "--store", folder / "runs", "--yes")
    assert dropped.code == 0
    assert len([*(folder / "runs/own/trials").iterdir()]) == 4  # two adopted, and where they are
    assert actions(folder) == ["reuse", "reuse", "new", "new"]


@pytest.mark.slow
def test_what_may_differ_in_its_numbers_is_not_adopted(folder: Path, cli: Any) -> None:
    edit(folder, "def train", "NUMERICS_VERSION = 1\ndef train")
    finish_all(folder)
    edit(folder, "VERSION = 1", "VERSION = 2")
    assert "NUMERICS_VERSION 1 -> 2 of own:train" in reasons(folder)[0]
    refused = cli("adopt", folder / "own.yaml", "--store", folder / "runs")
    assert (refused.code, "there is nothing to adopt" in refused.err) == (2, True)
    assert actions(folder) == ["new"] * 4


@pytest.mark.slow
def test_an_adoption_whose_result_is_gone_leaves_the_trial_new(folder: Path, cli: Any) -> None:
    finish_all(folder)
    edit(folder, "lr + seed", "lr * 1 + seed")
    assert cli("adopt", folder / "own.yaml", "--store", folder / "runs").code == 0
    for path in (folder / "runs/own/trials").glob("faster-*/result.json"):
        path.unlink()
    assert actions(folder) == ["reuse", "reuse", "new", "new"]
