"""MLflow opens on a sweep as a sweep is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invented import spec_of
from mlflow import MlflowClient

from orchestrator.spec.sweep_spec import load_spec
from orchestrator.tracking.pages import address_of, page_tags


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
    found = client.search_runs([experiment.experiment_id], curves["searchFilter"])
    assert len(found) == 10, "every trial, and no run of a variant"


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
