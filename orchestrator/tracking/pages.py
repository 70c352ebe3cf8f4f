"""Pages of MLflow's UI as a sweep is read: the road as a table, the curves of each variant, and
what each search tried.

They are MLflow's shared views: a tag of the experiment holds what somebody would have set by hand,
and a page's address names it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.metrics import PEAK_MEMORY
from orchestrator.spec.search_space import Search
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.tracking.names import mlflow_name

IN_TRAINING = "workflowType=machine_learning"
"""Part of an address that stays in *Model training*; others lead to *GenAI*."""
_TAG = "mlflow.sharedViewState."
_SECTION = "road"
_OURS = {"deleted": False, "isGenerated": False}
"""Marks of a chart made by hand: the others are thrown away when the page opens."""
_HEIGHT = 440
"""Pixels of a chart."""
_BY_START = "attributes.`start_time`"
"""The UI writes it without the quotes, and then shows the runs of variants among their trials."""
_RUNS_AT_ONCE = 100
"""The UI loads no more before somebody asks it to, trials included."""


def address_of(experiment_id: str, page: str = "roadmap") -> str:
    """Return what to put behind a server's address for a page. MLflow by itself opens on traces."""
    mode = "" if page == "roadmap" else "&compareRunsMode=CHART"
    return f"#/experiments/{experiment_id}/runs?{IN_TRAINING}&viewStateShareKey={page}{mode}"


def search_pages(spec: SweepSpec) -> Mapping[str, Search]:
    """The searches that have a page, by its name; one stands for all repeats of it."""
    each = {search.label: search for search in reversed(spec.searches)}
    return {f"search{number}": search for number, search in enumerate(reversed(each.values()), 1)}


def page_tags(spec: SweepSpec) -> Mapping[str, str]:
    """The tags of the experiment that define the pages."""
    pages = {"roadmap": _table(spec), "curves": _curves(spec)}
    pages |= {name: _tried(spec, search) for name, search in search_pages(spec).items()}
    return {f"{_TAG}{name}": json.dumps(page) for name, page in pages.items()}


def _table(spec: SweepSpec) -> dict[str, Any]:
    metric, *also = _metrics(spec)
    columns = [metric, f"{metric}_std", "effect/delta", "effect/p"]
    columns += [*also, "variant/train_seconds"]
    # then a step's trials are on its own page only
    is_long = len(spec.variants) * (1 + len(spec.schema.seeds)) >= _RUNS_AT_ONCE
    return {
        "searchFilter": "tags.`sweep.kind` = 'variant'" if is_long or spec.searches else "",
        "selectedColumns": [*(f"metrics.`{name}`" for name in columns), "tags.`sweep.outcome`"],
        **_section("Steps", [_bars(metric), _bars("effect/delta")]),
    }


def _curves(spec: SweepSpec) -> dict[str, Any]:
    names = [name for name in _metrics(spec) if name not in ("train/loss", PEAK_MEMORY)]
    charts = [_line(name) for name in names] + [_line("train/loss", "log")]
    keys = ["regime", "variant"] if spec.road[0].regime else ["variant"]
    groups = [{"mode": "param", "groupByData": key} for key in keys]
    by_variant = {"groupBy": {"aggregateFunction": "average", "groupByKeys": groups}}
    return _charts("Curves", "tags.`sweep.kind` = 'trial'", charts) | by_variant


def _tried(spec: SweepSpec, search: Search) -> dict[str, Any]:
    """The settings of each trial against what it came to. What was stopped early came to something
    else, and is left out.
    """
    trials = f"tags.`sweep.kind` = 'search' and tags.`sweep.variant` LIKE '{search.variant.name}@%'"
    regime = search.variant.regime
    trials += f" and tags.`sweep.regime` = '{regime}'" if regime else ""
    chart = {
        "uuid": "tried",
        "type": "PARALLEL",
        "metricSectionId": _SECTION,
        "selectedParams": list(map(mlflow_name, search.schema.space)),
        "selectedMetrics": [mlflow_name(spec.schema.metric.name)],
        "showAllRuns": True,
    }
    finished = f"{trials} and tags.`sweep.outcome` = 'finished'"
    return _charts(f"Tried for {search.label}", finished, [chart | _OURS])


def _metrics(spec: SweepSpec) -> list[str]:
    return [mlflow_name(name) for name in (spec.reported_metric.name, *spec.reported_metric.also)]


def _charts(title: str, runs: str, charts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Charts of the runs that a filter finds, in the order in which these began."""
    order = {"orderByKey": _BY_START, "orderByAsc": True, "runsHiddenMode": "SHOW_ALL"}
    return {"searchFilter": runs} | order | _section(title, charts)


def _section(title: str, charts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A section of charts above those that the UI adds. One chart in a row: narrower ones have no
    room for a legend of all steps.
    """
    looks = {"display": True, "isReordered": False, "columns": 1, "cardHeight": _HEIGHT}
    return {
        "isAccordionReordered": True,
        "compareRunSections": [{"uuid": _SECTION, "name": title} | looks | _OURS],
        "compareRunCharts": charts,
    }


def _bars(metric: str) -> dict[str, Any]:
    chart = {"uuid": metric, "type": "BAR", "metricSectionId": _SECTION, "metricKey": metric}
    return chart | {"runsCountToCompare": 100} | _OURS


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
