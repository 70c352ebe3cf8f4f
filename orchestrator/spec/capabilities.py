"""Demands of a sweep that its workload cannot meet: noted where the spec makes them."""

from collections.abc import Iterator
from typing import Any

from illama.config import Workload, kind_of
from orchestrator.spec.document import Document, Location
from orchestrator.spec.schema import SweepSchema


def check_capabilities(schema: SweepSchema, document: Document) -> None:
    """Note each thing that the spec asks for and that its kind of workload does not offer."""
    kind = kind_of(schema.baseline)
    title = kind.titled(schema.baseline)
    if not kind.can.has_known_metrics:
        _check_metric(schema, document, title)
    for key in sorted(schema.runtime.model_fields_set - set(kind.can.runtime)):
        message = (
            f"runtime.{key} applies to the built-in training only; "
            f"{title} receives {', '.join(kind.can.runtime)}"
        )
        document.add_problem(("runtime", key), message, at_key=True)
    for place, asked in _asked(schema):
        _check_asked(kind, title, asked, document, place)


def _check_metric(schema: SweepSchema, document: Document, title: str) -> None:
    """Name and direction of the metric have to be said where nobody knows them before."""
    said = schema.metric.model_fields_set
    if "name" not in said:
        message = (
            f"key 'metric' is missing: name the metric returned by {title} to compare, as in "
            "{name: ..., mode: min}"
        )
        document.add_problem(("metric",), message)
    elif "mode" not in said:
        message = "key 'mode' is missing: max if a larger value of this metric is better, else min"
        document.add_problem(("metric",), message)


def _check_asked(
    kind: type[Workload], title: str, asked: Any, document: Document, place: Location
) -> None:
    """Note what the sweep, a step or a side step asks for."""
    if not kind.can.spans_processes and asked.resources and asked.resources.nodes > 1:
        message = (
            f"{title} runs as one process on one node; it can use several GPUs there by itself"
        )
        document.add_problem((*place, "resources", "nodes"), message)
    if not kind.can.measures_collapse and getattr(asked, "expect", None) == "collapse":
        message = (
            f"it is not measured whether the output of {title} depends on its input, "
            "so a collapse cannot be detected"
        )
        document.add_problem((*place, "expect"), message)


def _asked(schema: SweepSchema) -> Iterator[tuple[Location, Any]]:
    """The sweep, its steps and side steps, and where they stand."""
    yield (), schema
    for index, step in enumerate(schema.steps):
        yield ("steps", index), step
        yield from ((("steps", index, "side", name), side) for name, side in step.side.items())
