"""Contents of a store by sweep, from the names and sizes of files alone: no spec is read, no code
is imported.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.lease import LeaseHolder, live_holder
from orchestrator.store.store import Store
from orchestrator.waiting import counted_off


@dataclass(frozen=True)
class SweepContents:
    """One sweep of a store."""

    name: str
    begun: int
    """Trials that have a folder, those of earlier versions of the spec among them."""
    done: int
    """Trials with a result."""
    bytes: int
    """The size of all its files."""
    changed: float
    """The time at which a trial began or ended last, in seconds since 1970."""
    holder: LeaseHolder | None
    """The driver that is running, if any."""


def contents_of(store: Store) -> list[SweepContents]:
    """Every sweep of the store, sorted by name."""
    return [_of_sweep(store, name) for name in counted_off(store.sweeps(), "reading sweeps")]


def _of_sweep(store: Store, name: str) -> SweepContents:
    path = store.sweep_path(name)
    folders = trial_folders(path)
    times = [_time(folder / "attempts.jsonl") for folder in folders]
    return SweepContents(
        name,
        begun=len(folders),
        done=sum((folder / "result.json").is_file() for folder in folders),
        bytes=size_of(path),
        changed=max([_time(path / "sweep.yaml"), *times]),
        holder=live_holder(path),
    )


def trial_folders(sweep_path: Path) -> list[Path]:
    """Folders of the sweep's trials, sorted; none where it has none."""
    try:
        entries = sorted(os.scandir(sweep_path / "trials"), key=lambda entry: entry.name)
    except OSError:
        return []
    return [Path(entry.path) for entry in entries if entry.is_dir()]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        return sum(size_of(Path(entry.path)) for entry in os.scandir(path))
    except OSError:  # it went away while we looked
        return 0


def bytes_text(count: int) -> str:
    """`850 kB`, `1.2 GB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
