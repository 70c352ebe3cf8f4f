"""Looks that were taken at a sweep's results: `<sweep>/looks.jsonl`, a line for each declaration.

Whoever looks at the effects of all seeds that were declared, adds seeds and looks again, has two
chances to find something. What was declared when somebody looked is therefore remembered, so that
the next report can pay for it. Looks at a part of the declared seeds are none: nothing was decided.

The file is a memory and no truth about trials: where the store cannot be written nothing is
remembered, and a line that is damaged counts as not there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.fingerprint import canonical_json
from orchestrator.store.files import append_if_writable, readable_lines

Seeds = list[int] | dict[str, int]
"""Seeds that a spec declares: a list, or `{start, max}` where they are added as needed."""


@dataclass(frozen=True)
class Look:
    """One declaration whose results were shown in full."""

    time: float
    """The time at which they were shown first."""
    seeds: Seeds
    comparisons: int
    """Comparisons that had a p-value."""
    metric: str
    """Metric that they were compared by."""
    spec_sha256: str
    """SHA-256 of the spec's bytes."""
    command: str
    """Command that showed them: `run`, `report`, or `python`."""


_LOOK = TypeAdapter(Look)


def remember_look(sweep_path: Path, look: Look) -> None:
    """Note a look, unless the same declaration was looked at before by the same metric."""
    known = {(one.metric, _key(one.seeds)) for one in looks_at(sweep_path)}
    if (look.metric, _key(look.seeds)) not in known:
        append_if_writable(_path(sweep_path), asdict(look))


def looks_at(sweep_path: Path) -> list[Look]:
    """Every look that is remembered, in order."""
    looks = map(_look_of, readable_lines(_path(sweep_path)))
    return [look for look in looks if look is not None]


def earlier_looks(sweep_path: Path, declared_now: Seeds, metric: str) -> int:
    """Number of other declarations of seeds that were looked at before this one, by this metric.

    A declaration that is gone back to pays for the looks before its own, not for those since.
    """
    before: list[str] = []
    for look in looks_at(sweep_path):
        if look.metric != metric:
            continue
        if _key(look.seeds) == _key(declared_now):
            break
        before.append(_key(look.seeds))
    return len(set(before))


def _path(sweep_path: Path) -> Path:
    return sweep_path / "looks.jsonl"


def _key(seeds: Seeds) -> str:
    """Equal for equal declarations, in whatever order they list their seeds."""
    if isinstance(seeds, dict):
        return canonical_json(seeds)
    return canonical_json(sorted(seeds))


def _look_of(line: Mapping[str, Any]) -> Look | None:
    """The look that a line describes; none where a part of it is missing or of another kind."""
    try:
        return _LOOK.validate_python(line)
    except ValidationError:
        return None
