"""Pages of MLflow's UI as a sweep is read: the road as a table, and the curves of each variant.

They are MLflow's shared views: a tag of the experiment holds what somebody would have set by hand,
and a page's address names it.
"""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.metrics import PEAK_MEMORY
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.tracking.names import mlflow_name

_TAG = "mlflow.sharedViewState."
_SECTION = "road"
_OURS = {"deleted": False, "isGenerated": False}
"""Marks of a chart made by hand: the others are thrown away when the page opens."""
_RUNS_AT_ONCE = 100
"""The UI loads no more before somebody asks it to, trials included."""


def address_of(experiment_id: str, page: str = "roadmap") -> str:
    """Return what to put behind a server's address for `roadmap` or `curves`. MLflow by itself
    opens on traces.
    """
    mode = "&compareRunsMode=CHART" if page == "curves" else ""
    query = f"workflowType=machine_learning&viewStateShareKey={page}{mode}"
    return f"#/experiments/{experiment_id}/runs?{query}"


def page_tags(spec: SweepSpec) -> Mapping[str, str]:
    """The tags of the experiment that define the pages."""
    metric = mlflow_name(spec.reported_metric.name)
    also = list(map(mlflow_name, spec.reported_metric.also))
    columns = [metric, f"{metric}_std", "effect/delta", "effect/p"]
    columns += [*also, "variant/train_seconds"]
    curves = [name for name in (metric, *also) if name not in ("train/loss", PEAK_MEMORY)]
    by_variant = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "variant"}],
    }
    is_long = (
        len(spec.variants) * (1 + len(spec.schema.seeds)) >= _RUNS_AT_ONCE
    )  # then a step's trials are on its own page only
    pages = {
        "roadmap": {
            "searchFilter": "tags.`sweep.kind` = 'variant'" if is_long or spec.searches else "",
            "selectedColumns": [*(f"metrics.`{name}`" for name in columns), "tags.`sweep.outcome`"],
        },
        "curves": {
            "searchFilter": "tags.`sweep.kind` = 'trial'",
            "groupBy": by_variant,
            "runsHiddenMode": "SHOW_ALL",
            "compareRunSections": [
                {"uuid": _SECTION, "name": "Curves", "display": True, "isReordered": False} | _OURS
            ],
            "compareRunCharts": [_line(name) for name in curves] + [_line("train/loss", "log")],
        },
    }
    return {f"{_TAG}{name}": json.dumps(page) for name, page in pages.items()}


def _line(metric: str, scale: str = "linear") -> dict[str, Any]:
    chart = {
        "uuid": metric,
        "type": "LINE",
        "metricSectionId": _SECTION,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
    }
    axes = {
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "scaleType": scale,
        "range": {},
    }
    return chart | axes | {"lineSmoothness": 0, "runsCountToCompare": 100} | _OURS
