"""Words about files that are not whole. They count as not there, the rest of the store is read, and
the command says it once.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DamagedFile

_log = logging.getLogger("orchestrator.store")

_SHOWN = 5
"""Paths that are named of those with the same fault."""
_CONSEQUENCES = {
    "result.json": "these trials count as not done, and `run` trains them again",
    "metrics.jsonl": (
        "these points are missing from curves; to train a trial again, delete its folder"
    ),
    "attempts.jsonl": "these attempts are left out",
    "trial.json": (
        "the code that these trials ran with is unknown; `run` writes the file again "
        "when it trains them"
    ),
    "lease.json": "it is ignored, unless a driver renews it",
    "mlflow_runs.json": "`sync` writes it again",
}
_OTHERWISE = "it is ignored"


def note(damage: DamagedFile) -> None:
    """Say that a file was passed over."""
    _log.warning("%s is damaged (%s)", damage.path, damage.why, extra={"damage": damage})


class DamageNotes(logging.Handler):
    """Files that were passed over while a command ran, each once."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[Path, str], None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take in one note."""
        damage: DamagedFile | None = getattr(record, "damage", None)
        if damage:
            self._found[damage.path, damage.why] = None

    def lines(self) -> Iterator[str]:
        """A sentence for each kind of file and fault, with the first few paths."""
        groups: dict[tuple[str, str], list[Path]] = {}
        for path, why in self._found:
            groups.setdefault((path.name, why), []).append(path)
        for (name, why), paths in groups.items():
            then = _CONSEQUENCES.get(name, _OTHERWISE)
            yield f"damaged: {name} ({why}); {then}"
            yield from (f"  {path}" for path in paths[:_SHOWN])
            if len(paths) > _SHOWN:
                yield f"  and {len(paths) - _SHOWN:,} more"


@contextmanager
def collected() -> Iterator[DamageNotes]:
    """Notes of what is inside, instead of on stderr."""
    notes, propagates = DamageNotes(), _log.propagate
    _log.addHandler(notes)
    _log.propagate = False
    try:
        yield notes
    finally:
        _log.propagate = propagates
        _log.removeHandler(notes)
