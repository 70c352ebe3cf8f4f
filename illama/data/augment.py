"""Random changes to whole batches on their device: flip, crop, erase, mix.

Every draw belongs to (seed, epoch, image) or (seed, iteration), never to a stream, so it does not
matter where a training was interrupted or how its batches are cut for the device.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from illama.config import TrainConfig
from illama.randomness import derive, shuffler

ERASED_AREA = (0.02, 1 / 3)
ERASED_ASPECT = (0.3, 1 / 0.3)


class Mixed(NamedTuple):
    """A batch whose images may be blends of two: the loss counts `labels` with `share` and `others`
    with the rest.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float | Tensor
    """The share of all images, or of each, (B,)."""

    def part(self, rows: slice) -> "Mixed":
        """Some of the images."""
        share = self.share[rows] if isinstance(self.share, Tensor) else self.share
        return Mixed(self.images[rows], self.labels[rows], self.others[rows], share)


def resized(images: Tensor, side: int | None) -> Tensor:
    """Images (B, C, H, W) as (B, C, side, side), by cubic interpolation without aliases; as they
    are without a side.
    """
    if side is None:
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True)


def flip_and_crop(
    images: Tensor, train: TrainConfig, seed: int, epoch: int, indices: npt.NDArray[np.int64]
) -> Tensor:
    """Mirror (`train.hflip`) and shift (`train.random_crop`) images (B, C, H, W) that are number
    `indices` of the data set.
    """
    if not train.hflip and not train.random_crop:
        return images
    draws = np.array(
        [
            shuffler(derive(seed, "flip and crop", epoch, int(index))).random_sample(3)
            for index in indices
        ]
    )
    batch, _, height, width = images.shape
    columns = torch.arange(width).expand(batch, -1)
    mirrored = torch.from_numpy(draws[:, 0] < train.hflip)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)  # (B, W)
    places = torch.from_numpy(
        (draws[:, 1:] * (2 * train.random_crop + 1)).astype(np.int64)
    )  # (B, 2)
    rows = torch.arange(height) + places[:, :1]  # (B, H)
    columns = columns + places[:, 1:]
    padded = F.pad(images, [train.random_crop] * 4).permute(0, 2, 3, 1)  # (B, H + 2p, W + 2p, C)
    device = images.device
    which = torch.arange(batch, device=device)[:, None, None]
    return (
        padded[which, rows[:, :, None].to(device), columns[:, None, :].to(device)]
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def erase(
    images: Tensor, probability: float, seed: int, epoch: int, indices: npt.NDArray[np.int64]
) -> Tensor:
    """Random erasing: with `probability`, a rectangle of 2 to 33 % of an image becomes normal
    noise. images: (B, C, H, W).
    """
    if not probability:
        return images
    channels, height, width = images.shape[1:]
    noise, erased = (
        np.zeros(images.shape, np.float32),
        np.zeros((len(images), 1, height, width), np.bool_),
    )
    for number, index in enumerate(indices):
        random = shuffler(derive(seed, "erase", epoch, int(index)))
        if random.random_sample() >= probability:
            continue
        for _ in range(10):  # a rectangle may not fit; ten attempts, as in timm
            area = random.uniform(*ERASED_AREA) * height * width
            aspect = np.exp(random.uniform(*np.log(ERASED_ASPECT)))
            h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = random.randint(height - h + 1), random.randint(width - w + 1)
                place = number, slice(None), slice(top, top + h), slice(left, left + w)
                noise[place], erased[place] = random.standard_normal((channels, h, w)), True
                break
    return torch.where(
        torch.from_numpy(erased).to(images.device), torch.from_numpy(noise).to(images), images
    )


def mix(
    images: Tensor,
    labels: Tensor,
    train: TrainConfig,
    seed: int,
    iteration: int,
    rows: slice | npt.NDArray[np.int64] = slice(None),
) -> Mixed:
    """Mixup or cutmix, one of them for each group of images, each image with its mirror place in
    the batch (timm's mode `batch`).

    Of a batch that several processes share, `rows` are those of this one: with every image its
    mirror place.
    """
    if not train.mixup and not train.cutmix:
        return Mixed(images, labels, labels, 1.0)
    if train.mix_group is None:
        return _mix(images, labels, train, shuffler(derive(seed, "mix", iteration)))
    places = np.arange(train.batch_size)[rows]
    groups = np.minimum(places, train.batch_size - 1 - places) // (train.mix_group // 2)
    mixed, share = torch.empty_like(images), torch.empty(len(images), device=images.device)
    for group in np.unique(groups):
        members = torch.from_numpy(np.flatnonzero(groups == group)).to(
            images.device, non_blocking=True
        )
        random = shuffler(derive(seed, "mix", iteration, int(group)))
        mixed[members], _, _, share[members] = _mix(images[members], labels[members], train, random)
    return Mixed(mixed, labels, labels.flip(0), share)


def _mix(
    images: Tensor, labels: Tensor, train: TrainConfig, random: np.random.RandomState
) -> Mixed:
    cut = bool(train.cutmix) and (not train.mixup or random.random_sample() < 0.5)
    strength = train.cutmix if cut else train.mixup
    share = float(random.beta(strength, strength))
    if not cut:
        return Mixed(images * share + images.flip(0) * (1 - share), labels, labels.flip(0), share)
    top, bottom, left, right = _rectangle(random, images.shape[2], images.shape[3], share)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    return Mixed(mixed, labels, labels.flip(0), kept)


def _rectangle(
    random: np.random.RandomState, height: int, width: int, share: float
) -> tuple[int, int, int, int]:
    """A rectangle of (1 - share) of the area around a random place, cut off at the border: top,
    bottom, left, right.
    """
    h, w = int(height * np.sqrt(1 - share)), int(width * np.sqrt(1 - share))
    y, x = random.randint(height), random.randint(width)
    return max(y - h // 2, 0), min(y + h // 2, height), max(x - w // 2, 0), min(x + w // 2, width)


def loss(logits: Tensor, batch: Mixed, label_smoothing: float) -> Tensor:
    """Cross-entropy (nats, mean over the batch) against the labels of a batch that may be mixed."""
    if isinstance(batch.share, Tensor):
        own = F.cross_entropy(
            logits, batch.labels, reduction="none", label_smoothing=label_smoothing
        )
        other = F.cross_entropy(
            logits, batch.others, reduction="none", label_smoothing=label_smoothing
        )
        return (batch.share * own + (1 - batch.share) * other).mean()
    first = F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    if batch.share == 1.0:
        return first
    second = F.cross_entropy(logits, batch.others, label_smoothing=label_smoothing)
    return batch.share * first + (1 - batch.share) * second
