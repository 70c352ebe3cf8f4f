"""One family of comparisons for the whole report: what is in it, what decides, and what may be
claimed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import End, digest, records, roadmap_of, snapshot_of, spec_of

from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.errors import SpecError
from orchestrator.planning.estimates import comparisons_of
from orchestrator.planning.plan import trials_of
from orchestrator.report.notes import family_text, notes
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Variant

STEPS = """
steps:
  - name: a
    change: {model.norm: rmsnorm}
    side: {aside: {model.mask_form: additive, model.attention: causal}}
  - {name: b, change: {model.position: rope}}
  - {name: c, change: {model.feed_forward: swiglu}}
"""
ALL = "design: [roadmap, one_factor, leave_one_out, factorial]" + STEPS


def drawn(spec: SweepSpec, seed: int = 0, seeds: int = 5) -> dict[str, list[End | None]]:
    """A value for each training: cells that coincide have the same, whatever they are called."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=seeds)
    by_training: dict[str, list[End | None]] = {}
    ends: dict[str, list[End | None]] = {}
    for variant in spec.variants:
        key = variant.config.model_dump_json()
        if key not in by_training:
            effect = 1.5 * ("a" in variant.cell.steps) + 0.4 * ("c" in variant.cell.steps)
            values = 80 + effect + shared + 0.4 * generator.normal(size=seeds)
            by_training[key] = [float(value) for value in values]
        ends[variant.label] = by_training[key]
    return ends


def report(spec: SweepSpec, ends: dict[str, list[End | None]]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(roadmap_of(spec, ends).to_json()))
    return value


def with_p(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Every comparison of every table that has a p-value."""
    steps = [step["delta_previous"] for step in value["steps"] if step["delta_previous"]]
    lines = [line for design in value["designs"] for line in design["effects"]]
    return [one for one in (*steps, *lines) if one.get("p_value") is not None]


def test_p_values_are_holms_over_all_tables_with_each_comparison_once(tmp_path: Path) -> None:
    from scipy import stats

    spec = spec_of(tmp_path, ALL, 5)
    ends = drawn(spec)
    value = report(spec, ends)
    found = with_p(value)
    # the road's a and only.a are one comparison; so are without.c and the road's c
    assert value["family"] == {"size": 4 + 2 + 2 + 6, "scope": "all tables", "looks_before": 0}
    assert len(found) == 4 + 3 + 3 + 6
    raw_of = {round(one["p_value_uncorrected"], 12): one["p_value_uncorrected"] for one in found}
    unique = sorted(raw_of.values())
    assert len(unique) == 14
    corrected = np.maximum.accumulate(np.minimum(1, np.array(unique) * np.arange(14, 0, -1)))
    by_p = dict(zip(unique, corrected, strict=True))
    for one in found:
        expected = by_p[raw_of[round(one["p_value_uncorrected"], 12)]]
        assert one["p_value"] == pytest.approx(expected, abs=1e-12)
    a = np.array(ends["a"], dtype=float), np.array(ends["baseline"], dtype=float)
    raw = stats.ttest_rel(*a).pvalue
    assert value["steps"][1]["delta_previous"]["p_value_uncorrected"] == pytest.approx(
        raw, abs=1e-12
    )


def test_the_same_trials_in_two_tables_have_the_same_p_value(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ALL, 5)
    value = report(spec, drawn(spec))
    step = next(step for step in value["steps"] if step["name"] == "a")
    [alone] = [
        line
        for design in value["designs"]
        if design["design"] == "one_factor"
        for line in design["effects"]
        if line["label"] == "a"
    ]
    assert alone["p_value"] == step["delta_previous"]["p_value"]


def test_a_cell_that_is_what_it_is_held_against_is_no_comparison(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: factorial" + STEPS.replace("    side:", "    #"), 5)
    value = report(spec, drawn(spec))
    itself = next(step for step in value["steps"] if step["name"] == "factorial.000")
    assert itself["delta_previous"]["p_value"] is None
    assert itself["verdict"] is None
    assert value["family"]["size"] == 7 + 6


def test_the_baseline_is_described_not_tested(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, STEPS, 5)
    step = report(spec, drawn(spec))["steps"][-1]
    assert step["delta_baseline"]["p_value"] is None
    assert step["delta_baseline"]["p_value_uncorrected"] is not None
    assert step["delta_baseline"]["verdict"] is None


def test_the_spec_may_name_the_designs_that_are_tested(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "family: [roadmap]\n" + ALL, 5)
    roadmap = roadmap_of(spec, drawn(spec))
    value = roadmap.to_json()
    assert value["family"] == {"size": 4, "scope": "roadmap", "looks_before": 0}
    lines = [line for design in value["designs"] for line in design["effects"]]
    assert lines
    assert all(line["p_value"] is None and line["verdict"] is None for line in lines)
    assert all(line["ci95"] for line in lines)
    assert any("described, not tested" in note for note in notes(roadmap))
    assert family_text(roadmap) == "corrected (Holm) over 4 comparisons: roadmap"


def test_all_is_every_table(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "family: all\n" + STEPS).schema.family is None


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("[orders]", r":\d+:10: this sweep has no design 'orders'; it has roadmap"),
        ("[road]", "there is no design .road.; allowed: roadmap"),
        ("[]", "at least one item"),
    ],
)
def test_a_wrong_family_is_told(tmp_path: Path, family: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec_of(tmp_path, f"family: {family}\n" + STEPS)


def test_comparisons_that_are_still_to_come_hold_their_place(tmp_path: Path) -> None:
    """What is decided early stays decided."""
    spec = spec_of(tmp_path, STEPS, 5)
    ends = drawn(spec)
    early = roadmap_of(spec, {name: ends[name] for name in ("baseline", "a")})
    assert early.family.size == 4
    [one] = [row.delta_previous for row in early.rows if row.variant.name == "a"]
    assert one is not None
    assert one.adjusted_p_value == pytest.approx(4 * one.p_value)  # type: ignore[operator]
    assert any("still missing" in note for note in notes(early))


def test_the_plan_counts_the_same_comparisons(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ALL, 5)
    assert comparisons_of(spec, trials_of(spec, digest)) == 14
    only = spec_of(tmp_path, "family: [roadmap]\n" + ALL, 5)
    assert comparisons_of(only, trials_of(only, digest)) == 4


def test_seeds_that_were_changed_after_a_look_are_paid_for(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, STEPS, 5)
    trials, ends = trials_of(spec, digest), records(drawn(spec))
    first, third = (build_roadmap(snapshot_of(spec, trials, ends), earlier_looks=k) for k in (0, 2))
    for one, other in zip(first.rows[1:], third.rows[1:], strict=True):
        paid, plain = other.delta_previous, one.delta_previous
        assert paid is not None
        assert plain is not None
        assert paid.adjusted_p_value == pytest.approx(min(1, 4 * plain.adjusted_p_value))  # type: ignore[operator]
        assert paid.p_value == plain.p_value
        assert paid.detectable.value > plain.detectable.value  # type: ignore[union-attr]
    assert third.to_json()["family"]["looks_before"] == 2
    [note] = [note for note in notes(third) if "seeds were changed" in note]
    assert "after 2 looks" in note
    assert "multiplied by 4" in note
    assert "up to 8.75 % of sweeps would still report one" in note
    assert not any("about one in 20" in note for note in notes(third))


MATTERS = "metric: {matters: 0.5}\n" + STEPS.replace("    side:", "    #")


def verdicts(tmp_path: Path, body: str, ends: dict[str, list[End | None]]) -> dict[str, Any]:
    spec = spec_of(tmp_path, body, 6)
    return {step["name"]: step for step in report(spec, ends)["steps"]}


def test_verdicts_say_what_may_be_claimed(tmp_path: Path) -> None:
    base = np.array([80.0, 80.5, 79.5, 80.2, 80.1, 79.9])
    noise = np.array([0.02, -0.03, 0.01, 0.0, -0.02, 0.03])
    ends: dict[str, list[End | None]] = {
        "baseline": [*base],
        "a": [*(base + 2 + noise)],
        "b": [*(base + 2.1 + 2 * noise[::-1])],  # decided, and yet too small to matter
        "c": [*(base + 2.1 + 60 * noise)],
    }
    steps = verdicts(tmp_path, MATTERS, ends)
    assert [steps[name]["verdict"] for name in "abc"] == ["better", "equivalent", "open"]
    assert steps["b"]["delta_previous"]["p_value"] < 0.05
    worse = verdicts(tmp_path, MATTERS.replace("{matters", "{name: val/loss, matters"), ends)
    assert worse["a"]["verdict"] is not None
    plain = verdicts(tmp_path, MATTERS.replace("metric: {matters: 0.5}\n", ""), ends)
    assert [plain[name]["verdict"] for name in "abc"] == ["better", "better", "open"]
    assert plain["c"]["delta_previous"]["seeds_for_matters"] is None
    delta = steps["c"]["delta_previous"]
    assert delta["power_at_matters"]["range"][0] < delta["power_at_matters"]["value"] < 0.8
    low, high = delta["seeds_for_matters"]
    assert low > 6
    assert high is None or high > low
    assert delta["probability_of_improvement"] == pytest.approx(
        np.mean([one > other for one in ends["c"] for other in ends["b"]])  # type: ignore[operator]
    )
    assert "seeds_needed" not in delta


def test_equivalence_is_holms_over_the_family(tmp_path: Path) -> None:
    from scipy import stats

    base = np.array([80.0, 80.5, 79.5, 80.2, 80.1, 79.9])
    generator = np.random.default_rng(3)
    ends: dict[str, list[End | None]] = {"baseline": [*base]}
    ends |= {name: [*(base + generator.normal(0, 0.3, 6))] for name in "abc"}
    raw = []
    for here, there in (("a", "baseline"), ("b", "a"), ("c", "b")):
        difference = np.array(ends[here], dtype=float) - np.array(ends[there], dtype=float)
        above = stats.ttest_1samp(difference, -0.5, alternative="greater").pvalue
        below = stats.ttest_1samp(difference, 0.5, alternative="less").pvalue
        raw.append(max(above, below))
    steps = verdicts(tmp_path, MATTERS, ends)
    found = [steps[n]["delta_previous"]["equivalence_p_value_uncorrected"] for n in "abc"]
    assert found == pytest.approx(raw, abs=1e-12)
    order = np.argsort(raw)
    corrected = np.empty(3)
    corrected[order] = np.maximum.accumulate(np.array(raw)[order] * [3, 2, 1])
    for name, p in zip("abc", corrected, strict=True):
        assert (steps[name]["verdict"] == "equivalent") == (p < 0.05)


def test_averages_over_cells_wait_for_their_trials_and_do_not_count_survivors(
    tmp_path: Path,
) -> None:
    spec = spec_of(
        tmp_path, "design: [roadmap, factorial]" + STEPS.replace("    side:", "    #"), 5
    )
    ends = drawn(spec)
    cell = "factorial.101"
    for end, words in (("failed", "not tested: trials of factorial.101 failed"), (None, "so far")):
        some: dict[str, list[End | None]] = ends | {cell: [*ends[cell][:4], end]}
        [section] = roadmap_of(spec, some).sections
        for line in section.lines:
            assert line.delta is not None
            assert line.delta.adjusted_p_value is None
            assert words in line.delta.caveat


def test_the_variants_of_these_tests_coincide_as_told(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ALL, 5)

    def named(name: str) -> Variant:
        return next(variant for variant in spec.variants if variant.name == name)

    assert named("a").config == named("only.a").config
    assert named("b").config == named("without.c").config
