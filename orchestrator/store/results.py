"""Checks of a `result.json` before it is believed."""

import json
import os
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import DamagedFile, NewerFile
from orchestrator.outcomes import TRAINED, Outcome
from orchestrator.store.metrics_file import last_lines

_HEAD_BYTES = 4096
"""The fingerprint is among the first members of `trial.json`."""
_OUTCOMES = {str(outcome) for outcome in Outcome if outcome.is_result}


def refuse_wrong_result(
    folder: str, key: str, result: Mapping[str, Any], *, is_sealed: bool
) -> None:
    """Raise `DamagedFile` where the result is another trial's, or says other things than the files
    beside it.

    `key` is the start of the trial's fingerprint. A checksum vouches for the numbers of a result;
    one without is compared with the last line of the curve.
    """
    path, found = f"{folder}/result.json", result["outcome"]
    if found not in _OUTCOMES:
        if is_sealed:
            raise NewerFile(path, f"the outcome {found!r}")
        raise DamagedFile(path, f"the outcome is {found!r}")
    if is_sealed:
        if str(result.get("fingerprint", key))[:8] != key:
            raise DamagedFile(path, "it belongs to another trial")
        return
    _refuse_another_trials(path, folder, key)
    if found in TRAINED:
        if not result.get("metrics"):
            raise DamagedFile(path, f"it is {found} and has no metrics")
        _refuse_other_metrics(path, f"{folder}/metrics.jsonl", result)


def _refuse_another_trials(path: str, folder: str, key: str) -> None:
    """Look into `trial.json` beside it, where there is one: results of before there were checksums
    do not say whose they are.
    """
    try:
        descriptor = os.open(f"{folder}/trial.json", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        content = os.pread(descriptor, _HEAD_BYTES, 0)
    except OSError:
        return  # it says nothing, and whoever needs it says what is wrong with it
    finally:
        os.close(descriptor)
    _, _, digest = content.partition(b'"fingerprint": "')
    if digest and not digest.startswith(key.encode()):
        raise DamagedFile(path, "the folder's trial.json belongs to another trial")


def _refuse_other_metrics(path: str, curve: str, result: Mapping[str, Any]) -> None:
    try:
        last = json.loads(last_lines(curve)[-1])
        iteration, metrics = last["iteration"], dict(last["metrics"])
    except (OSError, DamagedFile, IndexError, ValueError, KeyError, TypeError, RecursionError):
        return  # there is no last line to hold it against
    if result.get("iterations", iteration) != iteration:
        raise DamagedFile(path, "it ends at a different iteration than metrics.jsonl")
    if any(metrics.get(name) != value for name, value in result["metrics"].items()):
        raise DamagedFile(path, "its metrics are not those of the last line of metrics.jsonl")


def curve_is_shortened(folder: str, result: Mapping[str, Any]) -> bool:
    """True if `metrics.jsonl` has another length than when the result was written."""
    size = result.get("metrics_bytes")
    if size is None:
        return False
    try:
        return bool(os.stat(f"{folder}/metrics.jsonl").st_size != size)
    except OSError:
        return True
