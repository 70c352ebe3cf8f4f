"""One variant against another: what is missing is not missing by chance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from invented import HEAD, End, roadmap_of, spec_of

from orchestrator.analysis.effects import StepEffect
from orchestrator.report.notes import caveats, notes
from orchestrator.report.tables import line_cells
from orchestrator.report.words import cells, columns, delta_text
from orchestrator.stats.rates import Rate, Rates
from orchestrator.stats.sign_flips import sign_flip_interval
from orchestrator.text import spaced

ONE = "steps: [{name: a, change: {model.norm: rmsnorm}}]"
BASE: list[End | None] = [80.0, 80.5, 79.5, 80.2, 80.1, 79.9]
BETTER: list[End | None] = [81.0, 81.4, 80.6, 81.3, 81.2, 80.8]


def delta_of(
    tmp_path: Path, a: list[End | None], base: list[End | None] = BASE, body: str = ONE
) -> StepEffect:
    delta = roadmap_of(spec_of(tmp_path, body, len(base)), {"baseline": base, "a": a}).rows[1]
    assert delta.delta_previous is not None
    return delta.delta_previous


@pytest.mark.parametrize("end", ["failed", "timed_out", "out_of_memory", "diverged", "pruned"])
def test_a_seed_that_came_to_nothing_withholds_the_test_of_the_mean(
    tmp_path: Path, end: str
) -> None:
    from scipy import stats

    delta = delta_of(tmp_path, [*BETTER[:5], end])
    assert delta.effect is not None
    assert (delta.effect.p_value, delta.effect.ci95, delta.effect.pairs) == (None, None, 5)
    assert delta.rates == Rates(Rate(1, 6, spaced(end)), Rate(0, 6))
    assert delta.p_value == pytest.approx(stats.fisher_exact([[1, 5], [0, 6]]).pvalue, abs=1e-12)
    assert f"1 of 6 {spaced(end)} against 0 of 6" in delta_text(delta)
    assert delta.verdict == "open"


def test_seeds_that_come_to_nothing_may_themselves_be_the_finding(tmp_path: Path) -> None:
    ends: list[End | None] = [*BETTER[:1], *["diverged"] * 3, "failed", "failed"]
    spec = spec_of(tmp_path, "metric: {matters: 0.5}\n" + ONE, 6)
    roadmap = roadmap_of(spec, {"baseline": BASE, "a": ends})
    step: dict[str, Any] = json.loads(json.dumps(roadmap.to_json()))["steps"][1]
    assert step["verdict"] == "worse"
    assert step["test"] == "fisher"
    assert step["rates"]["here"] == {
        "bad": 5,
        "of": 6,
        "ci95": pytest.approx([0.3588, 0.9958], abs=1e-4),
    }
    assert step["rates"]["p_value_uncorrected"] == pytest.approx(
        12 / 792
    )  # 5 of 12, of one side 5 or 0
    assert step["delta_previous"]["p_value"] == step["rates"]["p_value_uncorrected"]
    assert step["delta_previous"]["probability_of_improvement"] == pytest.approx(1 / 6)
    assert any("Fisher's exact test" in note for note in notes(roadmap))
    assert "3 diverged, 2 failed" in caveats(roadmap)[0]


def test_figures_that_are_still_to_come_decide_nothing(tmp_path: Path) -> None:
    delta = delta_of(tmp_path, [*BETTER[:4], None, None])
    assert delta.effect is not None
    assert (delta.p_value, delta.adjusted_p_value, delta.verdict) == (None, None, None)
    assert delta.caveat == "4 of 6 seeds so far"
    assert delta.effect.ci95 is not None  # a description
    mixed = delta_of(tmp_path, [*BETTER[:3], "diverged", None, None])
    assert mixed.p_value is None
    assert mixed.caveat == "4 of 6 seeds so far; 1 of 4 diverged against 0 of 6"


def test_a_collapse_with_every_seed_is_a_difference_of_means(tmp_path: Path) -> None:
    delta = delta_of(tmp_path, [("collapsed", 10.0 + 0.1 * seed) for seed in range(6)])
    assert delta.rates is None
    assert delta.effect is not None
    assert delta.effect.p_value == delta.p_value
    assert delta.verdict == "worse"
    assert delta.improvement == 0.0


@pytest.mark.parametrize("test", ["paired", "welch", "sign_flip"])
def test_the_spec_declares_the_test(tmp_path: Path, test: str) -> None:
    from scipy import stats

    spec = spec_of(tmp_path, f"metric: {{test: {test}}}\n" + ONE, 6)
    roadmap = roadmap_of(spec, {"baseline": BASE, "a": BETTER})
    value: dict[str, Any] = json.loads(json.dumps(roadmap.to_json()))
    step, delta = value["steps"][1], value["steps"][1]["delta_previous"]
    here, there = np.array(BETTER, dtype=float), np.array(BASE, dtype=float)
    paired, welch = stats.ttest_rel(here, there), stats.ttest_ind(here, there, equal_var=False)
    expected = {"paired": paired.pvalue, "welch": welch.pvalue, "sign_flip": 2 / 2**6}[test]
    assert (step["test"], value["test"]) == (test, test)
    assert delta["p_value"] == pytest.approx(expected, abs=1e-12)
    if test == "sign_flip":
        assert tuple(delta["ci95"]) == sign_flip_interval((here - there).tolist())
    else:
        interval = {"paired": paired, "welch": welch}[test].confidence_interval(0.95)
        assert delta["ci95"] == pytest.approx(tuple(interval), abs=1e-12)
    assert step["correlation"] == pytest.approx(np.corrcoef(here, there)[0, 1])
    words = {"paired": "paired t-tests", "welch": "Welch's t-tests", "sign_flip": "sign-flip tests"}
    assert any(words[test] in note for note in notes(roadmap))
    assert any("median correlation over seeds" in note for note in notes(roadmap))


def test_the_test_is_no_part_of_what_a_trial_is(tmp_path: Path) -> None:
    from invented import digest

    from orchestrator.planning.plan import trials_of

    plain, *others = (
        [trial.fingerprint for trial in trials_of(spec_of(tmp_path, head + ONE, 2), digest)]
        for head in ("", "metric: {test: welch, matters: 0.5}\n", "family: [roadmap]\n")
    )
    assert others == [plain, plain]


def test_averages_over_cells_flip_signs_too(tmp_path: Path) -> None:
    body = "metric: {test: sign_flip}\ndesign: factorial\n" + ONE.replace(
        "}}]", "}}, {name: b, change: {model.position: rope}}]"
    )
    spec = spec_of(tmp_path, body, 6)
    generator = np.random.default_rng(0)
    ends: dict[str, list[End | None]] = {
        v.name: [*generator.normal(80, 1, 6)] for v in spec.variants
    }
    lines = roadmap_of(spec, ends).to_json()["designs"][0]["effects"]
    assert [line["test"] for line in lines] == ["sign_flip"] * 3
    assert all(line["p_value_uncorrected"] == line["p_value_sign_flip"] for line in lines)


SEARCHED = HEAD.replace("seeds: [{seeds}]", "seeds: {{start: 3, max: 6, until: decided}}")


def test_a_look_that_lost_a_seed_is_taken_and_tested_by_rates(tmp_path: Path) -> None:
    from scipy import stats

    from orchestrator.analysis.comparisons import effect_against

    rows = roadmap_of(
        spec_of(tmp_path, ONE, 6), {"baseline": BASE, "a": [*BETTER[:5], "failed"]}
    ).rows
    delta = effect_against(rows[1], rows[0], (3, 6))
    assert delta is not None
    differences = np.array(BETTER[:3], dtype=float) - np.array(BASE[:3], dtype=float)
    first = stats.ttest_1samp(differences, 0).pvalue
    assert delta.p_value == pytest.approx(2 * min(first, 1.0), abs=1e-12)
    failed: list[End | None] = ["failed"] * 5
    lost = roadmap_of(spec_of(tmp_path, ONE, 6), {"baseline": BASE, "a": failed + BETTER[:1]}).rows
    rates = effect_against(lost[1], lost[0], (3, 6))
    assert rates is not None
    second = stats.fisher_exact([[5, 1], [0, 6]]).pvalue
    assert rates.p_value == pytest.approx(2 * second, abs=1e-12)


def test_added_seeds_are_tested_at_their_looks(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, ONE, head=SEARCHED)
    [_, row] = roadmap_of(spec, {"baseline": BASE[:3], "a": BETTER[:3]}).rows
    delta = row.delta_previous
    assert delta is not None
    assert delta.effect is not None
    assert delta.p_value == delta.effect.p_value
    differences = np.array(BETTER[:3], dtype=float) - np.array(BASE[:3], dtype=float)
    from scipy import stats

    assert delta.p_value == pytest.approx(2 * stats.ttest_1samp(differences, 0).pvalue)


def test_what_an_effect_is_held_against_is_said(tmp_path: Path) -> None:
    """Unless it is the step before on the road, which the note says."""
    body = """
design: [roadmap, one_factor]
steps:
  - name: a
    change: {model.norm: rmsnorm}
  - name: b
    change: {model.position: rope}
    side:
      aside: {model.feed_forward: swiglu}
      on_base: {on: baseline, change: {model.position: rope}}
  - {name: c, change: {model.class_token: last}}
"""
    spec = spec_of(tmp_path, body, 3)
    generator = np.random.default_rng(0)
    ends: dict[str, list[End | None]] = {
        v.name: [*generator.normal(80, 1, 3)] for v in spec.variants
    }
    shown = {
        row.variant.name: cells(roadmap, row)[3]
        for roadmap in [roadmap_of(spec, ends)]
        for row in roadmap.rows
    }
    assert " vs baseline" in shown["on_base"]
    assert not any(" vs " in shown[name] for name in ("a", "b", "aside", "c"))
    ends["b"] = [("collapsed", 10.0)] * 3
    after = roadmap_of(spec, ends)
    assert " vs a" in cells(after, after.rows[-1])[3]
    [section] = after.sections
    assert all(" vs baseline" in line_cells(line)[1] for line in section.lines)
    assert "Δ [95 % CI]" in [column.heading for column in columns(after)]
