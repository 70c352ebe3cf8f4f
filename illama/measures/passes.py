"""Forward passes that measures share: logits, probabilities and features of all images."""

import time
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Batches = Iterable[tuple[Tensor, Tensor]]


@torch.no_grad()
def outputs(function: Callable[[Tensor], Tensor], batches: Batches) -> tuple[Floats, Labels]:
    """Results of `function` on all images, (images, ...), as float64, and the labels (images,)."""
    results, labels = [], []
    for images, of_batch in batches:
        results.append(function(images).double().cpu().numpy())
        labels.append(of_batch.cpu().numpy())
    return np.concatenate(results), np.concatenate(labels)


@torch.no_grad()
def accuracy(function: Callable[[Tensor], Tensor], batches: Batches) -> float:
    """Share of images whose largest logit is that of their label, in percent."""
    right = total = 0
    for images, labels in batches:
        right += int((function(images).argmax(dim=1) == labels).sum())
        total += len(labels)
    return 100 * right / total


def first_images(batches: Batches, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` images and labels, or all where there are fewer."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for of_batch, its_labels in batches:
        images.append(of_batch)
        labels.append(its_labels)
        if sum(map(len, labels)) >= count:
            break
    return torch.cat(images)[:count], torch.cat(labels)[:count]


@torch.no_grad()
def median_seconds(function: Callable[[Tensor], Tensor], images: Tensor, repeats: int) -> float:
    """Median time of a forward pass, after two that nobody times."""
    times = []
    for run in range(repeats + 2):
        began = time.perf_counter()
        result = function(images)
        if result.device.type == "cuda":
            torch.cuda.synchronize(result.device)
        if run >= 2:
            times.append(time.perf_counter() - began)
    return float(np.median(times))
