"""Does a step do the same in every regime?"""

import json
from pathlib import Path

import numpy as np
import pytest
from invented import End, roadmap_of, spec_of

from orchestrator.report.comparison import compare, comparison_markdown, select
from orchestrator.report.formats import render

BODY = """
regimes: {one: {}, two: {train.lr: 1e-3}}
steps: [{name: a, change: {model.norm: rmsnorm}}, {name: b, change: {model.position: rope}}]
"""
ENDS: dict[str, list[End | None]] = {
    "one/baseline": [80.0, 80.5, 79.5, 80.2],
    "one/a": [81.0, 81.4, 80.6, 81.3],
    "one/b": [81.3, 81.2, 80.9, 81.5],
    "two/baseline": [70.0, 70.5, 69.5, 70.2],
    "two/a": [74.0, 74.4, 73.4, 74.5],
    "two/b": [74.1, 74.6, 73.2, 74.4],
}


def effects(step: str, before: str) -> tuple[np.ndarray, np.ndarray]:
    here, there = (
        np.array(ENDS[f"{regime}/{step}"], dtype=float)
        - np.array(ENDS[f"{regime}/{before}"], dtype=float)
        for regime in ("two", "one")
    )
    return here, there


@pytest.mark.parametrize("test", ["paired", "welch"])
def test_the_difference_of_effects_has_its_interval_and_no_p(tmp_path: Path, test: str) -> None:
    from scipy import stats

    spec = spec_of(tmp_path, f"metric: {{test: {test}}}\n" + BODY, 4)
    roadmap = roadmap_of(spec, ENDS)
    found = json.loads(json.dumps(roadmap.to_json()))["regimes"]
    assert [(one["step"], one["regime"], one["versus_regime"]) for one in found] == [
        ("a", "two", "one"),
        ("b", "two", "one"),
    ]
    here, there = effects("a", "baseline")
    result = (
        stats.ttest_rel(here, there)
        if test == "paired"
        else stats.ttest_ind(here, there, equal_var=False)
    )
    assert found[0]["mean"] == pytest.approx(here.mean() - there.mean())
    assert found[0]["ci95"] == pytest.approx(tuple(result.confidence_interval(0.95)), abs=1e-12)
    assert "p_value" not in found[0]


@pytest.mark.parametrize("form", ["table", "md", "latex", "html"])
def test_every_format_shows_it(tmp_path: Path, form: str) -> None:
    text = render(roadmap_of(spec_of(tmp_path, BODY, 4), ENDS), form).decode()
    assert "than in the first one: described, not tested." in text


def test_a_step_that_is_held_against_different_steps_is_left_out(tmp_path: Path) -> None:
    ends: dict[str, list[End | None]] = ENDS | {"two/a": [("collapsed", 10.0)] * 4}
    assert [
        one["step"] for one in roadmap_of(spec_of(tmp_path, BODY, 4), ends).to_json()["regimes"]
    ] == ["a"]


def test_two_regimes_side_by_side_test_levels_and_effects_as_one_family(tmp_path: Path) -> None:
    from scipy import stats

    roadmap = roadmap_of(spec_of(tmp_path, BODY, 4), ENDS)
    comparison = compare(select(roadmap, "x", "one"), select(roadmap, "x", "two"))
    value = json.loads(json.dumps(comparison.to_json()))
    assert value["family"]["size"] == 3 + 2
    here, there = effects("b", "a")
    found = value["steps"][2]["difference_of_effects"]
    assert found["p_value_uncorrected"] == pytest.approx(
        stats.ttest_rel(here, there).pvalue, abs=1e-12
    )
    assert "5 comparisons: all that this table tests" in comparison_markdown(comparison)
    assert (
        value["steps"][1]["left"]["delta_previous"]["p_value"]
        == (roadmap.to_json()["steps"][1]["delta_previous"]["p_value"])
    )
