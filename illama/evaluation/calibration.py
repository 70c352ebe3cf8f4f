"""True if the network is as sure as it is right: the expected calibration error (Naeini et al.
2015; Guo et al. 2017).

As the paper measures it (Table 8, after github.com/kirill-vish/Beyond-INet): by the probability of
the predicted class, in 15 bins of equal width, as a fraction.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

BINS = 15
_INNER_EDGES = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]


@dataclass
class CalibrationGap:
    """Confidence minus correctness, summed over the images of each bin; sums of several parts add
    up to those of the whole.
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(BINS, dtype=torch.float64))
    """(BINS,), on the CPU."""

    def add(self, logits: Tensor, is_hit: Tensor) -> None:
        """logits: (B, classes), float64; is_hit: (B,), whether the class with the largest one is
        the right one.
        """
        confidence = logits.softmax(dim=1).amax(dim=1)  # (B,)
        bins = torch.bucketize(
            confidence, _INNER_EDGES.to(confidence.device)
        )  # an edge, and 1 itself, belongs to the bin below
        members = (
            bins == torch.arange(BINS, device=bins.device)[:, None]
        )  # (BINS, B); its sums have one order, a scatter's not
        self.sums += torch.where(members, confidence - is_hit.double(), 0.0).sum(dim=1).cpu()

    def merge(self, other: "CalibrationGap") -> None:
        """Take in what was summed of other images."""
        self.sums = self.sums + other.sums

    def error(self, count: int) -> float:
        """Mean over the bins of |accuracy - mean confidence|, each by its share of the `count`
        images; from 0 to 1.
        """
        return self.sums.abs().sum().item() / count
