"""Held-out images as a second source of chance, beside seeds. Pure.

Two variants were measured on the same images with several seeds each; `marks` say which images each
network got right, (seeds, images). The images are a draw, as the seeds are: the difference that
image i shows varies around the mean, whatever the seed, and so does what a seed shows. That is a
two-way crossed layout with random effects, and the variance of the mean difference is

    seeds' part  =  variance of the seeds' differences / S        (what Student's interval has)
    images' part =  (mean square of images - mean square of the rest) / (S N), at least 0

by the moments of the analysis of variance: the plain variance over images would count the noise of
a single seed on a single image a second time. The interval adds the squares of two half-widths,
Student's for the seeds and the normal one for the images, of which there are many. With no images'
part it is Student's interval and it is never narrower. `benchmarks/calibration_images.py` measures
how often it holds the truth.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from orchestrator.stats.inference import CONFIDENCE

Marks = npt.NDArray[np.bool_]
"""The images that each network got right, as a mask: (seeds, images)."""
Interval = tuple[float, float]

_ENOUGH = 10
"""Images that some networks got right and others wrong; of fewer no spread can be told."""


@dataclass(frozen=True)
class ImageChance:
    """Chance that lies in the images of a comparison of two variants."""

    images: int
    """Number of images that both were measured on."""
    std_error: float
    """Standard deviation of the mean difference over draws of such images; a share, not percent."""
    disagreement: float
    """Share of the images on which exactly one of the two is right, with the same seed; mean over
    seeds."""
    disagreement_between_seeds: float
    """The disagreement of two seeds of one variant, mean over both variants: what chance alone
    does.
    """


def image_chance(first: Marks, second: Marks, *, paired: bool = True) -> ImageChance | None:
    """Tell how much of the difference between two variants, measured on the same images, may lie in
    the images; None with fewer than two seeds, or where all but a few images tell nothing.

    `paired`: row s of both was trained with the same seed. Otherwise they may have different
    numbers of seeds, and disagreement is the mean over all pairs of one seed of each.
    """
    if min(len(first), len(second)) < 2:
        return None
    share = np.concatenate([first, second]).mean(axis=0)  # (images,)
    if np.count_nonzero((share > 0) & (share < 1)) < _ENOUGH:
        return None
    floors = [disagreement_between_seeds(marks) for marks in (first, second)]
    return ImageChance(
        images=first.shape[1],
        std_error=image_std_error(first, second, paired=paired),
        disagreement=disagreement(first, second, paired=paired),
        disagreement_between_seeds=sum(floors) / 2,
    )


def image_std_error(first: Marks, second: Marks, *, paired: bool = True) -> float:
    """Standard deviation, over draws of the images, of the mean difference in the share that is
    right; at least two seeds and two images.
    """
    by_image = first.mean(axis=0) - second.mean(axis=0)  # (images,)
    if paired:
        noise = _rest(first.astype(float) - second) / len(first)
    else:
        noise = _rest(first.astype(float)) / len(first) + _rest(second.astype(float)) / len(second)
    of_images = float(by_image.var(ddof=1)) - noise
    return math.sqrt(max(0.0, of_images) / len(by_image))


def _rest(values: npt.NDArray[np.float64]) -> float:
    """Mean square of what neither the seed nor the image explains; values: (seeds, images)."""
    seeds, images = values.shape
    by_image, by_seed = values.mean(axis=0), values.mean(axis=1)
    rest = values - by_image - by_seed[:, None] + values.mean()  # (seeds, images)
    return float((rest**2).sum() / ((seeds - 1) * (images - 1)))


def with_images(ci: Interval, std_error: float, confidence: float = CONFIDENCE) -> Interval:
    """An interval over seeds, of that confidence, widened by the images' part: both are in the same
    unit.
    """
    middle, half = (ci[0] + ci[1]) / 2, (ci[1] - ci[0]) / 2
    of_images = NormalDist().inv_cdf((1 + confidence) / 2) * std_error
    wider = math.hypot(half, of_images)
    return middle - wider, middle + wider


def disagreement(first: Marks, second: Marks, *, paired: bool = True) -> float:
    """Share of the images on which exactly one of two networks is right, mean over pairs of
    seeds.
    """
    if paired:
        return float((first != second).mean())
    ours, theirs = first.mean(axis=0), second.mean(axis=0)  # (images,): share of the seeds
    return float((ours * (1 - theirs) + theirs * (1 - ours)).mean())


def disagreement_between_seeds(marks: Marks) -> float:
    """Share of the images on which exactly one of two seeds is right, mean over all pairs of at
    least two seeds.
    """
    seeds = len(marks)
    right = marks.sum(axis=0)  # (images,)
    return float((right * (seeds - right)).mean() / math.comb(seeds, 2))
