"""A search as Optuna's study: what it found important, and a storage that Optuna opens."""

import math
import random
from pathlib import Path

import optuna
import pytest
import test_search_conditions
import test_search_pareto
from invented import digest, snapshot_of, spec_of
from test_search import LR, Runs

from orchestrator.errors import UsageError
from orchestrator.exports import EXPORTERS
from orchestrator.exports.optuna import studies_of
from orchestrator.planning.plan import trials_of
from orchestrator.planning.studies import FEWEST, importances
from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import TrialSpec

SPACE = f"{LR}, model.norm: [layernorm, rmsnorm]"


def end_of(trial: TrialSpec) -> float:
    """The learning rate does all, the norm nothing; beside them little chance."""
    noise = random.Random(trial.fingerprint).gauss(0, 0.2)
    return 90 - 8 * math.log10(trial.config.train.lr / 5e-3) ** 2 + noise


def searched(
    tmp_path: Path, trials: int, metric: str = "val/acc1, mode: max"
) -> tuple[Runs, SweepSpec, Search]:
    body = f"search: {{space: {{{SPACE}}}, trials: {trials}, seeds: [1000], sampler: random}}\n"
    body += f"metric: {{name: {metric}}}\nsteps: []\n"
    runs = Runs(end_of)
    spec = runs.run_all(spec_of(tmp_path, body))
    return runs, spec, spec.searches[0]


def test_importance_tells_the_setting_that_matters_from_the_one_that_does_not(
    tmp_path: Path,
) -> None:
    *_, search = searched(tmp_path, 24)
    found = importances(search)
    assert list(found) == ["train.lr", "model.norm"]
    assert found["train.lr"] > 0.8
    assert sum(found.values()) == pytest.approx(1)


def test_too_few_combinations_have_no_importance(tmp_path: Path) -> None:
    *_, search = searched(tmp_path, FEWEST - 1)
    assert importances(search) == {}


def test_optuna_reads_the_storage_as_the_search_went(tmp_path: Path) -> None:
    runs, spec, search = searched(tmp_path, 5, "train/loss, mode: min")
    snapshot = snapshot_of(spec, trials_of(spec, digest), runs)
    exporter = EXPORTERS.get("optuna")
    for _ in range(2):  # the second time in the place of the first
        assert exporter.write(exporter.takes(snapshot), tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["optuna.db"]
    storage = f"sqlite:///{tmp_path / 'out' / 'optuna.db'}"
    study = optuna.load_study(study_name="invented: baseline", storage=storage)
    assert [trial.value for trial in study.trials] == [point.mean for point in search.tried]
    assert [trial.params for trial in study.trials] == [dict(one.values) for one in search.tried]
    assert search.chosen is not None
    assert study.best_params == search.chosen.values  # the smallest: the direction is the metric's
    assert study.trials[study.user_attrs["chosen trial"]].params == study.best_params


def test_a_sweep_without_a_search_has_no_study(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "steps: []")
    with pytest.raises(UsageError, match="invented has no searches"):
        list(studies_of(snapshot_of(spec, trials_of(spec, digest), Runs())))


def test_several_metrics_and_settings_that_depend_on_others_are_optunas_too(tmp_path: Path) -> None:
    body = test_search_conditions.SEARCHED.replace(
        "seeds: [1000]", "seeds: [1000]\n      metric: [val/acc1, params]"
    )
    runs = Runs(test_search_conditions.by_momentum)
    spec = test_search_pareto.Sized().run_all(spec_of(tmp_path, body))
    [search] = spec.searches
    snapshot = snapshot_of(spec, trials_of(spec, digest), runs)
    exporter = EXPORTERS.get("optuna")
    assert exporter.write(exporter.takes(snapshot), tmp_path) == 1
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.load_study(study_name="invented: optimizer", storage=storage)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert {trial.number for trial in study.best_trials} == {
        search.tried.index(point) for point in search.front
    }
    assert {len(trial.params) for trial in study.trials} == {2, 3}
