"""What only results tell: sizes and lengths that a training of the user's own returns, and seeds
that a search has seen.
"""

from pathlib import Path
from typing import Any

import pytest
from invented import digest, snapshot_of, spec_of
from test_looks import NORM, finish

from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.driver import plan_sweep, report_sweep
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.plan import trials_of
from orchestrator.planning.survey import survey
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.spec.warnings import SpecWarning
from orchestrator.store.store import Store
from orchestrator.trial import TrialRecord, TrialSpec

OWN = """
def train(*, depth: int = 1, max_steps: int = 4, seed=0):
    return {"err": 1.0}
"""


def drifts(tmp_path: Path, steps: str, says: dict[str, dict[str, Any]]) -> list[SpecWarning]:
    """The warnings of the report where the trials of each variant return so much."""
    (tmp_path / "own_for_drift.py").write_text(OWN)
    (tmp_path / "sweep.yaml").write_text(
        "name: own\nmetric: {name: err, mode: min}\nseeds: [0, 1, 2, 3, 4, 5, 6, 7]\n"
        f'baseline: {{train: {{name: "own_for_drift:train"}}}}\nsteps: {steps}\n'
    )
    spec = load_spec(tmp_path / "sweep.yaml")

    def record_of(trial: TrialSpec) -> TrialRecord:
        metrics: dict[str, Any] = {"metrics": {"err": 1.0 + trial.seed}, "best": {}}
        result = {"outcome": "finished", **metrics, **says[trial.variant]}
        return TrialRecord(State.DONE, Outcome(result["outcome"]), result=result)

    return list(build_roadmap(snapshot_of(spec, trials_of(spec, digest), record_of)).warnings)


@pytest.mark.slow
def test_trials_that_return_another_size_are_warned_of_in_the_report(tmp_path: Path) -> None:
    steps = "[{name: deeper, change: {train.depth: 3}, side: {beside: {train.max_steps: 5}}}]"
    says = {
        "baseline": {"params": 100, "iterations": 4},
        "deeper": {"params": 300, "iterations": 12},
        "beside": {"params": 300, "iterations": 12},
    }
    found = drifts(tmp_path, steps, says)
    size = [warning for warning in found if warning.code == "size-drift"]
    assert [it.message.split(",")[0] for it in size] == [
        "step 'deeper' has +200.0% parameters compared with baseline"
    ]
    [length] = [it for it in found if it.code == "compute-drift" and "'deeper'" in it.message]
    assert "trained 3 times as many iterations as baseline" in length.message


@pytest.mark.slow
def test_the_same_size_or_lengths_that_overlap_are_nothing(tmp_path: Path) -> None:
    steps = "[{name: deeper, change: {train.depth: 3}}]"
    same = {"params": 100, "flops": 50, "iterations": 4}
    assert drifts(tmp_path, steps, {"baseline": same, "deeper": same}) == []
    assert drifts(tmp_path, steps, {"baseline": {}, "deeper": {"params": 3}}) == []


@pytest.mark.slow
def test_a_training_that_diverged_is_short_for_that_and_is_no_drift(tmp_path: Path) -> None:
    steps = "[{name: deeper, change: {train.depth: 3}}]"
    short = {"outcome": "diverged", "iterations": 2}
    assert drifts(tmp_path, steps, {"baseline": {"iterations": 4}, "deeper": short}) == []


@pytest.mark.slow
def test_what_the_plan_has_said_is_not_said_again(tmp_path: Path) -> None:
    steps = "[{name: longer, change: {train.max_steps: 12}}]"
    says = {"baseline": {"iterations": 4}, "longer": {"iterations": 12}}
    [warning] = drifts(tmp_path, steps, says)
    assert "sets train.max_steps to 12" in warning.message


def test_seeds_by_which_a_search_chose_the_same_settings_are_warned_of(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    search = "search: {space: {model.norm: [layernorm, rmsnorm]}, sampler: grid, seeds: [4]}\n"
    looking = spec_of(tmp_path, search + "steps: []", 3)
    for trial in survey(looking, store).specs:
        store.directory(trial).write_trial(trial, {})
    head = "\nname: after\nseeds: [{seeds}]\nbaseline:\n  model: {{name: vit_digits}}\n"
    head += "  data: {{name: digits}}\n  train: {{epochs: 6, batch_size: 64, lr: 2e-3}}\n"
    fresh = spec_of(tmp_path, NORM, 4, head)
    assert "seeds-chosen-by" not in {it.code for it in plan_sweep(fresh, store).warnings}
    again = spec_of(tmp_path, NORM, 5, head)
    [warning] = [it for it in plan_sweep(again, store).warnings if it.code == "seeds-chosen-by"]
    assert "trial baseline-seed4 is also a trial of a search (invented/baseline@" in warning.message
    assert "and so are 1 more" in warning.message
    assert warning.control == "seeds: [5, 6, 7, 8, 9]"
    finish(again, store)
    assert "seeds-chosen-by" in {it.code for it in report_sweep(again, store).warnings}
