"""The roadmap: what is held against what, and nothing averaged away."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from invented import HEAD, ROAD, End, digest, records, roadmap_of, snapshot_of, spec_of

from orchestrator.analysis.roadmap import Roadmap, StepRow, build_roadmap
from orchestrator.driver import report_sweep
from orchestrator.errors import UsageError
from orchestrator.planning.plan import trials_of
from orchestrator.report.figure import figures_of
from orchestrator.report.formats import render
from orchestrator.report.notes import caveats, notes
from orchestrator.report.words import (
    cells,
    columns,
    decided_text,
    outcome_text,
    value_text,
)
from orchestrator.stats.power import detectable, spread_of
from orchestrator.store.lease import Lease
from orchestrator.store.store import Store

HEALTHY: dict[str, Sequence[End | None]] = {
    "baseline": [70.0, 71.0, 72.0],
    "rmsnorm": [72.0, 73.5, 74.0],
    "causal": [68.0, 69.0, 69.5],
    "last": [75.0, 76.0, 78.0],
}
COLLAPSED: list[End | None] = [("collapsed", 10.0), ("collapsed", 10.5), ("collapsed", 9.5)]


def row(roadmap: Roadmap, name: str) -> StepRow:
    return next(row for row in roadmap.rows if row.variant.name == name)


def test_every_step_is_held_against_the_last_healthy_one_and_the_baseline(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), HEALTHY | {"causal": COLLAPSED, "additive": COLLAPSED})
    versus = {
        row.variant.name: row.delta_previous and row.delta_previous.versus for row in roadmap.rows
    }
    assert versus == {
        "baseline": None,
        "rmsnorm": "baseline",
        "causal": "rmsnorm",
        "additive": "rmsnorm",
        "last": "rmsnorm",
    }
    last = row(roadmap, "last").delta_baseline
    assert last is not None
    assert (last.versus, last.effect.mean) == ("baseline", pytest.approx(5 + 1 / 3))


def test_a_step_where_some_seeds_collapsed_has_no_mean_over_both(tmp_path: Path) -> None:
    ends = HEALTHY | {"causal": [68.0, ("collapsed", 10.0), 70.0]}
    causal = row(roadmap_of(spec_of(tmp_path), ends), "causal")
    assert causal.is_mixed
    assert causal.summary is not None
    assert causal.summary.mean == 69.0
    assert causal.values == {0: 68.0, 1: 10.0, 2: 70.0}  # and still nothing is dropped
    assert value_text(causal) == "69.00 ± 1.41 (2 of 3 finished)"
    assert outcome_text(causal) == "1 collapsed, 2 finished"


def test_outcomes_are_written_as_people_read_them(tmp_path: Path) -> None:
    ends = HEALTHY | {"causal": [68.0, "out_of_memory", "timed_out"]}
    roadmap = roadmap_of(spec_of(tmp_path), ends)
    texts = cells(roadmap, row(roadmap, "causal"))
    assert "1 finished, 1 out of memory, 1 timed out" in texts
    assert any("2 of 3 (1 out of memory, 1 timed out) against" in text for text in texts)


@pytest.mark.parametrize("end", [("collapsed", 10.0), "diverged"])
def test_the_effect_of_a_mixed_step_has_no_p_value_and_says_why(
    tmp_path: Path, end: object
) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), HEALTHY | {"causal": [68.0, end, 70.0]})  # type: ignore[list-item]
    delta = row(roadmap, "causal").delta_previous
    assert delta is not None
    assert (delta.effect.ci95, delta.effect.p_value, delta.effect.pairs) == (None, None, 2)
    assert "only seeds that finished" in delta.caveat
    assert row(roadmap, "last").delta_previous.versus == "rmsnorm"  # type: ignore[union-attr]
    assert any("causal" in caveat for caveat in caveats(roadmap))


def test_a_step_that_diverged_with_every_seed_has_no_value_but_is_there(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), HEALTHY | {"causal": ["diverged"] * 3})
    causal = row(roadmap, "causal")
    assert (causal.summary, dict(causal.outcomes)) == (None, {"diverged": 3})
    delta = causal.delta_previous
    assert delta is not None
    assert delta.effect is None
    assert delta.rates is not None
    assert delta.rates.text == "3 of 3 diverged against 0 of 3"
    assert delta.p_value == pytest.approx(2 / 20)  # Fisher: one of the 20 tables, and its mirror
    assert "diverged" in cells(roadmap, causal)
    assert "causal-seed0" in roadmap.causes


def test_a_collapse_with_every_seed_is_an_effect(tmp_path: Path) -> None:
    additive = row(roadmap_of(spec_of(tmp_path), HEALTHY | {"additive": COLLAPSED}), "additive")
    assert additive.is_collapsed
    assert not additive.is_mixed
    assert additive.delta_previous is not None
    assert additive.delta_previous.effect.mean < -50
    assert outcome_text(additive) == "collapsed (expected)"


def test_missing_and_failed_trials_are_counted_beside_the_mean(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), HEALTHY | {"rmsnorm": [72.0, "failed", None]})
    norm = row(roadmap, "rmsnorm")
    assert value_text(norm) == "72.00 (1 of 3)"
    assert norm.outcomes == {"finished": 1, "failed": 1, "pending": 1}
    assert roadmap.causes == {"rmsnorm-seed1": "failed it is"}
    assert "2 of 3 seeds so far" in norm.delta_previous.caveat  # type: ignore[union-attr]


def test_a_control_is_held_against_the_step_that_it_changes(tmp_path: Path) -> None:
    body = """
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
  - name: slower
    change: {train.lr: 1e-3}
    side:
      slower_baseline: {on: baseline, change: {train.lr: 1e-3}}
"""
    ends = {
        "baseline": [70.0, 71.0],
        "rmsnorm": [80.0, 81.0],
        "slower": [82.0, 84.0],
        "slower_baseline": [73.0, 75.0],
    }
    delta = row(roadmap_of(spec_of(tmp_path, body, 2), ends), "slower_baseline").delta_previous
    assert delta is not None
    assert (delta.versus, delta.effect.mean) == ("baseline", 3.5)


def test_p_values_are_corrected_over_the_steps_of_all_regimes(tmp_path: Path) -> None:
    body = (
        "regimes: {one: {}, two: {train.lr: 1e-3}}\n"
        "steps: [{name: rmsnorm, change: {model.norm: rmsnorm}}]"
    )
    ends = {f"{regime}/baseline": [1.0, 2.0, 3.0] for regime in ("one", "two")}
    ends |= {"one/rmsnorm": [2.0, 3.1, 3.9], "two/rmsnorm": [9.0, 9.1, 10.2]}
    roadmap = roadmap_of(spec_of(tmp_path, body), ends)  # type: ignore[arg-type]
    deltas = [row.delta_previous for row in roadmap.rows if row.delta_previous]
    plain = sorted(delta.effect.p_value for delta in deltas)  # type: ignore[type-var]
    corrected = sorted(delta.adjusted_p_value for delta in deltas)  # type: ignore[type-var]
    assert corrected[0] == pytest.approx(2 * plain[0])  # type: ignore[operator]


def test_an_undecided_step_is_told_plainly(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), HEALTHY | {"rmsnorm": [70.5, 71.0, 74.0]})
    assert decided_text(row(roadmap, "rmsnorm").delta_previous) == "no"
    decided = row(
        roadmap_of(spec_of(tmp_path), HEALTHY | {"rmsnorm": [80.0, 81.01, 82.0]}), "rmsnorm"
    ).delta_previous
    assert decided_text(decided) == "yes"
    assert "would probably" not in " ".join(notes(roadmap))
    assert "8 of 10" not in " ".join(notes(roadmap))


def test_nothing_reassures_about_spreads(tmp_path: Path) -> None:
    ends = HEALTHY | {"rmsnorm": [50.0, 70.0, 90.0]}
    roadmap = roadmap_of(spec_of(tmp_path), ends)
    assert caveats(roadmap) == []
    assert any(
        note.startswith("3 seeds: a behaviour that occurs in fewer than 63 % of seeds")
        for note in notes(roadmap)
    )


def test_the_best_epoch_is_reported_only_where_the_spec_asks_for_it(tmp_path: Path) -> None:
    best = spec_of(tmp_path, "metric: {epoch: best}\n" + "steps: []")
    assert row(roadmap_of(best, HEALTHY), "baseline").values[0] == 71.0
    last = spec_of(tmp_path, "steps: []")
    assert row(roadmap_of(last, HEALTHY), "baseline").values[0] == 70.0


def test_reused_trials_are_counted_once_in_the_cost(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        "design: [roadmap, one_factor]\nsteps: [{name: rmsnorm, change: {model.norm: rmsnorm}}]",
    )
    ends = HEALTHY | {"only.rmsnorm": HEALTHY["rmsnorm"]}
    shared = records(ends, lambda trial: f"{trial.sweep}/trials/{trial.fingerprint}")
    roadmap = build_roadmap(snapshot_of(spec, trials_of(spec, digest), shared))
    assert roadmap.total_seconds == 6 * 2.0
    own = roadmap_of(spec, ends)
    assert [r.reused for r in own.rows] == [0, 0]
    assert all(r.reused == 3 for r in roadmap.rows)


STEP_KEYS = {
    *("name", "regime", "side", "changes", "seeds", "mean", "std", "ci95", "values"),
    *("delta_previous", "delta_baseline", "outcomes", "params", "flops"),
    *("train_seconds", "reference"),
}
"""Keys of a step in `report --format json` that scripts rely on."""


def test_json_has_the_agreed_keys_and_survives_a_round_trip(tmp_path: Path) -> None:
    body = (
        "steps: [{name: rmsnorm, change: {model.norm: rmsnorm}, reference: {val/acc1: 74.5, "
        "source: a paper}}]"
    )
    value = json.loads(json.dumps(roadmap_of(spec_of(tmp_path, body), HEALTHY).to_json()))
    assert {"sweep", "metric", "steps"} <= value.keys()
    baseline, step = value["steps"]
    assert step.keys() >= STEP_KEYS
    assert {"mean", "ci95", "p_value", "versus"} <= step["delta_previous"].keys()
    assert (baseline["name"], baseline["delta_previous"]) == ("baseline", None)
    assert step["reference"] == {"value": 74.5, "source": "a paper"}
    assert step["values"] == {"0": 72.0, "1": 73.5, "2": 74.0}
    assert len(step["ci95"]) == 2


def test_a_sweep_without_a_road_reports_its_cells(tmp_path: Path) -> None:
    body = "design: one_factor\nsteps: [{name: rmsnorm, change: {model.norm: rmsnorm}}]"
    roadmap = roadmap_of(spec_of(tmp_path, body), HEALTHY | {"only.rmsnorm": HEALTHY["rmsnorm"]})
    assert [r.variant.name for r in roadmap.rows] == ["baseline", "only.rmsnorm"]
    assert roadmap.rows[1].delta_previous.versus == "baseline"  # type: ignore[union-attr]


def test_each_step_has_the_difference_that_it_detects_and_its_range(tmp_path: Path) -> None:
    assert roadmap_of(spec_of(tmp_path), {}).detectable is None
    roadmap = roadmap_of(spec_of(tmp_path), HEALTHY)
    steps = [row.delta_previous for row in roadmap.rows if row.delta_previous]
    found = [delta.detectable for delta in steps if delta.detectable]
    assert len(found) == 3
    assert roadmap.detectable == sorted(one.value for one in found)[1]
    assert all(one.range[0] < one.value < one.range[1] for one in found)
    assert any("80 % power" in note for note in notes(roadmap))


def test_where_seeds_are_added_power_counts_all_of_them_and_pays_for_the_looks(
    tmp_path: Path,
) -> None:
    head = HEAD.replace("seeds: [{seeds}]", "seeds: {{start: 3, max: 12, until: decided}}")
    roadmap = roadmap_of(spec_of(tmp_path, head=head), HEALTHY)
    delta = row(roadmap, "last").delta_previous
    assert delta is not None
    assert delta.effect is not None
    spread = spread_of(delta.effect)
    assert spread is not None
    assert delta.detectable == detectable(spread, 12, 4 * len(roadmap.looks))


def test_one_seed_is_told_as_one(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path, seeds=1), {"baseline": [70.0], "rmsnorm": [72.0]})
    assert columns(roadmap)[2].heading == "val/acc1 (n=1)"
    assert "over 1 seed;" in notes(roadmap)[0]


def test_a_loss_is_shown_with_the_decimals_that_it_needs(tmp_path: Path) -> None:
    ends = {"baseline": [70.0, 71.0, 72.0], "rmsnorm": [72.0, 73.5, 74.0]}
    roadmap = roadmap_of(spec_of(tmp_path, "metric: {name: val/loss, mode: min}" + ROAD), ends)
    assert cells(roadmap, row(roadmap, "rmsnorm"))[2:4] == ["1.0000 ± 0.0000", "+0.0000*"]


def test_nothing_done_yet_is_a_report_too(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path), {})
    assert [value_text(r) for r in roadmap.rows] == ["–"] * 5


def test_a_trial_of_a_driver_that_is_alive_runs_and_is_not_called_interrupted(
    make_sweep: Callable[..., Any],
) -> None:
    sweep = make_sweep()
    directory = sweep.store.directory(sweep.trials[0])
    directory.write_trial(sweep.trials[0], {})

    def outcomes() -> Any:
        report = report_sweep(sweep.spec, sweep.store, shown_by="report")
        return report.to_json()["steps"][0]["outcomes"]

    with Lease(sweep.path) as lease:
        directory.start_attempt(lease.session, {})
        assert outcomes() == {"running": 1}
    assert outcomes() == {"interrupted": 1}


def test_without_its_images_a_sweep_that_never_ran_is_shown_and_one_that_ran_is_refused(
    tmp_path: Path,
) -> None:
    head = HEAD.replace("name: digits", "name: image_folder, folder: nowhere")
    head = head.replace("vit_digits", "vit_tiny")
    body = "steps: [{name: rms, change: {model.norm: rmsnorm}, reference: {value: 74, source: x}}]"
    spec = spec_of(tmp_path, body, head=head)
    store = Store(tmp_path / "runs")
    roadmap = report_sweep(spec, store)
    [warning] = [one for one in roadmap.warnings if one.code == "data-absent"]
    assert "cannot use the images of data 'image_folder'" in warning.message
    assert "Cannot use the images of data" in render(roadmap, "table").decode()
    [figure] = figures_of(roadmap)
    assert figure.has_axis  # what was published is drawn
    assert not store.sweep_path("invented").exists()
    trial = store.sweep_path("invented") / "trials" / "rms-seed0-12345678" / "trial.json"
    trial.parent.mkdir(parents=True)
    trial.write_text("{}")
    with pytest.raises(UsageError, match="cannot use the images of data 'image_folder'"):
        report_sweep(spec, Store(tmp_path / "runs"))
