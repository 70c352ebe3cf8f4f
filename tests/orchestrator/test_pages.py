"""MLflow opens on a sweep as a sweep is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented import NORM, roadmap_of, spec_of
from mlflow import MlflowClient

from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.tracking.pages import address_of, page_tags, search_pages
from orchestrator.tracking.report import note_of

LR = "{space: {train.lr: {low: 5e-4, high: 5e-2, log: true}}, trials: 4}"
SEARCHED = f"""
steps:
  - {{name: norm, change: {{model.norm: rmsnorm}}, search: {LR}}}
  - {{name: wide, change: {{model.embed_dim: 128}}, search: {LR}}}
"""


@pytest.mark.slow
def test_the_pages_that_addresses_name_are_in_the_experiment_and_show_what_its_runs_have(
    zoo: Path, cli: Callable[..., Any], new_mlflow: Callable[..., str]
) -> None:
    client = MlflowClient(new_mlflow())
    assert cli("sync", zoo / "zoo.yaml", "--store", zoo / "runs").code == 0
    experiment = client.get_experiment_by_name("zoo")
    runs = client.search_runs([experiment.experiment_id])
    metrics, params = (
        {key for run in runs for key in run.data.metrics},
        {key for run in runs for key in run.data.params},
    )
    for page in ("roadmap", "curves"):
        assert f"viewStateShareKey={page}" in address_of(experiment.experiment_id, page)
        assert address_of(experiment.experiment_id, page) in experiment.tags["mlflow.note.content"]
        assert f"mlflow.sharedViewState.{page}" in experiment.tags
    columns = json.loads(experiment.tags["mlflow.sharedViewState.roadmap"])["selectedColumns"]
    assert {column.split("`")[1] for column in columns if column.startswith("metrics.")} <= metrics
    curves = json.loads(experiment.tags["mlflow.sharedViewState.curves"])
    assert (
        {chart["metricKey"] for chart in curves["compareRunCharts"]}
        == {"val/acc1", "val/ece", "train/loss"}
        <= metrics
    )
    assert {key["groupByData"] for key in curves["groupBy"]["groupByKeys"]} <= params
    order = f"{curves['orderByKey']} {'ASC' if curves['orderByAsc'] else 'DESC'}"
    found = client.search_runs([experiment.experiment_id], curves["searchFilter"], order_by=[order])
    assert len(found) == 10, "every trial, and no run of a variant"
    starts = [run.info.start_time for run in found]
    assert starts == sorted(starts)
    note = experiment.tags["mlflow.note.content"]
    [report] = [run.info.run_id for run in runs if run.info.run_name == "roadmap"]
    assert f"/runs/{report}/artifacts?workflowType=machine_learning)" in note


def test_the_description_has_no_backslash_that_mlflow_would_show(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, NORM, seeds=6)
    seeds = range(6)
    ends = {"baseline": [50 + n / 10 for n in seeds], "norm": [80 + n / 9 for n in seeds]}
    note = note_of(spec, roadmap_of(spec, ends))
    assert "&lt;0.001" in note
    assert "\\<" not in note


@pytest.mark.parametrize("page", ["curves", "search1"])
def test_charts_of_trials_are_without_the_runs_that_these_are_below(
    tmp_path: Path, page: str
) -> None:
    """The UI adds those where runs are in the order of its own key."""
    assert page_of(spec_of(tmp_path, SEARCHED), page)["orderByKey"] != "attributes.start_time"


def test_curves_of_different_regimes_are_not_averaged(tmp_path: Path) -> None:
    regimes = "regimes: {short: {train.epochs: 2}, long: {train.epochs: 4}}\n"
    for body, keys in ((NORM, ["variant"]), (NORM + regimes, ["regime", "variant"])):
        groups = page_of(spec_of(tmp_path, body), "curves")["groupBy"]["groupByKeys"]
        assert [key["groupByData"] for key in groups] == keys


@pytest.mark.slow
def test_each_search_has_a_page_of_what_it_tried_to_the_end(
    tmp_path: Path, new_mlflow: Callable[..., str]
) -> None:
    client = MlflowClient(new_mlflow())
    experiment = client.create_experiment("searched")
    for variant, outcome in [
        ("norm@1", "finished"),
        ("norm@2", "pruned"),
        ("norm@r2-1", "finished"),
        ("wide@1", "finished"),
    ]:
        tags = {"sweep.kind": "search", "sweep.variant": variant, "sweep.outcome": outcome}
        client.create_run(experiment, tags=tags)
    client.create_run(experiment, tags={"sweep.kind": "variant", "sweep.variant": "norm"})
    spec = spec_of(tmp_path, SEARCHED)
    found = {}
    for name, search in search_pages(spec).items():
        page = page_of(spec, name)
        runs = client.search_runs([experiment], page["searchFilter"])
        found[search.label] = {run.data.tags["sweep.variant"] for run in runs}
        [chart] = page["compareRunCharts"]
        assert chart["selectedParams"] == ["train.lr"]
        assert chart["selectedMetrics"] == ["val/acc1"]
    assert found == {"norm": {"norm@1", "norm@r2-1"}, "wide": {"wide@1"}}


def page_of(spec: SweepSpec, name: str) -> dict[str, Any]:
    """What the tag of a page says."""
    return dict(json.loads(page_tags(spec)[f"mlflow.sharedViewState.{name}"]))


@pytest.mark.slow
def test_a_page_fits_into_a_tag_of_any_server() -> None:
    shipped = Path(__file__).parents[2] / "sweeps"
    assert all(
        len(tag) < 5000
        for path in shipped.glob("*.yaml")
        for tag in page_tags(load_spec(path)).values()
    )


def test_a_long_road_is_shown_whole(tmp_path: Path) -> None:
    """The UI loads 100 runs at once: with all the trials among them, the road would break off."""
    filters = [
        json.loads(page_tags(spec_of(tmp_path, seeds=n))["mlflow.sharedViewState.roadmap"])[
            "searchFilter"
        ]
        for n in (3, 30)
    ]
    assert filters == ["", "tags.`sweep.kind` = 'variant'"]
