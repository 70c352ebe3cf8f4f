"""Linear attention: a kernel instead of the softmax, so that keys and values are summed once for
all queries.

    O_i = sum_j S_ij phi(q_i).phi(k_j) v_j / sum_j M_ij phi(q_i).phi(k_j)

(arXiv 2006.16236, equations 5 and 9.) S is the mask, soft or not, and M is all ones in its
multiplicative form and S in its additive one. No N x N matrix is needed: for S = alpha + (1 -
alpha) C with C causal, each sum is alpha * (over all) + (1 - alpha) * (up to i), exactly. What
comes from earlier blocks of 64 tokens is one matrix for each head, that of the same block a dense
product.

phi is elu + 1 (Katharopoulos and others) or relu. CARE (arXiv 2411.16170) gives a part of the
channels to such an attention and the others to convolutions, and lets both interact with a memory
that goes through the layers. Of CARE this is the attention alone, on all channels; which phi it
has, no description that we found says.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import Place, Where
from illama.parts.projections import Projections

NUMERICS_VERSION = 2
_SMALL = 1e-6
_BLOCK = 64


class LinearAttention(Projections):
    """Multi-head linear attention with a feature map `phi` for queries and keys alike."""

    masks = ("bidirectional", "causal")

    def __init__(self, place: Place, kernel: str) -> None:
        super().__init__(place)
        self.kernel = kernel

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """phi(q) and phi(k), nowhere negative. q, k: (B, H, N, C); each (B, H, N, any)."""
        if self.kernel == "relu":
            return q.relu(), k.relu()
        return F.elu(q) + 1, F.elu(k) + 1

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        q, k = self.features(q, k)
        mask = where.mask
        counted = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1)  # the last channel counts
        sums = q[:, :, where.rows] @ (k.transpose(-2, -1) @ counted)  # (B, H, R, C + 1)
        total = sums[..., -1:]
        if mask is not None:
            seen = seen_so_far(q, k, counted)[:, :, where.rows]
            alpha = mask.rate.to(sums.dtype)
            sums = alpha * sums + (1 - alpha) * seen
            total = sums[..., -1:] if mask.additive else total
        return self.joined((sums[..., :-1] / (total + _SMALL)).type_as(v))


def seen_so_far(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Sums over each token and those before it. q, k: (B, H, N, F); v: (B, H, N, C); returns (B, H,
    N, C).
    """
    state = torch.zeros_like(k[:, :, :1]).transpose(-2, -1) * v[:, :, :1]  # (B, H, F, C)
    parts = []
    for start in range(0, q.shape[2], _BLOCK):
        now = slice(start, start + _BLOCK)
        own_q, own_k, own_v = q[:, :, now], k[:, :, now], v[:, :, now]
        near = (own_q @ own_k.transpose(-2, -1)).tril() @ own_v
        parts.append(near + own_q @ state)
        state = state + own_k.transpose(-2, -1) @ own_v
    return torch.cat(parts, dim=2)


def linear_attention(place: Place, *, kernel: Literal["elu", "relu"] = "elu") -> nn.Module:
    """Linear attention with the kernel elu + 1 or relu."""
    return LinearAttention(place, kernel)
