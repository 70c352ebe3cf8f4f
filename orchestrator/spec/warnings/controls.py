"""Side steps that resolve a warning: how they are written, and whether a spec has one."""

from collections.abc import Mapping
from typing import Any

import yaml

from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Variant

_QUOTED_ON = "'on':"
"""PyYAML writes for YAML 1.1, where `on` is a truth value; in a spec it is a word."""


def side_step(name: str, changes: Mapping[str, Any], ground: str = "", regime: str = "") -> str:
    """A side step as YAML, to be pasted into the step that the warning is about."""
    body: dict[str, Any] = {"change": dict(changes)}
    if regime:
        body = {"regimes": {regime: dict(changes)}}
    if ground:
        body = {"on": ground, **body}
    return f"side:\n  {name}: {on_one_line(body)}"


def on_one_line(value: Mapping[str, Any]) -> str:
    """The value as a spec writes it."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()
    return text.replace(_QUOTED_ON, "on:")


def has_control(spec: SweepSpec, of: Variant, ground: str, changes: Mapping[str, Any]) -> bool:
    """Tell whether a side step makes these changes to `ground`, in the same regime."""
    return any(
        side.side
        and side.regime == of.regime
        and side.on == ground
        and changes.items() <= side.changes.items()
        for side in spec.variants
    )
