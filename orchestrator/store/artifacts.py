"""Files that a training of a user's own leaves for people: images, tables, whatever it writes into
its `artifacts_dir`.

They stay in the trial's folder, all of them. What is shown elsewhere is bounded: a training that
writes a picture an iteration must not fill a tracking server.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import counted
from orchestrator.store.contents import bytes_text
from orchestrator.store.own_mlflow import artifact_folders

FOLDER = "artifacts"
"""Folder below the trial's; `illama.training.user_training` makes it."""
MOST_FILES = 200
"""Limit on the files of one trial that MLflow and reports show."""
MOST_BYTES = 100_000_000
"""Limit in bytes on the files of one trial that MLflow and reports show, all together."""


@dataclass(frozen=True)
class Artifact:
    """One file."""

    name: str
    """Path below the folder of artifacts, with slashes."""
    path: Path
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Artifacts:
    """Files of one trial, by name."""

    shown: Sequence[Artifact] = ()
    left_out: int = 0
    """Number of files beyond the limits, which are in the trial's folder alone."""

    @property
    def remark(self) -> str:
        """Remark on those that are left out; empty where all are shown."""
        if not self.left_out:
            return ""
        limits = f"{MOST_FILES} files and {bytes_text(MOST_BYTES)} of a trial"
        return f"{counted(self.left_out, 'file')} left out: at most {limits} are shown"


def artifacts_in(trial: Path) -> Artifacts:
    """Artifacts in a trial's folder; links, and whatever else is no plain file, are passed over."""
    found: dict[str, Artifact] = {}
    for folder in (trial / FOLDER, *artifact_folders(trial)):
        for artifact in _files_below(folder):
            found.setdefault(artifact.name, artifact)
    shown: list[Artifact] = []
    size = 0
    for name in sorted(found):
        is_within = len(shown) < MOST_FILES and size + found[name].size <= MOST_BYTES
        if is_within:
            shown.append(found[name])
            size += found[name].size
    return Artifacts(shown, len(found) - len(shown))


def _files_below(folder: Path) -> Iterator[Artifact]:
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in names:
            path = Path(parent, name)
            try:
                if path.is_symlink() or not path.is_file():
                    continue
                size = path.stat().st_size
            except OSError:  # it went away while we looked
                continue
            yield Artifact(path.relative_to(folder).as_posix(), path, size)
