"""One trial in this process, in the open: it prints to the terminal, stops at breakpoints, and
leaves the store alone.

It trains in a scratch folder, from a copy of its last checkpoint, so that what fails after hours is
reached at once.
"""

import bdb
import pdb
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.store.lease import Lease
from orchestrator.store.store import Store
from orchestrator.trial import TrialRecord, TrialSpec

_CHECKPOINTS = ("checkpoint*", "own_training.json")
"""Names of what an interrupted training goes on from."""


def run_in_foreground(
    trial: TrialSpec, goes_on_from: Path | None, on_error: Callable[[BaseException], None]
) -> TrialRecord:
    """Train the trial where breakpoints work, without its limits; returns how it ended.

    `goes_on_from` is a trial's folder with a checkpoint, none to begin at the beginning. What the
    training raises is given to `on_error`, in its own frame's life. Modules are those that are
    importable now.
    """
    from orchestrator.running.worker import run_trial  # torch takes seconds

    with TemporaryDirectory(prefix="orchestrator-debug-") as scratch:
        store = Store(Path(scratch))
        store.prepare(trial.sweep)
        directory = store.directory(trial)
        directory.write_trial(trial, {})
        if goes_on_from:
            _copy_checkpoints(goes_on_from, directory.path)
        with Lease(store.sweep_path(trial.sweep)) as lease:
            run_trial(directory.path, lease.session, debug=on_error)
        return directory.record()


def look_at(error: BaseException) -> None:
    """Open the debugger where the error was raised; not where it was the debugger that was left."""
    if not isinstance(error, bdb.BdbQuit | SystemExit):
        pdb.post_mortem(error.__traceback__)


def _copy_checkpoints(source: Path, target: Path) -> None:
    for path in [path for pattern in _CHECKPOINTS for path in source.glob(pattern)]:
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)
