"""Agent attention: a few tokens pooled from the queries collect from all keys and hand on to all
queries (arXiv 2312.08874).

    O = softmax(Q A^T / sqrt(C)) softmax(A K^T / sqrt(C)) V + DWC(V),     A = pool(Q)

A is the mean of the patches' queries over `side` x `side` cells of their grid, DWC a 3 x 3
depthwise convolution of the patches' values. The class token and registers are among Q, K and V,
and neither pooled nor convolved.

Agents see all tokens, so no causal mask can be obeyed. Left out: the two agent biases, which need a
fixed grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.attention import dense_attention
from illama.parts.place import Place, Where
from illama.parts.projections import Projections

NUMERICS_VERSION = 1


class AgentAttention(Projections):
    """Attention in two steps through a few agents."""

    masks = ("bidirectional",)
    needs_grid = True

    def __init__(self, place: Place, side: int) -> None:
        super().__init__(place)
        self.grid, self.patches = place.grid, place.patches
        self.side = min(side, *place.grid)
        self.dwc = nn.Conv2d(place.dim, place.dim, 3, padding=1, groups=place.dim)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        collected = dense_attention(self.agents(q), k, v)  # (B, H, side * side, C)
        out = dense_attention(q, self.agents(q), collected)
        local = self.convolved(v)  # (B, H, P, C)
        first, last = self.patches.start, x.shape[1] - self.patches.stop
        out = out + F.pad(local, (0, 0, first, last))
        return self.joined(out[:, :, where.rows])

    def agents(self, q: Tensor) -> Tensor:
        """Pooled queries of the patches. q: (B, H, N, C); returns (B, H, side * side, C)."""
        patches = q[:, :, self.patches].transpose(2, 3).flatten(0, 1)
        images = torch.unflatten(patches, -1, self.grid)  # (B * H, C, rows, columns)
        pooled = F.adaptive_avg_pool2d(images, self.side)  # (B * H, C, side, side)
        return torch.unflatten(pooled.flatten(2).transpose(1, 2), 0, (-1, self.heads))

    def convolved(self, v: Tensor) -> Tensor:
        """Depthwise convolution of the patches' values. v: (B, H, N, C); returns (B, H, P, C)."""
        patches = v[:, :, self.patches].transpose(2, 3).flatten(1, 2)
        images = torch.unflatten(patches, -1, self.grid)  # (B, D, rows, columns)
        mixed: Tensor = self.dwc(images)  # (B, D, rows, columns)
        return torch.unflatten(mixed.flatten(2), 1, (self.heads, -1)).transpose(2, 3)


def agent(place: Place, *, side: int = 2) -> nn.Module:
    """Agent attention with `side` * `side` agents."""
    return AgentAttention(place, side)
