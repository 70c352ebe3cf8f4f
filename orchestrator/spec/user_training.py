"""What a sweep over a training of somebody's own cannot ask for: each noted where the spec asks for it, with the reason."""

from collections.abc import Iterator
from typing import Any

from orchestrator.spec.document import Document, Location
from orchestrator.spec.schema import SweepSchema

_RUNTIME = ("device", "num_threads", "data_dir")
"""What the function is given; the rest of `runtime` is about our own training."""


def check_own_training(schema: SweepSchema, document: Document) -> None:
    """Note what makes no sense beside `train.name`."""
    name = schema.baseline["train"]["name"]
    if "name" not in schema.metric.model_fields_set:
        message = f"key 'metric' is missing: which of the metrics that {name} returns is compared, {{name: ..., mode: min}}"
        document.add_problem(("metric",), message)
    elif "mode" not in schema.metric.model_fields_set:
        document.add_problem(
            ("metric",),
            "key 'mode' is missing: whether more of this metric is better, max, or less, min",
        )
    for key in sorted(schema.runtime.model_fields_set - set(_RUNTIME)):
        message = (
            f"runtime.{key} is about the built-in training; {name} is given {', '.join(_RUNTIME)}"
        )
        document.add_problem(("runtime", key), message, at_key=True)
    for place, what in _asked(schema):
        if what.resources and what.resources.nodes > 1:
            message = f"{name} runs as one process on one node; what it does with its GPUs is its business"
            document.add_problem((*place, "resources", "nodes"), message)
        if getattr(what, "expect", None) == "collapse":
            message = f"whether the output of {name} depends on its input is not measured, so nothing can be told to collapse"
            document.add_problem((*place, "expect"), message)


def _asked(schema: SweepSchema) -> Iterator[tuple[Location, Any]]:
    """The sweep, its steps and side steps, and where they stand."""
    yield (), schema
    for index, step in enumerate(schema.steps):
        yield ("steps", index), step
        yield from ((("steps", index, "side", name), side) for name, side in step.side.items())
