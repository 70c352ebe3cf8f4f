"""Any metric that trainings record may be compared; further ones are described beside it, never
tested.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented import digest, records, roadmap_of, snapshot_of, spec_of
from scipy import stats

from orchestrator.analysis.roadmap import Roadmap, StepRow, build_roadmap, other_metric
from orchestrator.errors import SpecError, UsageError
from orchestrator.metrics import (
    AVERAGED,
    FOR_REPORT,
    METRICS,
    PEAK_MEMORY,
    decimals_of,
    value_of,
)
from orchestrator.planning.plan import trials_of
from orchestrator.planning.search import _reached
from orchestrator.report.figure import axis_of
from orchestrator.report.formats import render
from orchestrator.report.notes import notes
from orchestrator.report.words import cells, columns
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.tracking.shape import summary_of
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec

BODY = """
metric: {name: val/acc1, also: [train/loss]}
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
    reference: {val/acc1: 74.5, source: a paper}
  - name: causal
    change: {model.attention: causal}
  - name: last
    change: {model.class_token: last}
"""
ENDS: dict[str, list[Any]] = {
    "baseline": [70.0, 71.0, 72.0],
    "rmsnorm": [72.0, 73.5, 74.0],
    "causal": [68.0, ("collapsed", 10.0), 69.5],
    "last": [75.0, 76.0, 78.0],
}


def without(
    metric: str, names: tuple[str, ...], ends: dict[str, list[Any]]
) -> Callable[[TrialSpec], TrialRecord]:
    """The store's answer where the trials of some variants did not record a metric."""
    known = records(ends)

    def record_of(trial: TrialSpec) -> TrialRecord:
        record = known(trial)
        if record.result is None or trial.variant not in names:
            return record
        parts = {
            part: {k: v for k, v in record.result[part].items() if k != metric}
            for part in ("metrics", "best")
        }
        return replace(record, result={**record.result, **parts})

    return record_of


def row(roadmap: Roadmap, name: str) -> StepRow:
    return next(row for row in roadmap.rows if row.variant.name == name)


def problems(folder: Path, metric: str, train: str = "") -> list[str]:
    with pytest.raises(SpecError) as caught:
        spec_of(folder, f"metric: {metric}\nsteps: []{train}")
    return [f"{p.line}:{p.column}: {p.message}" for p in caught.value.problems]


def test_every_metric_of_the_table_is_what_a_training_records(zoo: Path) -> None:
    result = json.loads(next(zoo.glob("runs/zoo/trials/rmsnorm-seed0-*/result.json")).read_text())
    expected = {name for name in METRICS if not name.startswith((*AVERAGED, *FOR_REPORT))}
    assert {name for name in METRICS if value_of(result, name) is not None} == expected
    assert value_of(result, PEAK_MEMORY) == result["peak_memory_bytes"] / 1e9


def test_a_wrong_metric_is_refused_where_it_stands(tmp_path: Path) -> None:
    assert problems(tmp_path, "{name: val/los}") == [
        "8:16: there is no metric 'val/los'; did you mean 'val/loss'?"
    ]
    assert problems(tmp_path, "{also: [train/loss, val/ecce]}") == [
        "8:29: there is no metric 'val/ecce'; did you mean 'val/ece'?"
    ]
    twice = "is listed twice; each metric is shown once"
    assert problems(tmp_path, "{also: [val/acc1, val/ece, val/ece]}") == [
        f"8:17: val/acc1 {twice}",
        f"8:36: val/ece {twice}",
    ]
    assert "has no curve" in problems(tmp_path, f"{{name: {PEAK_MEMORY}}}")[0]


def test_the_mode_of_a_known_metric_need_not_be_said_and_cannot_be_wrong(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "metric: {name: val/ece}").schema.metric.mode == "min"
    assert spec_of(tmp_path, "metric: {name: time/images_per_second}").schema.metric.mode == "max"
    assert problems(tmp_path, "{name: val/ece, mode: max}") == [
        "8:9: mode max would call a worse val/ece an improvement"
    ]


def test_metrics_of_averaged_weights_need_the_average(tmp_path: Path) -> None:
    message = "val_ema/acc1 is recorded with train.ema, which baseline does not have"
    assert problems(tmp_path, "{name: val_ema/acc1}") == [f"8:16: {message}"]
    assert problems(tmp_path, "{also: [val_ema/acc1]}") == [f"8:17: {message}"]
    step = "steps: [{name: ema, change: {train.ema: 0.9}}]"
    assert spec_of(tmp_path, f"metric: {{also: [val_ema/acc1]}}\n{step}").schema.metric.also == [
        "val_ema/acc1"
    ]
    with pytest.raises(SpecError, match="which baseline does not have"):
        spec_of(tmp_path, f"metric: {{name: val_ema/acc1}}\n{step}")


def test_a_further_metric_is_described_over_the_same_seeds_against_the_same_step(
    tmp_path: Path,
) -> None:
    roadmap = roadmap_of(spec_of(tmp_path, BODY), ENDS)
    last = row(roadmap, "last")
    loss = last.also["train/loss"]
    assert loss.values == {
        seed: pytest.approx(2 - value / 100) for seed, value in last.values.items()
    }
    assert last.delta_previous is not None
    assert loss.delta_previous is not None
    assert (
        loss.delta_previous.versus == last.delta_previous.versus == "rmsnorm"
    )  # over the mixed step
    differences = [
        loss.values[seed] - row(roadmap, "rmsnorm").also["train/loss"].values[seed]
        for seed in range(3)
    ]
    interval = stats.t.interval(0.95, 2, sum(differences) / 3, stats.sem(differences))
    assert loss.delta_previous.effect.ci95 == pytest.approx(interval)


def test_a_mixed_step_is_mixed_by_every_metric(tmp_path: Path) -> None:
    causal = row(roadmap_of(spec_of(tmp_path, BODY), ENDS), "causal")
    loss = causal.also["train/loss"]
    assert causal.is_mixed
    assert loss.summary is not None
    assert loss.summary.mean == pytest.approx(2 - (68.0 + 69.5) / 200)
    assert loss.delta_previous is not None
    assert loss.delta_previous.effect.ci95 is None


def test_p_values_are_of_the_sweeps_metric_alone(tmp_path: Path) -> None:
    alone = roadmap_of(spec_of(tmp_path, BODY.replace(", also: [train/loss]", "")), ENDS)
    beside = roadmap_of(spec_of(tmp_path, BODY), ENDS)
    for one, other in zip(alone.rows, beside.rows, strict=True):
        assert one.delta_previous == other.delta_previous
        assert (
            other.also["train/loss"].delta_previous is None
            or other.also["train/loss"].delta_previous.adjusted_p_value is None
        )  # type: ignore[union-attr]
    assert any("train/loss: described, not tested" in note for note in notes(beside))
    assert not any("described" in note for note in notes(alone))


def test_every_format_has_the_columns_and_json_a_key_for_each_step(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path, BODY), ENDS)
    heads = [column.heading for column in columns(roadmap)]
    assert heads.index("Δ train/loss [95 % CI]") == heads.index("train/loss") + 1
    text = cells(roadmap, row(roadmap, "rmsnorm"))[heads.index("train/loss")]
    assert text == "1.2683 ± 0.0104"
    for form in ("table", "html", "md"):
        assert text in render(roadmap, form).decode().replace("\N{NO-BREAK SPACE}", " ")
    assert text.replace("±", r"$\pm$") in render(roadmap, "latex").decode()
    content = json.loads(render(roadmap, "json"))
    assert (content["metric"], content["also"]) == ("val/acc1", ["train/loss"])
    described = content["steps"][1]["also"]["train/loss"]
    assert described["delta_previous"].keys() == {
        "mean",
        "ci95",
        "versus",
        "pairs",
        "std",
        "caveat",
    }
    assert described["mean"] == pytest.approx(1.26833, abs=1e-4)


def test_a_metric_that_older_results_lack_is_blank_and_counted(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, BODY)
    roadmap = build_roadmap(
        snapshot_of(
            spec, trials_of(spec, digest), without("train/loss", ("baseline", "causal"), ENDS)
        )
    )
    at = [column.heading for column in columns(roadmap)].index("train/loss")
    baseline, rmsnorm, causal, last = (cells(roadmap, row)[at : at + 2] for row in roadmap.rows)
    assert (baseline, rmsnorm[1], causal) == (["", ""], "", ["", ""])
    assert "[" in last[1]
    assert [row.delta_previous for row in roadmap.rows] == [
        r.delta_previous for r in roadmap_of(spec, ENDS).rows
    ]
    assert any(note.startswith("train/loss is missing in 6 trials") for note in notes(roadmap))


def test_the_sweeps_own_metric_may_be_missing_as_well(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path,
        BODY.replace("name: val/acc1, also: [train/loss]", "name: train/loss").replace(
            "val/acc1", "value"
        ),
    )
    roadmap = build_roadmap(
        snapshot_of(spec, trials_of(spec, digest), without("train/loss", ("rmsnorm",), ENDS))
    )
    assert [row.variant.name for row in roadmap.rows if row.is_healthy] == [
        "baseline",
        "rmsnorm",
        "last",
    ]
    assert row(roadmap, "rmsnorm").summary is None
    assert row(roadmap, "last").delta_previous is None, (
        "it is held against rmsnorm, and nothing else takes its place"
    )
    render(roadmap, "html")


PUBLISHED = BODY.replace("{val/acc1: 74.5, source", "{train/loss: 1.25, val/acc1: 74.5, source")


def test_figures_of_several_metrics_stand_beside_each(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, PUBLISHED)
    roadmap = roadmap_of(spec, ENDS)
    shown = dict(
        zip(
            [column.heading for column in columns(roadmap)],
            cells(roadmap, row(roadmap, "rmsnorm")),
            strict=True,
        )
    )
    assert (shown["reference"], shown["train/loss reference"]) == ("74.5", "1.25")
    assert row(roadmap, "rmsnorm").variant.reference == {
        "value": 74.5,
        "source": "a paper",
        "also": {"train/loss": 1.25},
    }
    assert row(by(spec, "train/loss"), "rmsnorm").variant.reference == {
        "value": 1.25,
        "source": "a paper",
        "also": {"val/acc1": 74.5},
    }


def test_a_figure_of_a_metric_that_is_not_shown_is_refused_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError,
        match=r"the report does not show train/loss, only val/acc1: add it to metric\.also",
    ) as caught:
        spec_of(tmp_path, PUBLISHED.replace(", also: [train/loss]", ""))
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(13, 17)]
    with pytest.raises(
        SpecError, match="the value of val/acc1, the sweep's metric, is missing here"
    ):
        spec_of(tmp_path, PUBLISHED.replace("val/acc1: 74.5, ", ""))


def test_averages_over_a_design_leave_out_cells_that_lack_the_metric(tmp_path: Path) -> None:
    body = "metric: {name: train/loss}\ndesign: factorial\nsteps:\n" + BODY.partition("steps:\n")[2]
    spec = spec_of(tmp_path, re.sub(r"    reference.*\n", "", body))
    lacking = "factorial.010"
    ends = {variant.name: [70.0 + len(variant.cell.steps), 71.0, 73.0] for variant in spec.variants}
    [section] = build_roadmap(
        snapshot_of(spec, trials_of(spec, digest), without("train/loss", (lacking,), ends))
    ).sections
    assert list(section.left_out) == [f"{lacking}: no trial recorded the metric"]
    assert [line.delta is not None for line in section.lines if line.kind == "effect"] == [True] * 3


def by(spec: SweepSpec, name: str, mode: Any = None) -> Roadmap:
    trials, record_of = trials_of(spec, digest), records(ENDS)
    results = [result for trial in trials if (result := record_of(trial).result)]
    return build_roadmap(
        snapshot_of(spec, trials, record_of), other_metric(spec.schema.metric, name, mode, results)
    )


def test_the_same_roadmap_by_another_metric_says_that_it_is_not_the_sweeps(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, BODY)
    other = by(spec, "train/loss")
    assert (other.metric, other.mode, other.own_metric, other.also) == (
        "train/loss",
        "min",
        "val/acc1",
        ["val/acc1"],
    )
    own = roadmap_of(
        spec_of(
            tmp_path,
            BODY.replace("val/acc1, also: [train/loss]", "train/loss").replace("val/acc1", "value"),
        ),
        ENDS,
    )
    assert [row.delta_previous for row in other.rows] == [row.delta_previous for row in own.rows]
    assert row(other, "rmsnorm").variant.reference is None, "it is a figure of the sweep's metric"
    assert any("own metric is val/acc1" in note for note in notes(other))
    assert not any("own metric" in note for note in notes(by(spec, "val/acc1")))


def test_what_nobody_recorded_cannot_be_reported(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, BODY)
    with pytest.raises(
        UsageError, match="no trial has recorded 'train/los'; did you mean 'train/loss'"
    ):
        by(spec, "train/los")
    with pytest.raises(UsageError, match="would call a worse val/loss an improvement"):
        by(spec, "val/loss", "max")


def test_a_metric_of_somebody_elses_needs_a_direction() -> None:
    own, results = (
        MetricSchema(name="my/score", mode="min"),
        [{"metrics": {"my/score": 3.0, "my/gain": 1.0}}],
    )
    assert other_metric(own, "my/score", None, results).mode == "min"
    assert other_metric(own, "my/gain", "max", results).also == ["my/score"]
    with pytest.raises(UsageError, match="add --mode max or --mode min"):
        other_metric(own, "my/gain", None, results)
    with pytest.raises(UsageError, match="has a result yet, so none has 'my/gain'"):
        other_metric(own, "my/gain", None, [])


def test_a_search_that_goes_by_what_was_not_recorded_says_so(tmp_path: Path) -> None:
    [trial, *_] = trials_of(spec_of(tmp_path, BODY), digest)
    record = without("train/loss", ("baseline",), ENDS)(trial)
    with pytest.raises(
        UsageError,
        match=r"baseline-seed0 has no train/loss, which its search optimizes.*Delete /runs",
    ):
        _reached(KnownTrial(trial, record), "train/loss", MetricSchema(name="train/loss"))


@pytest.mark.parametrize(
    ("values", "decimals"), [([0.0312], 5), ([0.5, 2.3], 3), ([123456.0], 0), ([0.0], 2), ([], 2)]
)
def test_unknown_metrics_are_shown_with_four_digits(values: list[float], decimals: int) -> None:
    assert decimals_of("my/score", values) == decimals


def test_mlflow_has_the_described_metrics_without_p_values(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, BODY)
    summary = summary_of(spec, row(roadmap_of(spec, ENDS), "rmsnorm"), is_whole=True)
    assert summary.metrics["train/loss"] == pytest.approx(1.26833, abs=1e-4)
    assert {
        "train/loss_std",
        "train/loss_ci95_low",
        "delta_previous/train/loss/mean",
    } <= summary.metrics.keys()
    assert "delta_previous/p_value" in summary.metrics
    assert "delta_previous/train/loss/p_value" not in summary.metrics


def test_the_command_reports_by_another_metric(cli: Callable[..., Any], zoo: Path) -> None:
    found = cli(
        "report", "zoo", "--store", zoo / "runs", "--metric", "train/loss", "--format", "json"
    )
    assert (found.code, found.json["metric"], found.json["own_metric"]) == (
        0,
        "train/loss",
        "val/acc1",
    )
    assert found.json["also"] == ["val/acc1", "val/ece"]
    other = zoo / "other.yaml"
    other.write_text((zoo / "zoo.yaml").read_text().replace("name: zoo", "name: other"))
    both = cli(
        "compare", "zoo", other, "--store", zoo / "runs", "--metric", "val/ece", "--format", "json"
    )
    assert (both.code, both.json["metric"]) == (0, "val/ece")
    assert cli("report", "zoo", "--store", zoo / "runs", "--metric", "val/nothing").code == 2
    assert cli("report", "zoo", "--store", zoo / "runs", "--mode", "max").code == 2


def test_an_axis_goes_below_zero_only_where_values_do(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path, BODY), {**ENDS, "baseline": [1.0, 40.0, 90.0]})
    assert axis_of(roadmap.rows, "val/acc1").low == 0
    negative = [
        replace(row, values={seed: -value for seed, value in row.values.items()})
        for row in roadmap.rows
    ]
    assert axis_of(negative, "my/score").low < -90
