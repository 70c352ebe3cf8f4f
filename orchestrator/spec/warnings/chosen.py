"""Choices made on the images that the report evaluates."""

from typing import Any

import yaml

from illama.config import DataConfig, UserData
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings.lookup import line_of
from orchestrator.spec.warnings.registry import Found, SpecWarning, of_sweep


@of_sweep
def chosen_on_report_images(spec: SweepSpec) -> Found:
    """Settings or epochs that are chosen by the report's images, and so look better on them.

    How many seeds are added is no such choice: every look at the figures is paid for.
    """
    data = [variant.config.images for variant in spec.road]
    if spec.has_test_part or None in data:  # of a user training nobody knows the images
        return
    chosen = {search.line: "the settings found by a search" for search in spec.searches[:1]}
    if spec.schema.metric.epoch == "best":
        chosen[line_of("metric", spec)] = "the best epoch"
    if not chosen:
        return
    message = (
        f"{spec.schema.metric.name} selects {' and '.join(chosen.values())} on the same images "
        "that the report evaluates, which makes the result optimistic: hold out a test part, and "
        "the report uses that instead"
    )
    without = next(part for part in data if part is not None and not part.has_test)
    yield SpecWarning("chosen-on-report-images", message, min(chosen), _test_part_of(without))


def _test_part_of(data: DataConfig | UserData) -> str:
    """YAML that gives such data a test part; empty where a function has to return one."""
    if isinstance(data, UserData):
        return ""
    settings: dict[str, Any] = {"name": data.name}
    published = data.source.published
    if published == "parts":
        settings |= {"folder": data.folder, "test": "official"}
    elif published == "whole":
        settings |= {"val_fraction": data.val_fraction, "test_fraction": 0.2}
    else:
        settings |= {"val_fraction": 0.1, "test": "official"}
    text = yaml.safe_dump(settings, default_flow_style=True, sort_keys=False).strip()
    return f"baseline:\n  data: {text}"
