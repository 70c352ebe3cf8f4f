"""Images in memory with their labels, checked, and the digest that says exactly which they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """Images in memory, (n, channels, height, width) with the pixels as they came, and labels (n,) from 0."""

    train_images: Images
    train_labels: Labels
    val_images: Images
    val_labels: Labels
    num_classes: int
    mean: npt.NDArray[np.float32]
    """Of the training images' pixels, per channel."""
    std: npt.NDArray[np.float32]
    """Their standard deviation, per channel."""

    @classmethod
    def of(
        cls,
        train_images: Images,
        train_labels: Labels,
        val_images: Images,
        val_labels: Labels,
        num_classes: int,
    ) -> Self:
        """With mean and standard deviation measured on the training images."""
        mean = train_images.mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        std = train_images.std(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        std[std == 0] = 1  # a channel of one value has nothing to normalise
        return cls(train_images, train_labels, val_images, val_labels, num_classes, mean, std)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def digest(self) -> str:
        """SHA-256 of every array, its shape and its type."""
        digest = sha256(str(self.num_classes).encode())
        for array in (
            self.train_images,
            self.train_labels,
            self.val_images,
            self.val_labels,
            self.mean,
            self.std,
        ):
            digest.update(f"{array.shape} {array.dtype.str}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return f"sha256:{digest.hexdigest()}"


def checked(found: Any) -> Dataset:
    """What somebody's function returned as a `Dataset`: one, or train_images, train_labels, val_images and val_labels.

    Raises `ValueError` where it is neither, or where the arrays do not fit together.
    """
    if isinstance(found, Dataset):
        return found
    if not isinstance(found, Sequence) or len(found) != 4:
        what = f"{len(found)} values" if isinstance(found, Sequence) else type(found).__name__
        raise ValueError(
            f"returned {what}; expected (train_images, train_labels, val_images, val_labels)"
        )
    train_images, train_labels, val_images, val_labels = map(np.asarray, found)
    images = [
        _images(array, part) for array, part in ((train_images, "train"), (val_images, "val"))
    ]
    labels = [
        _labels(array, part) for array, part in ((train_labels, "train"), (val_labels, "val"))
    ]
    if images[0].shape[1:] != images[1].shape[1:]:
        raise ValueError(
            f"returned train_images of {images[0].shape[1:]} and val_images of {images[1].shape[1:]}"
        )
    for part, of_part, their_labels in zip(("train", "val"), images, labels, strict=True):
        if len(of_part) != len(their_labels):
            raise ValueError(
                f"returned {len(of_part)} {part}_images and {len(their_labels)} {part}_labels"
            )
    return Dataset.of(
        images[0], labels[0], images[1], labels[1], int(max(part.max() for part in labels)) + 1
    )


def _images(array: npt.NDArray[Any], part: str) -> Images:
    """uint8 as it is, all other numbers as float32."""
    if array.ndim != 4 or not len(array) or array.dtype.kind not in "uif":
        found = f"{array.dtype} of shape {array.shape}"
        raise ValueError(
            f"returned {part}_images that are {found}; expected numbers of shape (n, channels, height, width)"
        )
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def _labels(array: npt.NDArray[Any], part: str) -> Labels:
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "ui" or array.min() < 0:
        found = f"{array.dtype} of shape {array.shape}" + (
            f" from {array.min()}" if array.size else ""
        )
        raise ValueError(
            f"returned {part}_labels that are {found}; expected whole numbers from 0, of shape (n,)"
        )
    return array.astype(np.int64)
