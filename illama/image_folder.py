"""Images in folders as ImageNet has them: `train/<class>/<image>` and `val/<class>/<image>`. Listing and digest; no torch."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}


@dataclass(frozen=True)
class Listing:
    """The images of one part, `train` or `val`."""

    paths: list[Path]
    labels: list[int]
    """The class of each, as its place among the sorted class names."""


def read(folder: Path) -> tuple[Listing, Listing, list[str]]:
    """Training images, validation images and class names.

    Raises `FileNotFoundError` when a part is missing and `ValueError` naming the class that is empty or in one part only.
    """
    train, val = _classes(folder / "train"), _classes(folder / "val")
    if strangers := sorted(val.keys() - train.keys()):
        raise ValueError(f"{folder / 'val' / strangers[0]} is a class that {folder / 'train'} does not have")
    if missing := sorted(train.keys() - val.keys()):
        raise ValueError(f"{folder / 'val'} has no folder for the class {missing[0]} of {folder / 'train'}")
    names = sorted(train)
    return _listing(train, names), _listing(val, names), names


def digest(folder: Path) -> str:
    """SHA-256 over the name and size of every file, in order: cheap for a million images, and any other set has another one."""
    for part in ("train", "val"):
        _classes(folder / part)
    entries: list[str] = []
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as inside:
            for entry in inside:
                if entry.is_dir():
                    pending.append(entry.path)
                else:
                    entries.append(f"{os.path.relpath(entry.path, folder)}\0{entry.stat().st_size}")
    return sha256("\n".join(sorted(entries)).encode("utf-8", "surrogateescape")).hexdigest()


def _classes(part: Path) -> dict[str, Path]:
    if not part.is_dir():
        raise FileNotFoundError(
            f"{part} is not there: an image folder has train/<class>/<image> and val/<class>/<image>; check data.folder and "
            "data_dir"
        )
    classes = {path.name: path for path in part.iterdir() if path.is_dir()}
    if not classes:
        raise ValueError(f"{part} has no folders: expected one per class")
    return classes


def _listing(classes: dict[str, Path], names: list[str]) -> Listing:
    paths, labels = [], []
    for label, name in enumerate(names):
        found = sorted(path for path in classes[name].rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"the class {classes[name]} is empty: expected images ({', '.join(sorted(SUFFIXES))})")
        paths += found
        labels += [label] * len(found)
    return Listing(paths, labels)
