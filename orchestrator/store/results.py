"""What a `result.json` is held against before it is believed."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import DamagedFile, NewerFile
from orchestrator.store.files import read_file
from orchestrator.trial import Outcome

_TO_THE_END = (Outcome.FINISHED, Outcome.COLLAPSED)
_OUTCOMES = {str(outcome) for outcome in Outcome if outcome.is_result}


def refuse_wrong_result(
    path: Path,
    key: str,
    result: Mapping[str, Any],
    last_metrics: Callable[[], Mapping[str, Any] | None] | None,
) -> None:
    """Raise `DamagedFile` where the result is another trial's, or says other things than the files beside it.

    `key` is the start of the trial's fingerprint; `last_metrics` is none where a checksum vouches for the result.
    """
    found = result["outcome"]
    if found not in _OUTCOMES:
        if last_metrics is None:
            raise NewerFile(path, f"the outcome {found!r}")
        raise DamagedFile(path, f"the outcome is {found!r}")
    if last_metrics is None:
        if str(result.get("fingerprint", key))[:8] != key:
            raise DamagedFile(path, "it is another trial's")
        return
    if found in _TO_THE_END and not result.get("metrics"):
        raise DamagedFile(path, f"it is {found} and has no metrics")
    _refuse_another_trials(path, key)
    _refuse_other_metrics(path, result, last_metrics())


def _refuse_another_trials(path: Path, key: str) -> None:
    """Look into `trial.json` beside it, where there is one: results of before there were checksums do not say whose they are."""
    try:
        content = read_file(path.with_name("trial.json"))
    except (FileNotFoundError, DamagedFile):
        return
    _, _, digest = content.partition(b'"fingerprint": "')
    if digest and not digest.startswith(key.encode()):
        raise DamagedFile(path, "the folder's trial.json is another trial's")


def _refuse_other_metrics(
    path: Path, result: Mapping[str, Any], last: Mapping[str, Any] | None
) -> None:
    if last is None or result["outcome"] not in _TO_THE_END:
        return
    if result.get("iterations", last["iteration"]) != last["iteration"]:
        raise DamagedFile(path, "it ends at another iteration than metrics.jsonl")
    final, there = result["metrics"], last["metrics"]
    if any(there.get(name) != value for name, value in final.items()):
        raise DamagedFile(path, "its metrics are not those of the last line of metrics.jsonl")


def curve_is_shortened(path: Path, result: Mapping[str, Any]) -> bool:
    """Whether `metrics.jsonl` has another length than when the result was written."""
    size = result.get("metrics_bytes")
    if size is None:
        return False
    try:
        return bool(os.stat(path).st_size != size)
    except OSError:
        return True
