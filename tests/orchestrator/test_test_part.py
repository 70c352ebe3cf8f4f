"""Validation images choose; where there is a test part, the report reads that, and the plan says
where there is none.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from invented import digest, lookup_of, records, snapshot_of, spec_of

from orchestrator.analysis.family import Rules
from orchestrator.analysis.roadmap import Roadmap, build_roadmap, other_metric
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.analysis.steps import judged_steps
from orchestrator.errors import SpecError
from orchestrator.metrics import METRICS, decimals_of, reported_name
from orchestrator.planning import adaptive
from orchestrator.planning.plan import trials_of
from orchestrator.report.notes import notes
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.spec.warnings import warnings_of
from orchestrator.tracking.shape import summary_of
from orchestrator.trial import TrialRecord, TrialSpec

BODY = """
reference: {val/acc1: 72.0, val/ece: 0.1, source: a paper}
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
  - name: causal
    change: {model.attention: causal}
"""
METRIC = "metric: {name: val/acc1, also: [val/ece]}\n"
ENDS = {"baseline": [70.0, 71.0, 72.0], "rmsnorm": [72.0, 74.0, 73.0], "causal": [60.0, 61.0, 63.0]}


def with_test(folder: Path, body: str, share: str = "test_fraction: 0.2") -> SweepSpec:
    data = f"data: {{{{name: digits, {share}}}}}"
    head = (
        f"name: invented\nseeds: [{{seeds}}]\nbaseline:\n  model: {{{{name: vit_digits}}}}\n"
        f"  {data}\n"
    )
    head += "  train: {{epochs: 6, batch_size: 64, lr: 2e-3}}\n"
    return spec_of(folder, body, head=head)


def measured(trial: TrialSpec) -> TrialRecord:
    """The test part is 5 points harder, and 8 for the epoch that validates best."""
    known = records(ENDS)(trial)
    assert known.result is not None
    result = dict(known.result)
    for part, loss in (("metrics", 5.0), ("best", 8.0)):
        of_val = result[part] | {"val/ece": 0.2}
        result[part] = of_val | {"test/acc1": of_val["val/acc1"] - loss, "test/ece": 0.3}
    return replace(known, result=result)


def report(spec: SweepSpec, metric: MetricSchema | None = None) -> Roadmap:
    return build_roadmap(snapshot_of(spec, trials_of(spec, digest), measured), metric)


def values(roadmap: Roadmap) -> list[float]:
    return [*roadmap.rows[0].values.values()]


def codes(spec: SweepSpec) -> list[str]:
    return [warning.code for warning in warnings_of(spec)]


@pytest.mark.parametrize(
    ("metric", "reported"),
    [
        ("val/acc1", "test/acc1"),
        ("val_ema/loss", "test_ema/loss"),
        ("train/loss", "train/loss"),
        ("memory/peak_gb", "memory/peak_gb"),
    ],
)
def test_the_report_reads_the_same_metric_of_the_test_part(metric: str, reported: str) -> None:
    assert reported_name(metric, has_test_part=True) == reported
    assert reported_name(metric, has_test_part=False) == metric
    assert METRICS[reported].mode == METRICS[metric].mode
    assert decimals_of(reported) == decimals_of(metric)


def test_validation_chooses_and_the_test_part_is_reported(tmp_path: Path) -> None:
    spec = with_test(tmp_path, METRIC + BODY)
    roadmap = report(spec)
    assert (roadmap.metric, roadmap.chosen_by, roadmap.also) == (
        "test/acc1",
        "val/acc1",
        ["test/ece"],
    )
    assert values(roadmap) == [65.0, 66.0, 67.0]
    described = roadmap.to_json()
    assert (described["metric"], described["chosen_by"]) == ("test/acc1", "val/acc1")
    reference = {"value": 72.0, "source": "a paper", "also": {"test/ece": 0.1}}
    assert described["steps"][0]["reference"] == reference
    text = "\n".join(notes(roadmap))
    assert "no choice used the images of test/acc1" in text
    assert "uses another one" not in text
    metrics = summary_of(spec, roadmap.rows[1], is_whole=True).metrics
    assert metrics["test/acc1"] == pytest.approx(68.0)
    assert "val/acc1" not in metrics


def test_without_a_test_part_all_is_as_before(tmp_path: Path) -> None:
    spec = with_test(tmp_path, METRIC + BODY, "val_fraction: 0.3")
    roadmap = report(spec)
    assert (roadmap.metric, roadmap.chosen_by, roadmap.own_metric) == ("val/acc1",) * 3
    assert values(roadmap) == [70.0, 71.0, 72.0]
    assert "chosen by" not in "\n".join(notes(roadmap))


def test_the_best_epoch_is_chosen_by_validation_and_read_on_the_test_part(tmp_path: Path) -> None:
    metric = "metric: {name: val/acc1, epoch: best, also: [val/ece]}\n"
    spec = with_test(tmp_path, metric + BODY)
    assert values(report(spec)) == [70.0 + 1 - 8, 71.0 + 1 - 8, 72.0 + 1 - 8]
    assert "biased upwards" not in "\n".join(notes(report(spec)))
    assert not {"best-epoch", "chosen-on-report-images"} & {*codes(spec)}
    without = with_test(tmp_path, metric + BODY, "val_fraction: 0.3")
    assert "biased upwards" in "\n".join(notes(report(without)))
    assert {"best-epoch", "chosen-on-report-images"} <= {*codes(without)}


def test_one_variant_without_a_test_part_leaves_the_report_on_validation(tmp_path: Path) -> None:
    regimes = "regimes:\n  apart: {}\n  whole: {data.test_fraction: 0.0}\n"
    spec = with_test(tmp_path, METRIC + BODY + regimes)
    assert not spec.has_test_part
    assert spec.reported_metric == spec.schema.metric


def test_added_seeds_go_by_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def remembered(snapshot: Snapshot, rules: Rules) -> Any:
        seen.append(rules.metric.name)
        return judged_steps(snapshot, rules)

    monkeypatch.setattr(adaptive, "judged_steps", remembered)
    path = with_test(tmp_path, METRIC + BODY).path
    path.write_text(path.read_text().replace("[0, 1, 2]", "{start: 3, max: 6}"))
    spec = load_spec(path)
    adaptive.more_seeds(spec, lookup_of(spec, measured))
    assert set(seen) == {"val/acc1"}
    assert "chosen-on-report-images" not in codes(spec)


def test_another_metric_is_read_as_it_is_named(tmp_path: Path) -> None:
    spec = with_test(tmp_path, METRIC + BODY)
    asked = other_metric(spec.reported_metric, "val/acc1", None, [])
    assert asked.also == ["test/acc1", "test/ece"]
    roadmap = report(spec, asked)
    assert roadmap.metric == "val/acc1"
    assert values(roadmap) == [70.0, 71.0, 72.0]
    assert (roadmap.rows[0].variant.reference or {})["value"] == 72.0
    assert "The sweep's own metric is test/acc1" in "\n".join(notes(roadmap))


@pytest.mark.parametrize("name", ["test/acc1", "test_ema/loss"])
def test_nothing_is_chosen_by_the_test_part(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_test(tmp_path, f"metric: {{name: {name}}}\n" + BODY)
    [problem] = [p for p in caught.value.problems if p.message.startswith(name)]
    assert problem.message.endswith(f"write {name.replace('test', 'val')}")


SEARCH = "search: {space: {train.lr: [1e-3, 2e-3]}, sampler: grid}\n"


@pytest.mark.parametrize(
    ("data", "control"),
    [
        ("name: digits", "{name: digits, val_fraction: 0.25, test_fraction: 0.2}"),
        ("name: cifar10", "{name: cifar10, val_fraction: 0.1, test: official}"),
    ],
)
def test_a_search_on_the_images_that_the_report_counts_is_warned_of(
    tmp_path: Path, data: str, control: str
) -> None:
    model = "model: {{name: vit_digits, img_size: 32, in_chans: 3}}"
    head = f"name: invented\nseeds: [{{seeds}}]\nbaseline:\n  {model}\n  data: {{{{{data}}}}}\n"
    head += "  train: {{epochs: 6, batch_size: 64, lr: 2e-3}}\n"
    spec = spec_of(tmp_path, SEARCH + "steps: []\n", head=head, seeds=6)
    [warning] = [w for w in warnings_of(spec) if w.code == "chosen-on-report-images"]
    assert warning.line == spec.content.decode().splitlines().index(SEARCH.strip()) + 1
    assert "val/acc1 selects the settings found by a search" in warning.message
    assert warning.control == f"baseline:\n  data: {control}"
    healed = head.replace(f"{{{{{data}}}}}", control.replace("{", "{{").replace("}", "}}"))
    spec = spec_of(tmp_path, SEARCH + "steps: []\n", head=healed, seeds=6)
    assert "chosen-on-report-images" not in codes(spec)
    assert spec.reported_metric.name == "test/acc1"
