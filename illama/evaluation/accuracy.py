"""Loss and accuracy on the validation images, and whether the output depends on the image at all."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

COLLAPSE_STD = 1e-3
"""Nats. Below this `logit_std` a network has collapsed: whatever the image, its class probabilities agree to about 0.1 %.

A network that trains badly is another thing: its accuracy may be at chance, but its logits vary with the image. Under the
additive causal mask with the class token first, the standard deviation is 0 but for rounding (paper, section 3.3).
"""


@torch.no_grad()
def evaluate(model: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Measures `model` on batches of images (B, channels, height, width) with labels (B,).

    Returns `loss` (mean cross-entropy, nats), `acc1` and `acc5` (percent; acc5 over all classes where there are fewer than
    five) and `logit_std` (nats): the class-centred logits' standard deviation over the images, root mean square over classes.
    """
    count, loss, top1, top5 = 0, 0.0, 0, 0
    spread = LogitSpread()
    for images, labels in batches:
        logits = model(images).double()  # (B, classes)
        hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        count += len(labels)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        top1 += int(hits[:, 0].sum())
        top5 += int(hits.sum())
        spread.add(logits)
    return {"loss": loss / count, "acc1": 100 * top1 / count, "acc5": 100 * top5 / count, "logit_std": spread.std()}


class LogitSpread:
    """How much predictions differ between images, gathered batch by batch. A shift of all classes of an image does not count."""

    def __init__(self) -> None:
        self.count = 0
        self.origin = self.total = self.squares = torch.zeros(())

    def add(self, logits: Tensor) -> None:
        """logits: (B, classes), float64."""
        centred = logits - logits.mean(dim=1, keepdim=True)
        if self.count == 0:
            self.origin = centred[0]  # sums of differences to one image are exactly 0 where all images are alike
            self.total = self.squares = torch.zeros_like(self.origin)
        difference = centred - self.origin
        self.count += len(logits)
        self.total = self.total + difference.sum(dim=0)
        self.squares = self.squares + difference.square().sum(dim=0)

    def std(self) -> float:
        """Standard deviation over the images, root mean square over the classes."""
        variance = self.squares / self.count - (self.total / self.count).square()  # (classes,)
        return variance.clamp(min=0).mean().sqrt().item()
