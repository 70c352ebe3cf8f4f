"""A search by several metrics: its Pareto set, and which of it goes on along the road."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from invented import record, spec_of
from test_search import Runs, problems, values_of

from orchestrator.errors import UsageError
from orchestrator.report.formats import render
from orchestrator.spec.goals import on_the_front
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import TrialRecord, TrialSpec

SEARCHED = """
steps:
  - name: smaller
    search:
      space: {model.depth: {low: 1, high: 4}, train.lr: {low: 5e-4, high: 5e-2, log: true}}
      trials: 9
      at_once: 3
      seeds: [1000]
      metric: [val/acc1, params]
"""


class Sized(Runs):
    """A store in which deeper networks are better by little."""

    def run(self, trials: Any) -> None:
        for trial in trials:
            self.ended.setdefault(trial.fingerprint, end_of(trial))


def end_of(trial: TrialSpec) -> TrialRecord:
    depth, lr = trial.config.model.depth, trial.config.train.lr
    return record(80.0 + depth - abs(lr - 0.01) * 100, f"/runs/{trial.directory_name}")


def searched(tmp_path: Path, *changes: tuple[str, str]) -> SweepSpec:
    body = SEARCHED
    for old, new in changes:
        assert old in body
        body = body.replace(old, new)
    return spec_of(tmp_path, body)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_the_pareto_set_is_optunas_and_the_best_by_the_first_metric_goes_on(
    tmp_path: Path, sampler: str
) -> None:
    spec = searched(tmp_path, ("trials: 9", f"trials: 9\n      sampler: {sampler}"))
    known = Sized().run_all(spec)
    [search] = known.searches
    study = optuna.create_study(directions=["maximize", "minimize"])
    for point in search.tried:
        study.add_trial(
            optuna.trial.create_trial(values=[point.means["val/acc1"], point.means["params"]])
        )
    best = {trial.number for trial in study.best_trials}
    assert {search.tried.index(point) for point in search.front} == best
    assert len(best) > 1
    assert search.chosen is max(search.tried, key=lambda point: point.mean or 0.0)
    assert known.road[1].config.model.depth == search.chosen.values["model.depth"]
    assert values_of(Sized().run_all(spec, lambda trials: trials[::-1], at_once=1)) == values_of(
        known
    )


@pytest.mark.slow
def test_a_gaussian_process_takes_several_metrics_and_conditions(tmp_path: Path) -> None:
    momentum = (
        "train.optimizer: [adamw, sgd], "
        "train.momentum: {low: 0.5, high: 0.9, when: {train.optimizer: sgd}}}"
    )
    changes = (("log: true}}", f"log: true}}, {momentum}"), ("trials: 9", "trials: 5"))
    spec = searched(tmp_path, *changes, ("at_once: 3", "at_once: 1\n      sampler: gp"))
    [search] = Sized().run_all(spec).searches
    assert len(search.tried) == 5
    assert search.front


def test_within_lets_a_smaller_one_go_on(tmp_path: Path) -> None:
    spec = searched(tmp_path, ("[val/acc1, params]", "[val/acc1, params]\n      within: 2.5"))
    [search] = Sized().run_all(spec).searches
    best = max(point.mean or 0.0 for point in search.tried)
    near = [point for point in search.tried if (point.mean or 0.0) >= best - 2.5]
    smallest = min(point.means["params"] for point in near)
    assert search.chosen
    assert search.chosen.means["params"] == smallest
    assert search.chosen.mean == max(
        point.mean or 0.0 for point in near if point.means["params"] == smallest
    )
    assert search.chosen.mean < best, "or within would not be seen to do anything"
    text = " ".join(render(Sized.report(_done(spec), spec), "table").decode().split())
    assert "the best of those within 2.5 of the best val/acc1, on the seeds that chose it" in text


def _done(spec: SweepSpec) -> Sized:
    runs = Sized()
    runs.run_all(spec)
    return runs


def test_every_report_has_the_pareto_set(tmp_path: Path) -> None:
    spec = searched(tmp_path)
    roadmap = _done(spec).report(spec)
    text = " ".join(render(roadmap, "table").decode().split())
    front = roadmap.searches[0].front
    assert f"Pareto set for val/acc1, params ({len(front)} of 9): " in text
    found = json.loads(render(roadmap, "json"))["steps"][1]["search"]
    assert found["metrics"] == [
        {"name": "val/acc1", "mode": "max"},
        {"name": "params", "mode": "min"},
    ]
    assert [point["values"] for point in found["pareto"]] == [dict(p.values) for p in front]
    for point in found["pareto"]:
        assert found["trials"][point["trial"] - 1]["means"] == point["means"]
    page = render(roadmap, "html").decode()
    assert page.count("<td>yes</td>") >= len(front)
    drawing = page.partition("smaller: val/acc1 over params")[2].partition("</svg>")[0]
    assert drawing.count("<circle") == 9
    assert 'class="best"' in drawing


@pytest.mark.parametrize("form", ["table", "json", "html", "md", "latex"])
def test_a_search_by_one_metric_has_no_pareto_set(tmp_path: Path, form: str) -> None:
    spec = searched(tmp_path, ("      metric: [val/acc1, params]\n", ""))
    roadmap = _done(spec).report(spec)
    assert roadmap.searches[0].front == []
    assert b"pareto" not in render(roadmap, form).lower()


def test_another_metric_that_was_not_recorded_is_asked_for(tmp_path: Path) -> None:
    spec = searched(tmp_path, ("params]", "val/ece]"))
    with pytest.raises(UsageError, match="has no val/ece, which its search optimizes"):
        Sized().run_all(spec)


def test_what_diverged_is_worse_in_every_metric_and_never_on_the_front(tmp_path: Path) -> None:
    class Diverging(Sized):
        def run(self, trials: Any) -> None:
            for trial in trials:
                end = end_of(trial)
                if trial.is_of_search and trial.config.model.depth == 4:
                    end = replace(record("diverged"), path=end.path)
                self.ended.setdefault(trial.fingerprint, end)

    [search] = Diverging().run_all(searched(tmp_path)).searches
    deep = [point for point in search.tried if point.values["model.depth"] == 4]
    assert deep
    assert all(point.means == {} for point in deep)
    assert not any(point in search.front for point in deep)


def test_the_front_is_what_nothing_beats() -> None:
    gains = [[1.0, 5.0], [2.0, 4.0], [2.0, 4.0], [1.0, 4.0], [3.0, 0.0], [0.0, 0.0]]
    assert on_the_front(gains) == [0, 1, 2, 4]
    assert on_the_front([]) == []


MISTAKES = [
    ("[val/acc1, params]", "[params, val/acc1]", "16:16: found params, but later steps build on"),
    ("[val/acc1, params]", "[val/acc1, parms]", "it is unknown which direction of parms is better"),
    (
        "[val/acc1, params]",
        "[val/acc1, {name: val/acc, mode: max}]",
        "16:26: there is no metric 'val/acc'",
    ),
    ("[val/acc1, params]", "[val/acc1]", "it should have at least 2 items"),
    ("[val/acc1, params]", "[val/acc1, val/acc1]", "each metric may be listed once"),
    ("[val/acc1, params]", "[val/acc1, test/loss]", "is for the report only"),
    ("[val/acc1, params]", "[val/acc1, {name: params, mode: max}]", "would call a worse params"),
    (
        "metric: [val/acc1, params]",
        "within: 1",
        "'within' limits how much worse the first of several",
    ),
    ("seeds: [1000]", "prune: {after: 2}", "'prune' would stop by one metric"),
    ("seeds: [1000]", "sampler: cmaes", "leave out 'metric' and 'when'"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, right: str, wrong: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.spec.samplers.find_spec", lambda name: name)
    assert right in SEARCHED
    found = problems(tmp_path, SEARCHED.replace(right, wrong))
    assert any(message in problem for problem in found), found
