"""Trials of a store by the names that people type: `rmsnorm-seed0`, `llamafy/rmsnorm-seed0`, or the
path of a folder.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from illama.spelling import did_you_mean
from orchestrator.errors import UsageError
from orchestrator.store.store import Store
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.text import first_of

_FOLDER = re.compile(r"(?P<name>.+)-[0-9a-f]{8}")
_MOST_SHOWN = 8


def trial_named(store: Store, reference: str, sweep: str | None = None) -> TrialDirectory:
    """The trial that `reference` names, of `sweep` alone where that is given.

    Of several trainings under one name in one sweep (the spec was edited) it is the one that was
    begun last. Raises `UsageError` where there is none, or where several sweeps have one.
    """
    path = Path(reference)
    if (path / "trial.json").is_file():
        return TrialDirectory(path.resolve())
    found = _found(store, reference, sweep)
    if not found:
        raise _unknown(store, reference, sweep)
    owners = sorted({path.parent.parent.name for path in found})
    if len(owners) > 1:
        choices = ", ".join(f"{owner}/{reference}" for owner in owners[:_MOST_SHOWN])
        raise UsageError(f"several sweeps have a trial '{reference}'; name one of them: {choices}")
    return TrialDirectory(max(found, key=_begun))


def _found(store: Store, reference: str, sweep: str | None) -> list[Path]:
    if sweep is not None:
        return _in_sweep(store.sweep_path(sweep), reference)
    known = store.sweeps()
    found = [path for one in known for path in _in_sweep(store.sweep_path(one), reference)]
    owner, _, name = reference.partition("/")
    if name and owner in known:
        found += _in_sweep(store.sweep_path(owner), name)
    return found


def _in_sweep(sweep_path: Path, name: str) -> list[Path]:
    """Folders of the trials of that name, or the one folder of that name."""
    written = name.replace("/", "--")
    return [path for path in _folders(sweep_path) if written in (path.name, name_of(path))]


def name_of(folder: Path) -> str:
    """Name of the trial in a folder as the folder has it: without the fingerprint, `--` for a
    slash.
    """
    match = _FOLDER.fullmatch(folder.name)
    if match is None:
        return folder.name
    return match["name"]


def _folders(sweep_path: Path) -> list[Path]:
    trials = sweep_path / "trials"
    try:
        return [trials / name for name in sorted(os.listdir(trials))]
    except OSError:
        return []


def _begun(folder: Path) -> float:
    for name in ("attempts.jsonl", "trial.json"):
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def _unknown(store: Store, reference: str, sweep: str | None) -> UsageError:
    chosen, where = store.sweeps(), f"the store at {store.root}"
    if sweep is not None:
        chosen, where = [sweep], f"sweep '{sweep}'"
    names = _unique(name_of(path) for one in chosen for path in _folders(store.sweep_path(one)))
    if not names:
        return UsageError(f"{where} has no trial '{reference}'; no trial has started there")
    if reference in store.sweeps() and (own := _folders(store.sweep_path(reference))):
        example = f"{reference}/{name_of(own[0])}"
        return UsageError(f"'{reference}' is a sweep; name one of its trials, such as {example}")
    nearest = did_you_mean(reference.replace("/", "--"), names)
    hint = nearest or f"; it has {first_of(names, _MOST_SHOWN)}"
    return UsageError(f"{where} has no trial '{reference}'{hint}")


def _unique(names: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(names))
