"""Settings of a search that are looked for only beside certain choices of another one."""

from pathlib import Path
from typing import Any

import pytest
from invented import spec_of
from test_search import Runs, names, problems, values_of

from orchestrator.report.formats import render
from orchestrator.spec.search_space import point_key
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import TrialSpec

SPACE = """
      space:
        train.momentum: {low: 0.5, high: 0.99, when: {train.optimizer: sgd}}
        train.optimizer: [adamw, sgd]
        train.lr: {low: 5e-4, high: 5e-2, log: true}"""
SEARCHED = f"""
steps:
  - name: optimizer
    search:{SPACE}
      trials: 10
      at_once: 3
      seeds: [1000]
"""


def by_momentum(trial: TrialSpec) -> float:
    """Best with SGD at a momentum of 0.9."""
    train = trial.config.train
    if train.optimizer == "adamw":
        return 50.0 - train.lr
    return 90.0 - abs(train.momentum - 0.9) * 100


def searched(tmp_path: Path, old: str = "", new: str = "") -> SweepSpec:
    assert old in SEARCHED
    return spec_of(tmp_path, SEARCHED.replace(old, new))


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_setting_is_in_a_point_only_beside_the_choice_that_it_depends_on(
    tmp_path: Path, sampler: str
) -> None:
    spec = searched(tmp_path, "trials: 10", f"trials: 10\n      sampler: {sampler}")
    known = Runs(by_momentum).run_all(spec)
    points = values_of(known)
    assert len({point_key(point) for point in points}) == 10
    assert {point["train.optimizer"] for point in points} == {"adamw", "sgd"}
    assert all(
        ("train.momentum" in point) == (point["train.optimizer"] == "sgd") for point in points
    )
    for point in known.searches[0].tried:
        assert point.variant.config.train.momentum == point.values.get("train.momentum", 0.9)
    backwards = Runs(by_momentum).run_all(spec, lambda trials: trials[::-1], at_once=1)
    assert values_of(backwards) == points, "only results count, not their order"


def test_it_goes_on_where_it_stopped_with_what_was_suggested(tmp_path: Path) -> None:
    spec, runs, folder = searched(tmp_path), Runs(by_momentum), tmp_path / "searches"
    whole = values_of(Runs(by_momentum).run_all(spec))
    while todo := runs.to_do(spec):
        runs.run(todo)
        kept = values_of(runs.known(spec, folder, keeps=True))
        assert values_of(runs.known(spec, folder)) == kept == whole[: len(kept)]
        if not any(trial.is_of_search for trial in todo):
            break
    assert [*folder.glob("optimizer-*.json")]


def test_a_grid_has_each_combination_once_and_its_size_is_known(tmp_path: Path) -> None:
    body = """
steps:
  - name: optimizer
    search:
      space:
        train.nesterov: {choices: [true, false], when: {train.optimizer: sgd}}
        train.momentum: {low: 0.5, high: 0.9, step: 0.2, when: {train.optimizer: [sgd]}}
        train.optimizer: [adamw, sgd]
        train.lr: [1e-3, 2e-3]
      sampler: grid
      seeds: [1000]
"""
    known = Runs(by_momentum).run_all(spec_of(tmp_path, body))
    [search] = known.searches
    assert search.size == search.goal == 2 + 2 * 2 * 3
    assert len({point_key(point) for point in values_of(known)}) == 14


def test_conditions_may_follow_from_others(tmp_path: Path) -> None:
    body = """
steps:
  - name: optimizer
    search:
      space:
        train.lr: {choices: [1e-3, 2e-3], when: {train.nesterov: true}}
        train.nesterov: {choices: [true, false], when: {train.optimizer: sgd}}
        train.optimizer: [adamw, sgd]
      sampler: grid
      seeds: [1000]
"""
    points = values_of(Runs(by_momentum).run_all(spec_of(tmp_path, body)))
    assert points == [
        {"train.optimizer": "adamw"},
        {"train.optimizer": "sgd", "train.nesterov": True, "train.lr": 1e-3},
        {"train.optimizer": "sgd", "train.nesterov": True, "train.lr": 2e-3},
        {"train.optimizer": "sgd", "train.nesterov": False},
    ]


def test_what_the_step_before_found_goes_back_to_its_default_beside_another_choice(
    tmp_path: Path,
) -> None:
    body = f"search: &same{SPACE}\n      trials: 6\n      at_once: 3\n      seeds: [1000]\n"
    body += "steps:\n  - name: rmsnorm\n    change: {model.norm: rmsnorm}\n    search: *same\n"
    body += "design: [roadmap, one_factor]\n"

    def better_with_adamw_later(trial: TrialSpec) -> float:
        sign = -1 if trial.config.model.norm == "rmsnorm" else 1
        return 50.0 + sign * by_momentum(trial) / 2

    runs = Runs(better_with_adamw_later)
    known = runs.run_all(spec_of(tmp_path, body))
    baseline, step = known.road[:2]
    assert baseline.config.train.optimizer == "sgd"
    assert baseline.config.train.momentum != 0.9
    assert (step.config.train.optimizer, step.config.train.momentum) == ("adamw", 0.9)
    assert step.changes["train.momentum"] == 0.9, "a change against the step before"
    assert not runs.to_do(known)


def test_plan_report_and_drawings_tell_where_it_is_looked_for(tmp_path: Path) -> None:
    spec, runs = searched(tmp_path), Runs(by_momentum)
    [search] = runs.plan(spec).searches
    assert search.to_json()["space"]["train.momentum"]["when"] == {"train.optimizer": "sgd"}
    text = " ".join(render(runs.report(spec), "table").decode().split())
    assert "train.momentum is searched where train.optimizer is sgd" in text
    runs.run_all(spec)
    page = render(runs.report(spec), "html").decode()
    assert "train.momentum where train.optimizer is sgd" in page
    drawing = page.partition("over train.momentum")[2].partition("</svg>")[0]
    asked = sum("train.momentum" in point for point in values_of(runs.known(spec)))
    assert drawing.count("<circle") == asked < 10


def test_a_search_without_conditions_keeps_what_was_suggested_for_it(tmp_path: Path) -> None:
    """The names of the files in which suggestions lie do not move."""
    body = SEARCHED.replace(", when: {train.optimizer: sgd}", "").replace(
        "train.momentum: {low: 0.5, high: 0.99}", "train.weight_decay: [0.0, 0.1]"
    )
    Runs().known(spec_of(tmp_path, body), tmp_path, keeps=True)
    assert [path.name for path in tmp_path.glob("optimizer-*.json")] == ["optimizer-7b1d9059.json"]


MISTAKES: list[tuple[str, str, str]] = [
    (
        "train.optimizer: sgd",
        "train.optimiser: sgd",
        "13:55: this search has no setting 'train.optimiser', so nothing can depend on it; "
        "it searches train.optimizer, train.lr; did you mean 'train.optimizer'?",
    ),
    (
        "{train.optimizer: sgd}",
        "{train.optimizer: sdg}",
        "13:72: found sdg, which is not a choice of train.optimizer: adamw, sgd; did you mean "
        "'sgd'?",
    ),
    ("{train.optimizer: sgd}", "{train.lr: 1e-3}", "train.lr has no list of choices"),
    ("{train.optimizer: sgd}", "{train.momentum: 1}", "train.momentum cannot depend on itself"),
    ("{train.optimizer: sgd}", "{train.optimizer: []}", "found an empty list"),
    ("{train.optimizer: sgd}", "{}", "it should have at least one item"),
    ("{train.optimizer: sgd}", "sgd", "it should be a mapping"),
    (", when: {train.optimizer: sgd}", "", "momentum is for SGD, but optimizer is adamw"),
    ("high: 0.99", "high: 1.5", "13:25: train.momentum: it should be less than 1"),
    ("trials: 10", "trials: 10\n      sampler: cmaes", "leave out 'metric' and 'when'"),
    (
        "train.optimizer: [adamw, sgd]",
        "train.optimizer: {choices: [adamw, sgd], when: {model.norm: rmsnorm}}\n"
        "        model.norm: {choices: [rmsnorm, layernorm], when: {train.optimizer: sgd}}",
        "depends on a setting that depends on",
    ),
    (
        "when: {train.optimizer: sgd}}",
        "when: {train.optimizer: sgd, train.nesterov: true}}\n"
        "        train.nesterov: {choices: [true, false], when: {train.optimizer: adamw}}",
        "no combination has train.momentum: its conditions require different values of "
        "train.optimizer",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "message"), MISTAKES)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, right: str, wrong: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.spec.samplers.find_spec", lambda name: name)
    assert right in SEARCHED
    found = problems(tmp_path, SEARCHED.replace(right, wrong))
    assert any(message in problem for problem in found), found


def test_the_names_of_trials_stay_those_of_any_search(tmp_path: Path) -> None:
    todo: Any = Runs(by_momentum).to_do(searched(tmp_path))
    assert names(todo)[-3:] == [f"optimizer@{number}-seed1000" for number in (1, 2, 3)]
