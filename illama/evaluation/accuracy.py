"""Loss, accuracy and calibration on held-out images, and whether the output depends on the
image.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from illama.evaluation.calibration import CalibrationGap

COLLAPSE_STD = 1e-3
"""Nats. Below this `logit_std` a network has collapsed: whatever the image, its class probabilities
agree to about 0.1 %.

A network that trains badly is another thing: its accuracy may be at chance, but its logits vary
with the image. Under the additive causal mask with the class token first, the standard deviation is
0 but for rounding (paper, section 3.3).
"""


def evaluate(
    model: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """Measures `model` on batches of images (B, channels, height, width) with labels (B,); see
    `Tally.metrics`.
    """
    return tally(model, batches).metrics()


@torch.no_grad()
def tally(
    model: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    keep_hits: bool = False,
) -> "Tally":
    """Sums that `evaluate` is made from, over images that may be a part of all.

    With `keep_hits` also which of them were classified correctly.
    """
    counted = Tally()
    correct: list[Tensor] = []
    for images, labels in batches:
        logits = model(images).double()  # (B, classes)
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        counted.loss += F.cross_entropy(logits, labels, reduction="sum").item()
        counted.top1 += int(hits[:, 0].sum())
        counted.top5 += int(hits.sum())
        counted.spread.add(logits)
        counted.calibration.add(logits, hits[:, 0])
        if keep_hits:
            correct.append(hits[:, 0])
    if correct:
        counted.hits = torch.cat(correct).cpu().numpy()
    return counted


class LogitSpread:
    """Spread of predictions between images, gathered batch by batch. A shift of all classes of an
    image does not count.
    """

    def __init__(self) -> None:
        self.count = 0
        self.origin = self.total = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, logits: Tensor) -> None:
        """logits: (B, classes), float64."""
        centred = logits - logits.mean(dim=1, keepdim=True)
        if self.count == 0:
            self.origin = centred[
                0
            ]  # sums of differences to one image are exactly 0 where all images are alike
            self.total = self.squares = torch.zeros_like(self.origin)
        difference = centred - self.origin
        self.count += len(logits)
        self.total = self.total + difference.sum(dim=0)
        self.squares = self.squares + difference.square().sum(dim=0)

    def merge(self, other: "LogitSpread") -> None:
        """Take in what was gathered of other images."""
        if self.count == 0 or other.count == 0:
            self.__dict__ |= other.__dict__ if self.count == 0 else {}
            return
        shift = other.origin - self.origin
        self.squares = (
            self.squares + other.squares + 2 * shift * other.total + other.count * shift.square()
        )
        self.total = self.total + other.total + other.count * shift
        self.count += other.count

    def __getstate__(self) -> dict[str, Any]:
        """Pickled on the CPU: the process that it goes to has another device."""
        return {
            name: value.cpu() if isinstance(value, Tensor) else value
            for name, value in self.__dict__.items()
        }

    def std(self) -> float:
        """Standard deviation over the images, root mean square over the classes."""
        variance = self.squares / self.count - (self.total / self.count).square()  # (classes,)
        return variance.clamp(min=0).mean().sqrt().item()


@dataclass
class Tally:
    """Sums over images; those of several parts add up to those of the whole."""

    loss: float = 0.0
    top1: int = 0
    top5: int = 0
    spread: LogitSpread = field(default_factory=LogitSpread)
    calibration: CalibrationGap = field(default_factory=CalibrationGap)
    hits: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    """Marks of the images that were classified correctly, in order; only where they were asked
    for."""

    def merge(self, other: "Tally") -> None:
        """Take in what was counted of other images, those that follow in order."""
        self.loss += other.loss
        self.top1 += other.top1
        self.top5 += other.top5
        self.spread.merge(other.spread)
        self.calibration.merge(other.calibration)
        self.hits = np.concatenate([self.hits, other.hits])

    def metrics(self) -> dict[str, float]:
        """`loss` (mean cross-entropy, nats), `acc1` and `acc5` (percent; acc5 over all classes
        where there are fewer than five), `ece` (a fraction: `illama.evaluation.calibration`) and
        `logit_std` (nats): the class-centred logits' standard deviation over the images, root mean
        square over classes.
        """
        count = self.spread.count
        shares = {
            "loss": self.loss / count,
            "acc1": 100 * self.top1 / count,
            "acc5": 100 * self.top5 / count,
        }
        return shares | {"ece": self.calibration.error(count), "logit_std": self.spread.std()}
