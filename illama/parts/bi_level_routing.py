"""Bi-level routing attention: each region of the image looks at the regions that it has most to do
with (BiFormer, arXiv 2303.08810, section 3.2).

The grid is cut into `regions` x `regions` regions. With the means q_r, k_r of a region's queries
and keys over all heads, region r is routed to the `top_k` regions s with the largest q_r . k_s, and
attends to their tokens:

    O = attention(Q, gather(K), gather(V)) + LCE(V),    LCE a depthwise convolution of the values

Ours: class token and registers see all tokens and are seen by all; LCE is 3 x 3, not 5 x 5, for
grids are small here; scores are divided by the root of a head's width, where the authors' code
(rayleizhu/BiFormer) takes that of all heads together. No causal mask can be obeyed: a region's mean
sees all of it.
"""

import torch
from torch import Tensor, nn

from illama.attention import dense_attention
from illama.config import UserCodeError
from illama.parts.place import Place, Where
from illama.parts.projections import Projections

NUMERICS_VERSION = 1


class BiLevelRouting(Projections):
    """Attention of regions to regions that are chosen for them."""

    masks = ("bidirectional",)
    needs_grid = True

    def __init__(self, place: Place, regions: int, top_k: int) -> None:
        super().__init__(place)
        self.grid, self.patches = place.grid, place.patches
        self.regions, self.top_k = regions, top_k
        self.lce = nn.Conv2d(place.dim, place.dim, 3, padding=1, groups=place.dim)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        routed = self.routed(q, k, v)  # (B, H, P, C)
        patches = v[:, :, self.patches].transpose(2, 3).flatten(1, 2)
        local = self.lce(torch.unflatten(patches, -1, self.grid)).flatten(2)  # (B, D, P)
        local = torch.unflatten(local, 1, (self.heads, -1)).transpose(2, 3)
        before, behind = slice(0, self.patches.start), slice(self.patches.stop, None)
        out = torch.cat(
            (
                dense_attention(q[:, :, before], k, v),
                routed + local,
                dense_attention(q[:, :, behind], k, v),
            ),
            dim=2,
        )
        return self.joined(out[:, :, where.rows])

    def routed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the patches. q, k, v: (B, H, N, C); returns (B, H, P, C)."""
        rq, rk, rv = (self.in_regions(t[:, :, self.patches]) for t in (q, k, v))  # (B, H, S, n, C)
        chosen = self.routes(rq, rk)  # (B, S, top_k)
        keys, values = self.gathered(rk, chosen), self.gathered(rv, chosen)
        others = [t[:, :, : self.patches.start] for t in (k, v)]
        others = [
            torch.cat((few, t[:, :, self.patches.stop :]), dim=2)
            for few, t in zip(others, (k, v), strict=True)
        ]
        count = rq.shape[2]
        keys, values = (
            torch.cat((many, few.unsqueeze(2).expand(-1, -1, count, -1, -1)), dim=3)
            for many, few in zip((keys, values), others, strict=True)
        )
        scores = (rq * rq.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
        return self.in_order(scores.softmax(-1) @ values)

    def routes(self, q: Tensor, k: Tensor) -> Tensor:
        """Regions that each region looks at. q, k: (B, H, S, n, C); returns (B, S, top_k)."""
        means = (t.mean(3).transpose(1, 2).flatten(2) for t in (q, k))  # each (B, S, D)
        from_region, to_region = means
        affinity = from_region @ to_region.transpose(-2, -1)  # (B, S, S)
        return affinity.topk(self.top_k, dim=-1).indices

    def gathered(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Tokens of the chosen regions. x: (B, H, S, n, C); returns (B, H, S, top_k * n, C)."""
        _, heads, count, size, width = x.shape
        index = chosen[:, None, :, :, None, None].expand(-1, heads, -1, -1, size, width)
        spread = x.unsqueeze(2).expand(-1, -1, count, -1, -1, -1)
        return spread.gather(3, index).flatten(3, 4)

    def in_regions(self, x: Tensor) -> Tensor:
        """Patches by region. x: (B, H, P, C); returns (B, H, S, n, C)."""
        rows, columns = self.grid
        s = self.regions
        cut = torch.unflatten(x, 2, (s, rows // s, s, columns // s)).transpose(3, 4)
        return cut.flatten(4, 5).flatten(2, 3)

    def in_order(self, x: Tensor) -> Tensor:
        """The inverse of `in_regions`."""
        rows, columns = self.grid
        s = self.regions
        cut = torch.unflatten(torch.unflatten(x, 2, (s, s)), 4, (rows // s, columns // s))
        return cut.transpose(3, 4).flatten(2, 5)


def bi_level_routing(place: Place, *, regions: int = 2, top_k: int = 2) -> nn.Module:
    """Attention to the `top_k` of `regions` * `regions` regions. Raises `UserCodeError` where the
    grid cannot be cut so.
    """
    if any(side % regions for side in place.grid) or not 1 <= top_k <= regions**2:
        raise UserCodeError(
            f"a grid of {place.grid[0]} x {place.grid[1]} patches cannot be cut into {regions} x "
            f"{regions} regions with top_k {top_k}"
        )
    return BiLevelRouting(place, regions, top_k)
