"""Parts of a spec that decide what is tested, each by a digest, so that a change can be named."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from orchestrator.spec.schema import SweepSchema

_METRIC = ("name", "mode", "epoch")
"""Keys of the metric. Its further settings are parts of their own; `also` is never tested."""
_TESTED = ("family", "baseline", "search", "steps", "design", "regimes", "recipes")
_BESIDE = ("reference", "resources")
"""Keys of a step that change nothing about what it tests."""


def declared_parts(schema: SweepSchema) -> dict[str, str]:
    """Digests of what the sweep tests and how, by name; what is at its default counts as left
    out.
    """
    whole = schema.model_dump(mode="json", exclude_defaults=True)
    metric = schema.metric.model_dump(mode="json", exclude_defaults=True)
    parts: dict[str, Any] = {
        "metric": [getattr(schema.metric, key) for key in _METRIC],
        "seeds": declared_seeds(schema),
    }
    parts |= {key: value for key, value in metric.items() if key not in (*_METRIC, "also")}
    parts |= {key: _without(whole[key], _BESIDE) for key in _TESTED if key in whole}
    return {name: _digest(part) for name, part in parts.items()}


def declared_seeds(schema: SweepSchema) -> list[int] | dict[str, int]:
    """The seeds as a report declares them: a list, or where they are added as needed both ends."""
    if schema.adaptive is not None:
        return {"start": schema.adaptive.start, "max": schema.adaptive.max}
    return list(schema.seeds)


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """A copy in which no mapping has any of these keys."""
    if isinstance(value, Mapping):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    if isinstance(value, list):
        return [_without(item, keys) for item in value]
    return value


def _digest(part: Any) -> str:
    return sha256(json.dumps(part, sort_keys=True, default=str).encode()).hexdigest()[:16]
