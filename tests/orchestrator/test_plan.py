"""What there is to do, what it costs, what it will show, and what weakens it."""

import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from invented import HEAD, digest, records, snapshot_of, spec_of
from rich.console import Console

from orchestrator.errors import UsageError
from orchestrator.outcomes import State
from orchestrator.planning.plan import Action, Plan, make_plan, trials_of
from orchestrator.report.overview import plan_table
from orchestrator.spec.document import read_document
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import SpecWarning, aspect_of, warnings_of
from orchestrator.stats.power import detectable_difference
from orchestrator.trial import TrialRecord, TrialSpec

NORM = "steps: [{name: norm, change: {model.norm: rmsnorm}}]"


def plan_of(spec: SweepSpec, ends: dict) -> Plan:  # type: ignore[type-arg]
    return make_plan(snapshot_of(spec, trials_of(spec, digest), records(ends)))


def codes(spec: SweepSpec) -> list[str]:
    return [warning.code for warning in warnings_of(spec)]


def only(spec: SweepSpec, code: str) -> SpecWarning:
    [found] = [warning for warning in warnings_of(spec) if warning.code == code]
    return found


def read(tmp_path: Path, text: str) -> dict[str, Any]:
    """YAML as a spec is read: `on` is a word."""
    (tmp_path / "control.yaml").write_text(text)
    value: dict[str, Any] = read_document(tmp_path / "control.yaml").value
    return value


def pasted(tmp_path: Path, body: str, step: str, control: str, seeds: int = 9) -> SweepSpec:
    """The spec with the control of a warning beside a step, as a reader would paste it."""
    value = yaml.safe_load(body)
    for candidate in value["steps"]:
        if candidate["name"] == step:
            candidate.setdefault("side", {}).update(read(tmp_path, control)["side"])
    return spec_of(tmp_path, yaml.safe_dump(value, sort_keys=False), seeds)


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (State.PENDING, Action.NEW),
        (State.RUNNING, Action.CONTINUE),
        (State.INTERRUPTED, Action.CONTINUE),
        (State.FAILED, Action.RETRY),
    ],
)
def test_the_state_of_a_trial_decides_what_becomes_of_it(
    tmp_path: Path, state: State, action: Action
) -> None:
    spec = spec_of(tmp_path, NORM, 1)
    plan = make_plan(snapshot_of(spec, trials_of(spec, digest), lambda trial: TrialRecord(state)))
    assert {planned.action for planned in plan.trials} == {action}
    assert len(plan.to_train(retry_failed=False)) == (0 if state is State.FAILED else 2)
    assert len(plan.to_train(retry_failed=True)) == 2


def test_done_here_is_done_and_done_elsewhere_is_reused(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, NORM, 1)
    ends = {"baseline": [70.0], "norm": [71.0]}
    assert [p.action for p in plan_of(spec, ends).trials] == [Action.DONE, Action.DONE]
    elsewhere = make_plan(
        snapshot_of(
            spec,
            trials_of(spec, digest),
            records(ends, lambda trial: "another/trials/x-seed0-01234567"),
        )
    )  # type: ignore[arg-type]
    assert [p.action for p in elsewhere.trials] == [Action.REUSE, Action.REUSE]


def test_coinciding_cells_are_trained_once_and_the_plan_counts_what_that_saves(
    tmp_path: Path,
) -> None:
    plan = plan_of(spec_of(tmp_path, "design: [roadmap, one_factor, factorial]\n" + NORM, 2), {})
    assert plan.saved == 2 * 3  # only.norm, factorial.0 and factorial.1
    assert plan.estimate.trials == len(plan.to_train(retry_failed=False)) == 4
    assert plan.to_json()["estimate"]["saved"] == 6


def test_a_cell_that_shares_a_training_which_failed_waits_for_that_and_the_plan_says_so(
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, one_factor]\n" + NORM, 1)
    plan = plan_of(spec, {"baseline": [70.0], "norm": ["failed"]})
    found = {planned.trial.name: (planned.action, planned.reason) for planned in plan.trials}
    assert found["norm-seed0"] == (Action.RETRY, "")
    assert found["only.norm-seed0"] == (
        Action.REUSE,
        "the same training as norm-seed0, which failed",
    )
    assert [trial.name for trial in plan.to_train(retry_failed=True)] == ["norm-seed0"]
    assert plan.saved == 0, "it costs what the other one does"
    console = Console(file=io.StringIO(), width=200)
    console.print(plan_table(plan))
    assert "waiting, only.norm-seed0: the same training as a trial that" in console.file.getvalue()  # type: ignore[attr-defined]
    begun = plan_of(spec, {"baseline": [70.0]})
    assert not any(planned.reason for planned in begun.trials), "it comes with the other one"


def test_only_and_seeds_pick_trials_and_refuse_what_is_not_there(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, NORM, 3)
    assert [t.name for t in trials_of(spec, digest, only=["norm"], seeds=[2])] == ["norm-seed2"]
    with pytest.raises(UsageError, match="no step 'nrom'; did you mean 'norm'"):
        trials_of(spec, digest, only=["nrom"])
    with pytest.raises(UsageError, match="no seed 9"):
        trials_of(spec, digest, seeds=[9])


TRIAL_KEYS = {
    *("name", "variant", "regime", "seed", "fingerprint"),
    *("changes", "params", "flops", "action"),
}
"""Keys of a trial in `plan --json` that scripts rely on."""


def test_json_has_the_agreed_keys(tmp_path: Path) -> None:
    value = json.loads(json.dumps(plan_of(spec_of(tmp_path, NORM, 1), {}).to_json()))
    assert {"trials", "warnings", "estimate"} <= value.keys()
    assert value["trials"][0].keys() >= TRIAL_KEYS
    assert {"code", "message", "line"} <= value["warnings"][0].keys()


def test_seconds_come_from_finished_trials_in_proportion_to_their_cost(tmp_path: Path) -> None:
    body = "steps: [{name: longer, change: {train.epochs: 18}}]"
    estimate = plan_of(spec_of(tmp_path, body, 2), {"baseline": [70.0, 71.0]}).estimate
    assert estimate.train_seconds == pytest.approx(
        2 * 3 * 2.0
    )  # three times the epochs of trials that took two seconds
    assert plan_of(spec_of(tmp_path, body, 2), {}).estimate.train_seconds is None


def test_a_trial_that_is_half_done_costs_half(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "steps: []", 2)

    def half(trial: TrialSpec) -> TrialRecord:
        return (
            records({"baseline": [70.0]})(trial)
            if trial.seed == 0
            else TrialRecord(State.INTERRUPTED, epoch=3.0)
        )

    assert make_plan(
        snapshot_of(spec, trials_of(spec, digest), half)
    ).estimate.train_seconds == pytest.approx(1.0)


def test_gpu_hours_and_price_follow_from_what_the_spec_says_of_the_hardware(tmp_path: Path) -> None:
    body = (
        "resources: {gpus: 8}\ncost: {images_per_epoch: 1000, flops_per_second: 1e9, "
        "price_per_gpu_hour: 2}\nsteps: []"
    )
    plan = plan_of(spec_of(tmp_path, body, 1), {})
    flops = 3 * plan.to_json()["trials"][0]["flops"] * 1000 * 6
    assert plan.estimate.gpu_hours == pytest.approx(flops / 1e9 * 8 / 3600)
    assert plan.estimate.price == pytest.approx(2 * plan.estimate.gpu_hours)  # type: ignore[operator]


def test_the_detectable_difference_comes_from_finished_trials_once_there_are_some(
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, NORM, 4)
    before = plan_of(spec, {}).estimate
    assert (before.detectable_difference, before.detectable_in_stds) == (
        None,
        detectable_difference(1.0, 4, 1),
    )
    after = plan_of(
        spec, {"baseline": [70.0, 71.0, 72.0, 70.0], "norm": [71.0, 73.0, 72.5, 71.0]}
    ).estimate
    c4 = 0.921318  # of four values: a sample's spread is too small on average by this factor
    assert after.spread == pytest.approx(0.629153 / c4, abs=1e-5)
    assert after.detectable_difference == pytest.approx(detectable_difference(after.spread, 4, 1))  # type: ignore[arg-type]
    low, high = after.detectable_range  # type: ignore[misc]
    assert low < after.detectable_difference < high  # type: ignore[operator]


@pytest.mark.parametrize(("seeds", "warned"), [(1, True), (3, True), (5, True), (6, False)])
def test_seeds_that_cannot_reach_the_level_by_sign_flips_are_warned_of(
    tmp_path: Path, seeds: int, warned: bool
) -> None:
    assert ("few-seeds" in codes(spec_of(tmp_path, NORM, seeds))) == warned
    if seeds == 3:
        warning = only(spec_of(tmp_path, NORM, seeds), "few-seeds")
        assert "p = 0.25" in warning.message
        assert warning.line == 3


@pytest.mark.parametrize(
    ("key", "aspect"),
    [
        ("model.norm", "architecture"),
        ("train.soft_mask", "architecture"),
        ("train.lr", "recipe"),
        ("data.name", "data"),
    ],
)
def test_the_mask_schedule_counts_as_architecture(key: str, aspect: str) -> None:
    assert aspect_of(key) == aspect


BOTH = "steps: [{name: both, change: {model.norm: rmsnorm, train.lr: 1e-3}}]"
RETUNED = (
    "steps: [{name: norm, change: {model.norm: rmsnorm}}, {name: retuned, change: "
    "{train.lr: 1e-3}}]"
)
BIGGER = "steps: [{name: swiglu, change: {model.feed_forward: swiglu, model.multiple_of: 32}}]"


def test_architecture_and_recipe_at_once_are_found_and_the_control_resolves_it(
    tmp_path: Path,
) -> None:
    warning = only(spec_of(tmp_path, BOTH, 9), "confounded-step")
    assert warning.line == len(HEAD.splitlines()) + 1
    assert "architecture (model.norm) and recipe (train.lr)" in warning.message
    assert read(tmp_path, warning.control) == {
        "side": {"both_recipe_only": {"on": "baseline", "change": {"train.lr": 1e-3}}}
    }
    assert "confounded-step" not in codes(pasted(tmp_path, BOTH, "both", warning.control))


def test_a_recipe_retuned_on_one_side_only_is_found_and_the_control_resolves_it(
    tmp_path: Path,
) -> None:
    warning = only(spec_of(tmp_path, RETUNED, 9), "one-sided-recipe")
    assert "after the architecture has changed (norm)" in warning.message
    assert codes(pasted(tmp_path, RETUNED, "retuned", warning.control)) == []


def test_a_recipe_tuned_before_the_architecture_changes_is_on_both_sides(tmp_path: Path) -> None:
    body = (
        "steps: [{name: retuned, change: {train.lr: 1e-3}}, {name: norm, change: {model.norm: "
        "rmsnorm}}]"
    )
    assert codes(spec_of(tmp_path, body, 9)) == []


def test_a_drift_in_size_is_found_and_the_control_resolves_it(tmp_path: Path) -> None:
    warning = only(spec_of(tmp_path, BIGGER, 9), "size-drift")
    assert "parameters" in warning.message
    assert "size-drift" not in codes(spec_of(tmp_path, "tolerance: 0.5\n" + BIGGER, 9))
    assert warning.control
    assert codes(pasted(tmp_path, BIGGER, "swiglu", warning.control)) == []


def test_a_wider_network_gets_the_old_one_at_its_width_as_control(tmp_path: Path) -> None:
    body = "steps: [{name: wider, change: {model.embed_dim: 72, model.norm: rmsnorm}}]"
    warning = only(spec_of(tmp_path, body, 9), "size-drift")
    assert read(tmp_path, warning.control)["side"] == {
        "wider_size_only": {"on": "baseline", "change": {"model.embed_dim": 72}}
    }
    assert codes(pasted(tmp_path, body, "wider", warning.control)) == []
    size_alone = "steps: [{name: wider, change: {model.embed_dim: 72}}]"
    assert only(spec_of(tmp_path, size_alone, 9), "size-drift").control == ""


def test_side_steps_on_a_ground_of_their_own_are_told_by_how_much_they_are_larger(
    tmp_path: Path,
) -> None:
    side = {
        "same": {"on": "baseline", "change": {"model.norm": "rmsnorm"}},
        "narrow": {"on": "baseline", "change": {"model.embed_dim": 32}},
        "registers": {"on": "baseline", "change": {"model.registers": 4}},
        "deeper": {"on": "norm", "change": {"model.depth": 5}},
    }
    steps = [{"name": "norm", "change": {"model.norm": "rmsnorm"}, "side": side}]
    body = yaml.safe_dump({"steps": steps}, sort_keys=False)
    found = [w for w in warnings_of(spec_of(tmp_path, body, 9)) if w.code == "size-drift"]
    assert [re.sub(r"[+-][\d.]+%", "x", w.message) for w in found] == [
        "side steps of baseline have a different size (narrow x parameters and x FLOPs; "
        "registers x FLOPs): size alone may explain their effects",
        "side steps of norm have a different size (deeper x parameters and x FLOPs): "
        "size alone may explain their effects",
    ]
    assert "deeper +24.7% parameters and +25.0% FLOPs" in found[1].message
    assert "size-drift" not in codes(spec_of(tmp_path, "tolerance: 0.9\n" + body, 9))


def test_a_step_that_changes_the_images_is_measured_on_others(tmp_path: Path) -> None:
    body = (
        "steps: [{name: more_data, change: {data.val_fraction: 0.1}}, {name: norm, change: "
        "{model.norm: rmsnorm}}]"
    )
    warning = only(spec_of(tmp_path, body, 9), "other-images")
    assert "'more_data' changes data.val_fraction" in warning.message


def test_reading_the_best_epoch_is_warned_of(tmp_path: Path) -> None:
    warning = only(spec_of(tmp_path, "metric: {epoch: best}\n" + NORM, 9), "best-epoch")
    assert warning.line == len(HEAD.splitlines()) + 1
    assert "best-epoch" not in codes(spec_of(tmp_path, warning.control + "\n" + NORM, 9))


def test_a_clean_road_has_no_warnings(tmp_path: Path) -> None:
    body = (
        "steps: [{name: norm, change: {model.norm: rmsnorm}}, {name: rope, change: "
        "{model.position: learned+rope}}]"
    )
    assert codes(spec_of(tmp_path, body, 9)) == []


def test_each_warning_is_given_once_for_all_regimes(tmp_path: Path) -> None:
    assert codes(spec_of(tmp_path, "regimes: {one: {}, two: {train.epochs: 7}}\n" + BOTH, 9)) == [
        "confounded-step"
    ]


def test_the_terminal_shows_warnings_controls_savings_and_skipped_cells(tmp_path: Path) -> None:
    body = "design: [roadmap, factorial]\n" + BOTH.replace(
        "}}]", "}}, {name: last, requires: [both], change: {model.class_token: last}}]"
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan_table(plan_of(spec_of(tmp_path, body, 2), {})))
    text = console.export_text()
    for part in (
        "warning confounded-step",
        "both_recipe_only",
        "trials shared with identical",
        "skipped factorial.01: last requires both",
        "80 % power",
    ):
        assert part in text


@pytest.mark.slow
def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 3}, factorial]\n" + NORM, 3)
    code = (
        "import sys; from pathlib import Path; from orchestrator.driver import plan_sweep;"
        "from orchestrator.spec.sweep_spec import load_spec;"
        "from orchestrator.store.store import Store;"
        "plan_sweep(load_spec(Path(sys.argv[1])), Store(Path(sys.argv[2]))).to_json();"
        "heavy = {'torch', 'ray', 'mlflow', 'optuna', 'matplotlib', 'scipy.stats', 'sklearn'} & "
        "set(sys.modules);assert not heavy, heavy"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(spec.path), str(tmp_path / "runs")], check=True)
    assert time.perf_counter() - started < 10  # about one second on a quiet machine
