"""Specs as they were submitted, and when: `<sweep>/declarations.jsonl`, a line for each version.

With the time of the first result it tells what was decided before anybody could look. As with
`looks`, nothing fails where the store cannot be written or a line is damaged.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeGuard

from orchestrator.errors import StoreError
from orchestrator.store.files import append_if_writable, read_json, readable_lines

_YEAR_10000 = 253_402_300_800.0
"""Seconds since 1970."""


@dataclass(frozen=True)
class Version:
    """A spec when it was submitted first."""

    sha256: str
    """SHA-256 of the spec's bytes."""
    time: float
    parts: Mapping[str, str]
    """Digests of what decides what is tested (`metric`, `seeds`, `steps` ...), by name."""


@dataclass(frozen=True)
class Declaration:
    """Record of what was decided before the first result, as far as the store knows."""

    spec_sha256: str
    """SHA-256 of the spec as reported."""
    at: float | None
    """The time at which it was submitted first; none where it never was, or an older version took
    no note.
    """
    first_result_at: float | None
    """The time of the first result; none where there is none yet."""
    before_first_result: bool
    """True if a spec that tests the same was submitted before."""
    versions: int
    """Number of specs that were submitted under the sweep's name."""
    changed: tuple[str, ...] = ()
    """Parts that differ from what was submitted last before the first result."""
    is_known_before: bool = True
    """True if any version before the first result is known, where there is a result."""

    def to_json(self) -> dict[str, Any]:
        """The form in `report --format json`."""
        return {
            "spec_sha256": self.spec_sha256,
            "at": iso_time(self.at),
            "first_result_at": iso_time(self.first_result_at),
            "before_first_result": self.before_first_result,
            "versions": self.versions,
            "changed": list(self.changed),
        }


def iso_time(time: float | None) -> str | None:
    """`2026-03-01T14:05:09+00:00`."""
    if time is None:
        return None
    return datetime.fromtimestamp(int(time), UTC).isoformat()


def digest_of(content: bytes) -> str:
    """SHA-256 of a spec's bytes."""
    return sha256(content).hexdigest()


def declare(sweep_path: Path, content: bytes, parts: Mapping[str, str], time: float) -> None:
    """Note that a spec was submitted, unless the same bytes were before."""
    digest = digest_of(content)
    if digest not in {version.sha256 for version in versions_of(sweep_path)}:
        line = {"spec_sha256": digest, "time": time, "parts": dict(parts)}
        append_if_writable(_path(sweep_path), line)


def versions_of(sweep_path: Path) -> list[Version]:
    """Every version of the spec that was submitted, in order."""
    versions = map(_version_of, readable_lines(_path(sweep_path)))
    return [version for version in versions if version is not None]


def declaration_of(
    sweep_path: Path, content: bytes, parts: Mapping[str, str], other_results: Iterable[float]
) -> Declaration:
    """Record of when the spec was decided, as far as the store knows.

    `other_results` are the times of results that the report has from other sweeps.
    """
    digest, versions = digest_of(content), versions_of(sweep_path)
    first = min([*_result_times(sweep_path), *other_results], default=None)
    before = [version for version in versions if first is None or version.time < first]
    times = [version.time for version in versions if version.sha256 == digest]
    changed: list[str] = []
    if before:
        last = before[-1].parts
        changed = [name for name in {**last, **parts} if last.get(name) != parts.get(name)]
    return Declaration(
        spec_sha256=digest,
        at=next(iter(times), None),
        first_result_at=first,
        before_first_result=any(dict(version.parts) == dict(parts) for version in before),
        versions=len(versions),
        changed=tuple(changed),
        is_known_before=bool(before),
    )


def _path(sweep_path: Path) -> Path:
    return sweep_path / "declarations.jsonl"


def _result_times(sweep_path: Path) -> Iterator[float]:
    """The time at which each result of the sweep was written, also of trials that its spec no
    longer has.
    """
    for path in sorted(sweep_path.glob("trials/*/result.json")):
        try:
            time = read_json(path).get("time")
        except (OSError, StoreError):  # told where the trial is read
            continue
        if _is_time(time):
            yield float(time)


def _version_of(line: Mapping[str, Any]) -> Version | None:
    """The version that a line describes; none where a part of it is missing."""
    digest, time, parts = (line.get(key) for key in ("spec_sha256", "time", "parts"))
    if not isinstance(digest, str) or not isinstance(parts, dict) or not _is_time(time):
        return None
    return Version(digest, float(time), parts)


def _is_time(value: Any) -> TypeGuard[float]:
    """Tell whether a value is seconds since 1970, in a year that a calendar can name."""
    return isinstance(value, int | float) and 0 <= value < _YEAR_10000
