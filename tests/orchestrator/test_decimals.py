"""Decimals that show the spread, and never round a finding away."""

import re
from pathlib import Path

import pytest
from invented import snapshot_of, spec_of

from orchestrator.analysis.decimals import decimals_of_effect, decimals_of_values
from orchestrator.analysis.effects import StepEffect
from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.plan import trials_of
from orchestrator.report.words import cells, number_text, p_text
from orchestrator.stats.inference import effect_of, summarise
from orchestrator.trial import TrialRecord, TrialSpec

OWN = """
name: own
metric: {{name: error, mode: min}}
seeds: [0, 1, 2, 3, 4]
baseline: {{train: {{name: "own_training:train"}}}}
steps: [{{name: a, change: {{train.x: 1}}}}]
"""


def roadmap_of(tmp_path: Path, base: list[float], a: list[float]) -> Roadmap:
    (tmp_path / "own_training.py").write_text("def train(*, x: int = 0, seed): ...\n")
    spec = spec_of(tmp_path, "", head=OWN)
    values = {"baseline": base, "a": a}

    def record_of(trial: TrialSpec) -> TrialRecord:
        metrics = {"error": values[trial.variant][trial.seed]}
        result = {"outcome": "finished", "metrics": metrics, "best": metrics, "seconds": 1.0}
        return TrialRecord(State.DONE, Outcome.FINISHED, attempts=1, result=result)

    return build_roadmap(snapshot_of(spec, trials_of(spec, lambda _: "none"), record_of))


def shown(tmp_path: Path, base: list[float], a: list[float]) -> tuple[str, str]:
    roadmap = roadmap_of(tmp_path, base, a)
    value, delta = cells(roadmap, roadmap.rows[1])[2:4]
    return value, delta


@pytest.mark.slow
def test_residuals_of_1e_10_are_numbers_like_others(tmp_path: Path) -> None:
    base = [3e-10, 3.3e-10, 2.9e-10, 3.1e-10, 3e-10]
    roadmap = roadmap_of(tmp_path, base, [3e-12, 2e-12, 4e-12, 3e-12, 2.5e-12])
    delta = roadmap.rows[1].delta_previous
    assert delta is not None
    assert delta.is_decided
    assert delta.caveat == ""
    value, difference = cells(roadmap, roadmap.rows[1])[2:4]
    assert value == "2.900e-12 ± 7.42e-13"
    assert difference == "-3.03e-10 [-3.23e-10, -2.84e-10]"


@pytest.mark.slow
def test_a_small_difference_of_large_numbers_is_not_rounded_away(tmp_path: Path) -> None:
    value, delta = shown(
        tmp_path,
        [1234.1, 1230.2, 1240.3, 1236.4, 1233.9],
        [1233.7, 1229.8, 1239.95, 1235.98, 1233.5],
    )
    assert value == "1234.6 ± 3.7"
    assert delta == "-0.394 [-0.426, -0.362]"


def test_a_small_value_gives_no_more_digits_to_its_difference_from_a_large_one(
    tmp_path: Path,
) -> None:
    value, delta = shown(
        tmp_path, [3.201, 3.204, 3.198, 3.203, 3.199], [1e-4, 1.001e-4, 0.999e-4, 1e-4, 1.002e-4]
    )
    assert value == "1.0004e-04 ± 1.1e-07"
    assert delta == "-3.2009 [-3.2041, -3.1977]"


@pytest.mark.slow
def test_an_accuracy_near_its_end_shows_its_spread(tmp_path: Path) -> None:
    value, delta = shown(
        tmp_path, [99.90, 99.91, 99.92, 99.90, 99.93], [99.95, 99.96, 99.98, 99.95, 99.97]
    )
    assert value == "99.962 ± 0.013"
    assert delta == "+0.0500 [+0.0412, +0.0588]"


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-3, 1.0, 1e3, 1e9])
def test_the_end_nearer_to_0_is_not_shown_as_0_at_any_scale(tmp_path: Path, scale: float) -> None:
    base = [scale * one for one in (5.0, 5.3, 4.9, 5.1, 5.02)]
    shifts = (1e-3, 2e-3, 3e-3, 2.2e-3, 1.9e-3)
    better = [one + scale * shift for one, shift in zip(base, shifts, strict=True)]
    _, delta = shown(tmp_path, base, better)
    numbers = [float(one) for one in re.findall(r"[-+][\d.]+(?:e[-+]\d+)?", delta)]
    assert len(numbers) == 3
    assert all(numbers)


def test_usual_decimals_are_kept() -> None:
    values = [93.1, 94.2, 92.5]
    assert decimals_of_values("val/acc1", values, summarise(values)) == 2
    assert decimals_of_values("val/loss", values, summarise(values)) == 4
    effect = effect_of([1.0, 2.0, 4.0])
    assert decimals_of_effect(effect, 2) == 2
    assert decimals_of_effect(None, 3) == 3


def test_no_number_has_a_minus_that_means_nothing() -> None:
    assert number_text(-0.001, 2, "+") == "+0.00"
    assert number_text(0.0, 9, "+") == "0"
    assert number_text(1.2345678e9, -6) == "1.235e+09"


def test_only_what_is_small_is_written_with_a_power_of_ten() -> None:
    assert number_text(-0.0311964, 7) == "-0.0311964"
    assert number_text(0.0030026, 7) == "0.0030026"
    assert number_text(0.000281, 7, "+") == "+2.810e-04"


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0004, "<0.001"),
        (0.012, "0.012"),
        (0.0498, "0.0498"),
        (0.04998, "0.04998"),
        (0.0501, "0.050"),
        (0.05, "0.050"),
        (1.0, "1.000"),
    ],
)
def test_a_p_value_is_never_rounded_to_the_other_side_of_the_level(p: float, shown: str) -> None:
    assert p_text(StepEffect(None, "baseline", adjusted_p_value=p)) == shown
