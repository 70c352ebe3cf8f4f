"""Files that trainings of a user's own left for people, on the page: images as they are, all others
by name.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.store.artifacts import FOLDER, Artifact, artifacts_in
from orchestrator.store.contents import bytes_text

_IMAGES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
}
"""Endings and types of files that a browser shows in `<img>`, where no script of theirs runs."""
_MOST_OF_ONE = 500_000
_MOST_OF_ALL = 10_000_000
"""Bytes of images inside the page; the others stand there by name."""


@dataclass(frozen=True)
class ArtifactEntry:
    """One file."""

    name: str
    size: str
    address: str
    """The picture itself; empty for what is no picture, or too large for the page."""


@dataclass(frozen=True)
class ArtifactsOfTrial:
    """All files of one trial."""

    step: str
    seed: int
    folder: str
    """Folder that they are in, below the sweep's folder in the store."""
    entries: Sequence[ArtifactEntry]
    remark: str


def artifacts_of(roadmap: Roadmap) -> list[ArtifactsOfTrial]:
    """The files of every trial that left any, in the order of the road."""
    return list(_trials(roadmap))


def _trials(roadmap: Roadmap) -> Iterator[ArtifactsOfTrial]:
    room = _MOST_OF_ALL
    for row in roadmap.rows:
        for seed, path in sorted(row.paths.items()):
            found = artifacts_in(Path(path))
            if not found.shown:
                continue
            entries = []
            for artifact in found.shown:
                address = _address(artifact, min(room, _MOST_OF_ONE))
                room -= artifact.size if address else 0
                entries.append(ArtifactEntry(artifact.name, bytes_text(artifact.size), address))
            folder = f"trials/{Path(path).name}/{FOLDER}"
            yield ArtifactsOfTrial(row.variant.label, seed, folder, entries, found.remark)


def _address(artifact: Artifact, most: int) -> str:
    kind = _IMAGES.get(artifact.path.suffix.lower())
    if kind is None or artifact.size > most:
        return ""
    try:
        content = artifact.path.read_bytes()
    except OSError:  # it went away while we looked
        return ""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
