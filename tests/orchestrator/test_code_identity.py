"""Results outlive harmless edits of the user's code, and those of earlier versions are found again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from illama.config.imports import import_from
from orchestrator.driver import plan_sweep
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store
from orchestrator.trial import Outcome, TrialSpec

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


def finish(store: Store, trial: TrialSpec) -> None:
    """Write the files of a trial that ended well."""
    directory = store.directory(trial)
    directory.write_trial(trial, {})
    about = {"fingerprint": trial.fingerprint, "metrics": {"m": 1.0}}
    directory.write_result(Outcome.FINISHED, about)


def actions(folder: Path) -> list[str]:
    return [planned.action for planned in plan_sweep(loaded(folder), Store(folder / "runs")).trials]


def trials(folder: Path) -> list[TrialSpec]:
    return [planned.trial for planned in plan_sweep(loaded(folder), Store(folder / "runs")).trials]


def test_a_comment_makes_no_trial_new(folder: Path) -> None:
    for trial in trials(folder):
        finish(Store(folder / "runs"), trial)
    (folder / "own.py").write_text(f'"""Words."""\n{CODE}# words\n')
    assert actions(folder) == ["done"] * 4


def test_what_an_earlier_version_trained_is_found_by_the_bytes_of_its_code(folder: Path) -> None:
    store = Store(folder / "runs")
    for trial in trials(folder)[:2]:
        assert trial.earlier is not None
        finish(store, trial.earlier)
    assert actions(folder) == ["done", "done", "new", "new"]
    assert store.record(trials(folder)[0]).metrics == {"m": 1.0}
    (folder / "own.py").write_text(CODE + "# words\n")
    assert actions(folder) == ["new"] * 4


def test_what_an_earlier_version_began_goes_on_in_its_folder(folder: Path) -> None:
    [first, *_] = trials(folder)
    assert first.earlier is not None
    directory = Store(folder / "runs").directory(first.earlier)
    directory.write_trial(first.earlier, {})
    directory.start_attempt("gone", {})
    assert actions(folder) == ["continue", "new", "new", "new"]
    assert Store(folder / "runs").directory(trials(folder)[0]).path == directory.path
