"""ADE20K as published for its scene parsing challenge: pictures, and a class for each pixel.

`images/training/ADE_train_00000001.jpg` and `annotations/training/ADE_train_00000001.png`, and the
same under `validation`. An annotation has 8 bits a pixel: 0 where there is none of the 150 classes,
which is left out of every score, and else the class from 1 (Zhou et al., CVPR 2017).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from illama.evaluation.segmentation import IGNORED

CLASSES = 150
PARTS = ("training", "validation")
_WHERE = (
    "ADE20K has images/training/*.jpg, annotations/training/*.png and the same under validation; "
    "unpack http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip in data_dir "
    "(runtime.data_dir, ILLAMA_DATA or data), or name its folder with the option 'folder'"
)


@dataclass(frozen=True)
class Scene:
    """Picture and the file of its classes."""

    picture: Path
    annotation: Path


def read(folder: Path) -> Mapping[str, Sequence[Scene]]:
    """Scenes of `training` and `validation`, in order.

    Raises `FileNotFoundError` where a folder, or the annotation of a picture, is not there, and
    `ValueError` where a folder has no picture.
    """
    return {part: _scenes(folder, part) for part in PARTS}


def _scenes(folder: Path, part: str) -> list[Scene]:
    pictures, annotations = folder / "images" / part, folder / "annotations" / part
    for needed in (pictures, annotations):
        if not needed.is_dir():
            raise FileNotFoundError(f"{needed} is missing: {_WHERE}")
    found = [
        Scene(path, annotations / f"{path.stem}.png") for path in sorted(pictures.glob("*.jpg"))
    ]
    if not found:
        raise ValueError(f"{pictures} has no *.jpg: {_WHERE}")
    for scene in found:
        if not scene.annotation.is_file():
            raise FileNotFoundError(f"{scene.annotation} is missing, but {scene.picture} exists")
    return found


def classes_of(annotation: Path) -> npt.NDArray[np.int64]:
    """Class of each pixel from 0 to 149, `IGNORED` where there is none: (height, width).

    Raises `ValueError` for a file that is no picture of classes, or has other ones.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(annotation) as opened:
            found = np.asarray(opened)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{annotation} cannot be read: {error}") from error
    if found.ndim != 2 or found.dtype != np.uint8:
        raise ValueError(
            f"{annotation} has {found.dtype} of shape {found.shape}; expected one byte per pixel"
        )
    if found.max() > CLASSES:
        raise ValueError(f"{annotation} has the class {found.max()}; there are 1 to {CLASSES}")
    return np.where(found == 0, IGNORED, found.astype(np.int64) - 1)
