"""The answer on top of a report: true for every design, and however much of a sweep is done."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from invented import NORM, End, roadmap_of, spec_of

from orchestrator.report.answer import Answer, all_rows, answer_of, trials_of
from orchestrator.report.formats import render

Ends = Mapping[str, Sequence[End | None]]


def answer(folder: Path, ends: Ends, body: str | None = None, seeds: int = 3) -> Answer:
    spec = spec_of(folder, seeds=seeds) if body is None else spec_of(folder, body, seeds=seeds)
    return answer_of(roadmap_of(spec, ends))


WELL: Ends = {
    "baseline": [70.0, 71.0, 72.0],
    "rmsnorm": [80.0, 81.1, 81.9],
    "causal": [80.1, 80.9, 82.0],
    "additive": [("collapsed", 10.0)] * 3,
    "last": [60.0, 61.1, 61.9],
}


TWO_STEPS = """
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
  - name: rope
    change: {model.position: rope}
"""


def test_it_says_from_where_to_where_what_was_decided_and_what_it_cost(tmp_path: Path) -> None:
    found = answer(tmp_path, WELL)
    [road] = found.roads
    assert road.startswith("val/acc1 (higher is better) from baseline to last: 71.00 → 61.00, ")
    assert "-10.00 (95 % CI -10.25 to -9.75)" in road
    told = dict(found.findings)
    assert told["Better"] == "rmsnorm +10.00"
    assert told["Worse"] == "additive (collapsed) -71.00, last -20.00"
    assert told["Not decided"] == "causal +0.00"
    assert told["Cost"] == "15 trials, 30 s of training"
    assert not {"So far", "Unexpected outcome"} & told.keys()  # a collapse is expected


def test_while_it_runs_it_says_how_far_it_is(tmp_path: Path) -> None:
    found = answer(tmp_path, WELL | {"last": [None, None, None], "causal": [80.1, None, None]})
    assert found.roads == [
        "val/acc1 (higher is better) from baseline to last: unknown, "
        "because there is no value for last (3 pending); as far as causal: "
        "71.00 → 80.10 (1 of 3 seeds: 2 pending), +10.10 "
        "over the 1 seed that both have, no interval."
    ]
    assert dict(found.findings)["So far"] == "10 of 15 trials ended, so this may change"


def test_before_anything_has_run_nothing_is_claimed(tmp_path: Path) -> None:
    told = dict(answer(tmp_path, {}).findings)
    assert told["Decided"] == "nothing, because nothing could be tested yet"
    assert told["Cost"] == "0 trials, 0 s of training"


def test_without_steps_nothing_is_to_be_tested_later(tmp_path: Path) -> None:
    told = dict(answer_of(roadmap_of(spec_of(tmp_path, "steps: []"), {})).findings)
    assert told["Decided"] == "nothing, because nothing could be tested"


def test_failed_trials_are_told_beside_the_mean_of_the_others(tmp_path: Path) -> None:
    found = answer(tmp_path, WELL | {"last": [60.0, "failed", 61.9]})
    assert found.roads[0].endswith(
        "71.00 → 60.95 (2 of 3 seeds: 1 failed), -10.05 "
        "over the 2 seeds that both have, no interval."
    )
    assert dict(found.findings)["Unexpected outcome"] == "1 of 15 trials: 1 failed"


def test_a_road_that_ends_without_any_value_has_no_effect(tmp_path: Path) -> None:
    ends: Ends = WELL | {"last": ["failed"] * 3}
    [road] = answer(tmp_path, ends).roads
    assert road.partition(": ")[2].startswith(
        "unknown, because there is no value for last (3 failed); as far as causal: 71.00 → 81.00, "
        "+10.00 (95 % CI "
    )
    [road] = answer(tmp_path, ends | {"baseline": ["failed"] * 3}).roads
    assert road.endswith("no value for baseline (3 failed) and last (3 failed).")


def test_one_seed_has_no_interval_and_decides_nothing(tmp_path: Path) -> None:
    found = answer(tmp_path, {name: ends[:1] for name, ends in WELL.items()}, seeds=1)
    assert "-10.00, no interval" in found.roads[0]
    assert not {"Better", "Worse"} & dict(found.findings).keys()


def test_without_a_road_it_tells_the_design(tmp_path: Path) -> None:
    body = f"design: [one_factor]\n{TWO_STEPS}"
    names = {variant.name for variant in spec_of(tmp_path, body).variants}
    ends: Ends = {name: [80.0, 81.1, 81.9] for name in names} | {"baseline": [70.0, 71.0, 72.0]}
    found = answer(tmp_path, ends, body)
    assert found.roads == ["val/acc1 (higher is better) at baseline: 71.00."]
    assert dict(found.findings)["Better"] == "rmsnorm +10.00, rope +10.00"


def test_a_design_with_all_steps_in_one_cell_has_their_whole_effect(tmp_path: Path) -> None:
    for design in ("leave_one_out", "factorial"):
        spec = spec_of(tmp_path, f"design: [{design}]\n{TWO_STEPS}")
        ends: Ends = {variant.name: [80.0, 81.1, 81.9] for variant in spec.variants}
        ends |= {"baseline": [70.0, 71.0, 72.0]}
        [road] = answer_of(roadmap_of(spec, ends)).roads
        whole = {"leave_one_out": "all_steps", "factorial": "factorial.11"}[design]
        assert f"from baseline to {whole}: 71.00 → 81.00, +10.00 (95 % CI " in road


def test_what_other_designs_decided_is_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, f"design: [roadmap, leave_one_out]\n{TWO_STEPS}")
    ends: Ends = WELL | {"rope": [80.1, 81.0, 82.0], "without.rmsnorm": [60.0, 61.1, 61.8]}
    told = dict(answer_of(roadmap_of(spec, ends)).findings)
    assert told["Other designs"] == "1 of 1 tested effect decided: rmsnorm +20.07"


def test_each_regime_has_its_sentence(tmp_path: Path) -> None:
    body = "regimes: {one: {}, two: {train.lr: 1e-3}}\nsteps:\n  - name: rmsnorm\n"
    body += "    change: {model.norm: rmsnorm}\n"
    ends: Ends = {
        f"{regime}/{name}": [level, level + 1, level + 2]
        for regime in ("one", "two")
        for name, level in (("baseline", 70.0), ("rmsnorm", 72.0))
    }
    one, two = answer(tmp_path, ends, body).roads
    assert one.startswith("val/acc1 (higher is better), one, from baseline to rmsnorm: 71.00 → 73")
    assert two.startswith("two, from baseline to rmsnorm: 71.00 → 73.00, +2.00")


def test_what_is_equivalent_is_decided(tmp_path: Path) -> None:
    body = f"metric: {{name: val/acc1, mode: max, matters: 5.0}}\n{NORM}"
    ends: Ends = {"baseline": [70.0, 71.0, 72.0, 71.5], "norm": [70.1, 70.9, 72.1, 71.4]}
    told = dict(answer(tmp_path, ends, body, seeds=4).findings)
    assert told["Equivalent"].startswith("norm ")
    assert "Decided" not in told
    unlike: Ends = {"baseline": [60.0, 71.0, 82.0, 71.5], "norm": [75.1, 60.9, 72.1, 66.4]}
    told = dict(answer(tmp_path, unlike, body, seeds=4).findings)
    assert told["Decided"] == "nothing"


def test_a_trial_that_stands_in_several_cells_is_counted_once(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, f"design: [roadmap, factorial]\n{TWO_STEPS}")
    labels = {variant.name for variant in spec.variants}
    ends: Ends = {label: [80.0, "failed", 81.9] for label in labels}
    roadmap = roadmap_of(spec, ends)
    cells = sum(len(row.outcome_of) for row in all_rows(roadmap))
    assert len(trials_of(roadmap)) == 4 * 3 < cells
    told = dict(answer_of(roadmap).findings)
    assert told["Unexpected outcome"] == "4 of 12 trials: 4 failed"
    assert "<b>8 of 12</b> trials trained to the end" in render(roadmap, "html").decode()
