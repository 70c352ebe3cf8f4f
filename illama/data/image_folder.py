"""Images in folders as ImageNet has them: `train/<class>/<image>`, and `val` and perhaps `test`.

Listing and digest; no torch. Images may lie deeper below their class; links are followed; what is
hidden (its name begins with a dot) is not seen.
"""

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from illama.data.registry import Source

if TYPE_CHECKING:
    from illama.config import DataConfig, ModelConfig, UserModel

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
PARTS = ("train", "val")


def side_of(model: "ModelConfig | UserModel") -> int:
    """Height and width, in pixels, that images are cut to. Raises `ValueError` for a rectangle."""
    size = model.img_size
    if not isinstance(size, int):
        raise ValueError(f"images of a folder are cropped to squares, not to {list(size)}")
    return size


@dataclass(frozen=True)
class Listing:
    """The images of one part: a million of them in a few arrays, which worker processes share."""

    folder: Path
    names: bytes
    """Paths below the folder, one right after the other."""
    ends: npt.NDArray[np.int64]
    """The end of each class in the list of images."""
    labels: npt.NDArray[np.int64]
    """The class of each, as its place among the sorted class names."""

    def __len__(self) -> int:
        return len(self.ends)

    def path(self, index: int) -> Path:
        """The path of one image."""
        start = self.ends[index - 1] if index else 0
        return self.folder / os.fsdecode(self.names[start : self.ends[index]])

    @property
    def digest(self) -> str:
        """SHA-256 of the images' names and labels, wherever the folder lies."""
        found = sha256(self.names)
        for numbers in (self.ends, self.labels):
            found.update(numbers.astype("<i8").tobytes())
        return f"names:{found.hexdigest()}"


@dataclass(frozen=True)
class ImageFolder:
    """The parts of an image folder, and the names of its classes."""

    parts: Mapping[str, Listing]
    """`train`, `val` and, where it was asked for, `test`."""
    classes: Sequence[str]


def read(folder: Path, *, test: bool = False) -> ImageFolder:
    """Training and validation images, with `test` also the test images, and class names.

    Raises `FileNotFoundError` when a part is missing and `ValueError` naming the class that is
    empty or in one part only.
    """
    wanted = (*PARTS, "test") if test else PARTS
    classes = {part: _classes(folder / part) for part in wanted}
    train = classes.pop("train")
    for part, found in classes.items():
        if strangers := sorted(found - train):
            raise ValueError(
                f"{folder / part / strangers[0]} is a class that {folder / 'train'} does not have"
            )
        if missing := sorted(train - found):
            raise ValueError(
                f"{folder / part} has no folder for the class {missing[0]} of {folder / 'train'}"
            )
    names = sorted(train)
    return ImageFolder({part: _listing(folder / part, names) for part in wanted}, names)


def digest(folder: Path, *, test: bool = False) -> str:
    """SHA-256 over the name and size of every image, in order: cheap for a million of them, and any
    other set has another one.

    Raises as `read` does.
    """
    found = sha256()
    for part, listing in read(folder, test=test).parts.items():
        for index in range(len(listing)):
            path = listing.path(index)
            found.update(
                os.fsencode(f"{part}/{path.relative_to(listing.folder)}")
                + b"\0%d\n" % path.stat().st_size
            )
    return found.hexdigest()


def _classes(part: Path) -> set[str]:
    if not part.is_dir():
        what = "train/<class>/<image> and val/<class>/<image>"
        if part.name == "test":
            what += ", and with data.test: official also test/<class>/<image>"
        raise FileNotFoundError(
            f"{part} is missing: an image folder has {what}; check data.folder and data_dir "
            "(ImageNet itself is published at https://image-net.org)"
        )
    classes = {
        entry.name
        for entry in os.scandir(part)
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if not classes:
        raise ValueError(f"{part} has no folders: expected one per class")
    return classes


def _listing(part: Path, classes: list[str]) -> Listing:
    names, ends, labels = bytearray(), array("q"), array("q")
    for label, name in enumerate(classes):
        found = _images(part, name)
        if not found:
            raise ValueError(
                f"the class {part / name} is empty: expected images ({', '.join(SUFFIXES)})"
            )
        for image in found:
            names += image
            ends.append(len(names))
        labels.extend([label] * len(found))
    return Listing(
        part, bytes(names), np.frombuffer(ends, np.int64), np.frombuffer(labels, np.int64)
    )


def _images(part: Path, name: str) -> list[bytes]:
    """The images of a class, by their paths below `part`, in order."""
    found = []
    for folder, below, files in os.walk(part / name, followlinks=True):
        below[:] = [inside for inside in below if not inside.startswith(".")]
        place = Path(folder).relative_to(part)
        found += [
            os.fsencode(place / file)
            for file in files
            if file.lower().endswith(SUFFIXES) and not file.startswith(".")
        ]
    return sorted(found)


def _digest(data: "DataConfig", directory: Path) -> str:
    return f"names-and-sizes:{digest(directory / data.folder, test=data.has_test)}"


IMAGE_FOLDER = Source(_digest, published="parts")
