"""Scores of segmentation: a class for each pixel, mean intersection over union, and sliding
windows.

As on ADE20K (Zhou et al., CVPR 2017): the counts of all images are added up before anything is
divided, and pixels without a class are left out.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -1
"""Label of a pixel that has no class."""

Counts = npt.NDArray[np.int64]
Classes = npt.NDArray[np.integer]
Segment = Callable[[Tensor], Tensor]
"""From images (B, channels, height, width) to logits (B, classes, height, width)."""


def confusion(predicted: Classes, labels: Classes, classes: int) -> Counts:
    """Number of pixels of each class (row) that were given each class (column).

    Both arrays have one shape, any; pixels labelled `IGNORED` are left out. Raises `ValueError` for
    a class outside 0 to `classes` - 1.
    """
    known = labels != IGNORED
    wanted, given = labels[known].astype(np.int64), predicted[known].astype(np.int64)
    for kind, found in (("label", wanted), ("predicted class", given)):
        if found.size and (found.min() < 0 or found.max() >= classes):
            raise ValueError(
                f"{kind} {found.min()} to {found.max()}; there are {classes} classes, from 0"
            )
    counts = np.bincount(wanted * classes + given, minlength=classes**2)
    return counts.reshape(classes, classes)


def mean_iou(counts: Counts) -> float:
    """Mean over the classes of intersection over union, in percent.

    counts: (classes, classes), from `confusion`. Classes that are neither there nor predicted are
    left out. Raises `ValueError` where no pixel was counted.
    """
    right = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    if not union.any():
        raise ValueError("no pixel has a class, so that there is nothing to score")
    return 100 * float((right[union > 0] / union[union > 0]).mean())


def pixel_accuracy(counts: Counts) -> float:
    """Share of pixels that were given their class, in percent. counts: (classes, classes)."""
    return 100 * float(np.trace(counts) / counts.sum())


@torch.no_grad()
def sliding_window(segment: Segment, images: Tensor, window: int, stride: int) -> Tensor:
    """Probabilities of each pixel's classes, the mean over the windows that cover it.

    images: (B, channels, height, width), each side at least `window`; returns
    (B, classes, height, width). The last window of a row ends at the border. Raises `ValueError`
    for a smaller image, or a stride that skips pixels.
    """
    height, width = images.shape[2:]
    if min(height, width) < window:
        raise ValueError(f"an image of {height} x {width} is smaller than the window of {window}")
    if not 1 <= stride <= window:
        raise ValueError(f"a stride of {stride} skips pixels; allowed is 1 to {window}")
    total: Tensor | None = None
    count = torch.zeros(height, width, device=images.device)
    for top in _starts(height, window, stride):
        for left in _starts(width, window, stride):
            rows, columns = slice(top, top + window), slice(left, left + window)
            found = segment(images[:, :, rows, columns]).softmax(dim=1)
            if total is None:
                total = found.new_zeros(*found.shape[:2], height, width)
            total[:, :, rows, columns] += found
            count[rows, columns] += 1
    assert total is not None
    return total / count


@torch.no_grad()
def multi_scale(
    segment: Segment, images: Tensor, window: int, stride: int, scales: Sequence[float]
) -> Tensor:
    """Probabilities of each pixel's classes, the mean over images of several sizes, each also
    mirrored.

    Sides become `scales` times as long, but at least `window`; see `sliding_window`.
    """
    size = images.shape[2:]
    total: Tensor | None = None
    for scale in scales:
        wanted = [max(window, round(scale * side)) for side in size]
        scaled = F.interpolate(images, wanted, mode="bilinear", antialias=True)
        for mirrored in (False, True):
            seen = scaled.flip(3) if mirrored else scaled
            found = sliding_window(segment, seen, window, stride)
            found = found.flip(3) if mirrored else found
            found = F.interpolate(found, size, mode="bilinear")
            total = found if total is None else total + found
    if total is None:
        raise ValueError("there is no scale; name at least one, such as 1.0")
    return total / (2 * len(scales))


def _starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one side."""
    starts = list(range(0, length - window + 1, stride))
    if starts[-1] + window < length:
        starts.append(length - window)
    return starts
