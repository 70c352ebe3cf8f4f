"""Removal of what may go from a store: trials that no spec asks for, leftovers, and whole sweeps.
Finding and removing are two steps.
"""

import shutil
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import (
    OrchestratorError,
    SweepInUse,
    UsageError,
    did_you_mean_one_of,
)
from orchestrator.planning.survey import survey
from orchestrator.smoke import FOLDER as SMOKE
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.contents import size_of, trial_folders
from orchestrator.store.lease import Lease, in_use, live_holder
from orchestrator.store.store import Store
from orchestrator.waiting import counted_off

_DELETED = ".deleted-"
"""Begins the name of a folder that is being removed."""


@dataclass(frozen=True)
class Garbage:
    """Something that may go, and why."""

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """Garbage that was found in a store."""

    garbage: Sequence[Garbage]
    unread: Sequence[str]
    """Reasons why trials were left alone although no spec may ask for them, one for each sweep."""


def inspect(store: Store) -> Inspection:
    """Find what nothing refers to. While a spec cannot be read, no trial is taken for garbage: it
    may ask for any of them.
    """
    needed: set[Path] = set()
    unread = []
    for name in store.sweeps():
        try:
            needed |= _needed_by(store, name)
        except OrchestratorError as error:
            reason = str(error).splitlines()[0]
            unread.append(f"cannot tell what sweep {name} needs, so no trial is deleted: {reason}")
    found = [Garbage(path, why, size_of(path)) for path, why in _leftovers(store)]
    if not unread:
        for name in store.sweeps():
            found += _unasked(store, name, needed)
    return Inspection(found, unread)


def dependents(store: Store, sweep: str) -> dict[str, int]:
    """Other sweeps that reuse results of this one, and how many. Specs that cannot be read are
    passed over.
    """
    path, found = store.sweep_path(sweep), {}
    for name in store.sweeps():
        if name == sweep:
            continue
        try:
            needed = _needed_by(store, name)
        except OrchestratorError:
            continue
        if count := sum(folder.is_relative_to(path) for folder in needed):
            found[name] = count
    return found


def drop(store: Store, garbage: Sequence[Garbage]) -> int:
    """Remove garbage, and return how many items of it went.

    No driver works on the sweeps meanwhile. A trial that a spec has come to ask for stays.
    Raises `SweepInUse`, and `OSError`.
    """
    sweeps = {name: store.sweep_path(name) for name in store.sweeps()}
    touched = [
        path for path in sweeps.values() if any(one.path.is_relative_to(path) for one in garbage)
    ]
    needed: set[Path] = set()
    with ExitStack() as leases:
        for path in touched:
            leases.enter_context(Lease(path))
        if touched:
            needed = needed.union(*(_needed_by(store, name) for name in sweeps))
        unneeded = [one.path for one in garbage if one.path not in needed]
        aside = [_set_aside(path, store.root) for path in unneeded]
    for path in counted_off(aside, "deleting"):
        _remove(path)
    return len(aside)


def delete_sweep(store: Store, sweep: str) -> None:
    """Remove a sweep whole, while no driver can work on it. Raises `SweepInUse`, and `OSError`."""
    with Lease(store.sweep_path(sweep)):
        aside = _set_aside(store.sweep_path(sweep), store.root)
    trials: Sequence[Path] = ()
    if not aside.is_symlink():
        trials = trial_folders(aside)
    for folder in counted_off(trials, "deleting trials"):
        _remove(folder)
    _remove(aside)


def _set_aside(path: Path, root: Path) -> Path:
    """Take a file or a folder out of the store in one step.

    What a crash leaves then is garbage, and no half of anything.
    """
    aside = root / f"{_DELETED}{uuid.uuid4().hex[:12]}"
    path.rename(aside)
    return aside


def _remove(aside: Path) -> None:
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()


def refuse_in_use(store: Store, sweep: str) -> None:
    """Raise `UsageError` where there is no such sweep, and `SweepInUse` where a driver is at work
    on it.
    """
    if sweep not in store.sweeps():
        hint = did_you_mean_one_of(sweep, store.sweeps()) if store.sweeps() else "; it is empty"
        raise UsageError(f"the store at {store.root} has no sweep '{sweep}'{hint}")
    if holder := live_holder(store.sweep_path(sweep)):
        raise SweepInUse(in_use(sweep, holder))


def _needed_by(store: Store, sweep: str) -> set[Path]:
    """Folders that the spec's trials are in, or will be. Raises `OrchestratorError` where that
    cannot be told.
    """
    trials = survey(load_spec(store.spec_path(sweep)), store).trials
    own = {store.directory(known.spec).path for known in trials}
    return own | {Path(known.record.path) for known in trials if known.record.path}


def _unasked(store: Store, sweep: str, needed: set[Path]) -> list[Garbage]:
    path = store.sweep_path(sweep)
    if live_holder(path):
        return []
    why = f"sweep {sweep} no longer asks for it"
    unneeded = [folder for folder in trial_folders(path) if folder not in needed]
    measured = counted_off(unneeded, "measuring what can be deleted")
    return [Garbage(folder, why, size_of(folder)) for folder in measured]


def _leftovers(store: Store) -> list[tuple[Path, str]]:
    found = [(path, "left by an interrupted deletion") for path in store.root.glob(f"{_DELETED}*")]
    smoke = store.root / SMOKE
    if smoke.is_dir():
        found.append((smoke, "left by `run --smoke`"))
    return found
