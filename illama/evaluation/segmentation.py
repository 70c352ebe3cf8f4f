"""Scores of segmentation: pixels given their class, and mean intersection over union.

As on ADE20K (Zhou et al., CVPR 2017): the counts of all images are added up before anything is
divided, and pixels without a class are left out.
"""

import numpy as np
import numpy.typing as npt

IGNORED = -1
"""Label of a pixel that has no class."""

Counts = npt.NDArray[np.int64]
Classes = npt.NDArray[np.integer]


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
        raise ValueError("no pixel has a class, so there is nothing to score")
    return 100 * float((right[union > 0] / union[union > 0]).mean())


def pixel_accuracy(counts: Counts) -> float:
    """Share of pixels that were given their class, in percent. counts: (classes, classes)."""
    return 100 * float(np.trace(counts) / counts.sum())
