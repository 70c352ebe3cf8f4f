"""Images in memory with their labels, checked, and the digest that says exactly which they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Dataset:
    """Images in memory, (n, channels, height, width) with the pixels as they came, and labels (n,)
    from 0.
    """

    train_images: Images
    train_labels: Labels
    val_images: Images
    val_labels: Labels
    num_classes: int
    mean: npt.NDArray[np.float32]
    """The mean of the training images' pixels, per channel."""
    std: npt.NDArray[np.float32]
    """The standard deviation of the training images' pixels, per channel."""
    test_images: Images | None = None
    """Images for the report alone; none where there are no such images."""
    test_labels: Labels | None = None

    @classmethod
    def of(
        cls,
        train_images: Images,
        train_labels: Labels,
        val_images: Images,
        val_labels: Labels,
        num_classes: int,
    ) -> Self:
        """A data set with mean and standard deviation measured on the training images."""
        mean = train_images.mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        std = train_images.std(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        std[std == 0] = 1  # a channel of one value has nothing to normalise
        return cls(train_images, train_labels, val_images, val_labels, num_classes, mean, std)

    def with_test(self, images: Images, labels: Labels) -> Self:
        """The data set with a test part: images that nothing is chosen by, for the report alone.

        Raises `ValueError` where they are no images like those for training.
        """
        images, labels = _images(np.asarray(images), "test"), _labels(np.asarray(labels), "test")
        _check_alike(
            {"train": self.train_images, "test": images},
            {"train": self.train_labels, "test": labels},
        )
        return replace(self, test_images=images, test_labels=labels)

    def part(self, name: str) -> tuple[Images, Labels]:
        """Images and labels of `train`, `val` or `test`. Raises `ValueError` where it has none."""
        images, labels = getattr(self, f"{name}_images"), getattr(self, f"{name}_labels")
        if images is None or labels is None:
            raise ValueError(f"the dataset has no {name} part")
        return images, labels

    @property
    def has_test(self) -> bool:
        """True if there are images for the report alone."""
        return self.test_labels is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image: channels, height, width."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    @property
    def digest(self) -> str:
        """SHA-256 of every array, its shape and its type."""
        arrays = [self.train_images, self.train_labels, self.val_images, self.val_labels]
        arrays += [self.mean, self.std]
        if self.has_test:
            arrays += self.part("test")
        return _digest(arrays, str(self.num_classes))

    def digest_of(self, part: str) -> str:
        """SHA-256 of the images and labels of one part."""
        return _digest(self.part(part))


def checked(found: Any) -> Dataset:
    """Make a `Dataset` of what a user's function returned: one already, or its arrays.

    These are train_images, train_labels, val_images and val_labels, and behind them, where there is
    a test part, test_images and test_labels. Raises `ValueError` where it is neither, or where the
    arrays do not fit together.
    """
    if isinstance(found, Dataset):
        return found
    if not isinstance(found, Sequence) or len(found) not in (4, 6):
        what = f"{len(found)} values" if isinstance(found, Sequence) else type(found).__name__
        raise ValueError(
            f"returned {what}; expected (train_images, train_labels, val_images, val_labels), and "
            "perhaps test_images and test_labels"
        )
    arrays = [np.asarray(array) for array in found]
    images = {part: _images(array, part) for part, array in zip(_PARTS, arrays[0::2], strict=False)}
    labels = {part: _labels(array, part) for part, array in zip(_PARTS, arrays[1::2], strict=False)}
    _check_alike(images, labels)
    num_classes = int(max(of_part.max() for of_part in labels.values())) + 1
    dataset = Dataset.of(
        images["train"], labels["train"], images["val"], labels["val"], num_classes
    )
    return dataset.with_test(images["test"], labels["test"]) if "test" in images else dataset


def _check_alike(images: Mapping[str, Images], labels: Mapping[str, Labels]) -> None:
    """Raises `ValueError` unless all images have one shape, and each image a label."""
    shape = images["train"].shape[1:]
    for part, of_part in images.items():
        if of_part.shape[1:] != shape:
            raise ValueError(
                f"returned train_images of {shape} and {part}_images of {of_part.shape[1:]}"
            )
    for part, of_part in images.items():
        if len(of_part) != len(labels[part]):
            raise ValueError(
                f"returned {len(of_part)} {part}_images and {len(labels[part])} {part}_labels"
            )


def _digest(arrays: Iterable[npt.NDArray[Any]], start: str = "") -> str:
    """SHA-256 of every array, its shape and its type."""
    digest = sha256(start.encode())
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def _images(array: npt.NDArray[Any], part: str) -> Images:
    """uint8 as it is, all other numbers as float32."""
    if array.ndim != 4 or not len(array) or array.dtype.kind not in "uif":
        found = f"{array.dtype} of shape {array.shape}"
        raise ValueError(
            f"returned {part}_images that are {found}; expected numbers of shape (n, channels, "
            "height, width)"
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
