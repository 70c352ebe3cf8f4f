"""Every driver that ever held a sweep, in order: a line for each in `sessions.jsonl`.

A lease is gone when its holder ends. What came and went while a driver slept is here.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import DamagedFile
from orchestrator.store.damage import note
from orchestrator.store.files import append_json_line, read_json_lines
from orchestrator.store.records import SessionRecord, check


@dataclass(frozen=True)
class Session:
    """One invocation of a driver."""

    generation: int
    """Counts from 1 and never goes back."""
    session: str
    host: str
    pid: int
    time: float


def sessions(sweep_path: Path) -> list[Session]:
    """All that are known, oldest first; damaged lines are passed over."""
    path = sweep_path / "sessions.jsonl"
    found = []
    for line, is_sealed in read_json_lines(path):
        try:
            check(SessionRecord, path, line, is_sealed)
        except DamagedFile as damage:
            note(damage)
            continue
        fields: dict[str, Any] = {name: line[name] for name in Session.__dataclass_fields__}
        found.append(Session(**fields))
    return found


def add_session(sweep_path: Path, session: str, host: str, pid: int) -> int:
    """Say that a driver holds the sweep now; returns its generation. For the holder of the sweep's
    lock. Raises `OSError`.
    """
    generation = 1 + max((known.generation for known in sessions(sweep_path)), default=0)
    line = {"generation": generation, "session": session, "host": host, "pid": pid}
    append_json_line(sweep_path / "sessions.jsonl", line | {"time": time.time()})
    return generation


def successor(sweep_path: Path, session: str) -> Session | None:
    """The newest driver that held the sweep after `session`; none where none did."""
    known = sessions(sweep_path)
    if session not in {one.session for one in known} or known[-1].session == session:
        return None
    return known[-1]
