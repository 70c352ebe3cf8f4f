"""`attempts.jsonl`: a line when an attempt starts, a line when it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import DamagedFile
from orchestrator.outcomes import Outcome
from orchestrator.store.damage import note
from orchestrator.store.files import read_json_lines
from orchestrator.store.records import AttemptRecord, check


def attempts_in(path: Path, key: str) -> list[dict[str, Any]]:
    """The whole lines that this version knows, in order; `key` is the trial's, which seals them."""
    events = []
    for event, is_sealed in read_json_lines(path, key):
        try:
            check(AttemptRecord, path, event, is_sealed)
            wanted = {"start": "session", "end": "outcome"}.get(event["event"])
            if wanted and event.get(wanted) is None:
                raise DamagedFile(path, f"{event['event']} without {wanted}")
            if not is_sealed and (not wanted or not _is_known(event)):
                raise DamagedFile(path, "an unknown event or outcome")
        except DamagedFile as damage:
            note(damage)
            continue
        if wanted:
            events.append(event)
    return events


def hosts_of(start: Mapping[str, Any]) -> Sequence[str]:
    """Hosts of an attempt, from the line of `attempts.jsonl` that it began with: the leader
    first.
    """
    return tuple(dict.fromkeys(filter(None, [start.get("host"), *start.get("other_hosts", [])])))


def _is_known(event: Mapping[str, Any]) -> bool:
    return event["event"] == "start" or event["outcome"] in set(Outcome)


def outcome_of(end: Mapping[str, Any]) -> tuple[Outcome, str | None]:
    """Outcome of the attempt; an outcome that only a newer version knows is a failure that says
    so.
    """
    try:
        return Outcome(end["outcome"]), end.get("cause")
    except ValueError:
        found = end["outcome"]
        return Outcome.FAILED, f"it ended as '{found}', which this version does not know"
