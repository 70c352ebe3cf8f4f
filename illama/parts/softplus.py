"""Softplus attention: softplus instead of the exponential, an l1 norm, and weights that are
sharpened by a power (LSSA and LSSAR, arXiv 2501.13428).

    W_ij = softplus( log(n_i) (q_i . k_j) / sqrt(C) ) S_ij,  A = W / sum_j W,  O = norm(A^power) V

n_i is the number of tokens that query i sees, S the mask, soft or not; norm divides each row by its
sum once more. The l1 norm comes behind the mask in both of its forms, so a hidden token is not seen
by any way. With `power` 1 this is LSSA.

Left out: the learned scale, and the subtraction in front of the power of its re-weighting.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import Place, Where
from illama.parts.projections import ALL_MASKS, Projections

NUMERICS_VERSION = 1
_SMALL = 1e-12


class SoftplusAttention(Projections):
    """Multi-head attention without an exponential."""

    masks = ALL_MASKS

    def __init__(self, place: Place, power: float) -> None:
        super().__init__(place)
        self.power = power

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        seen = torch.ones(x.shape[1], x.shape[1], device=x.device)
        if where.mask is not None:
            seen = where.mask.seen
        seen = seen[where.rows]  # (R, N)
        scale = seen.sum(-1, keepdim=True).log() * q.shape[-1] ** -0.5  # (R, 1)
        scores = q[:, :, where.rows] @ k.transpose(-2, -1) * scale  # (B, H, R, N)
        weights = _normed(F.softplus(scores) * seen)
        return self.joined((_normed(weights**self.power) @ v.to(weights.dtype)).type_as(v))


def _normed(weights: Tensor) -> Tensor:
    return weights / (weights.sum(-1, keepdim=True) + _SMALL)


def softplus(place: Place, *, power: float = 3.0) -> nn.Module:
    """Softplus attention with weights to the `power`."""
    return SoftplusAttention(place, power)
