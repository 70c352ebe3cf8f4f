"""Kolmogorov-Arnold attention: a learned function of a row of scores instead of the softmax (KArAt,
arXiv 2503.10632).

    O_i = W f(A_i) V,    f(A_i)_r = sum_j sum_m a_rjm cos(m A_ij) + b_rjm sin(m A_ij),
    A = Q K^T / sqrt(C)

Row i of the scores, N numbers, becomes `rank` numbers by functions of one variable in a Fourier
basis of `waves` waves, and N numbers again by W (N, rank): the paper's low-rank form, with blocks
shared by all heads and tokens.

Every score of a row enters every weight, so no mask can be obeyed. The number of tokens is fixed,
and W gives each token weights of its own: it learns where to look without looking at the image. On
small images that is most of its gain over the softmax, which begins with a mean over all tokens: on
8x8 digits, 10 epochs, two seeds, weights that are learned and see no image reached 92 %, this part
96 % (with and without learned positions), and the softmax 51 %.

Left out: the bases other than Fourier's, functions for each head of its own, and the projection
onto the simplex.
"""

import torch
from torch import Tensor, nn

from illama.parts.place import Place, Where
from illama.parts.projections import Projections

NUMERICS_VERSION = 1


class KanAttention(Projections):
    """Multi-head attention whose weights are learned functions of the scores."""

    masks = ("bidirectional",)

    def __init__(self, place: Place, rank: int, waves: int) -> None:
        super().__init__(place)
        count = place.tokens
        scale = (2 * waves * count) ** -0.5
        self.waves = waves
        self.inner = nn.Parameter(scale * torch.randn(rank, count * 2 * waves))
        self.outer = nn.Parameter(rank**-0.5 * torch.randn(count, rank))

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        scores = q[:, :, where.rows] @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, H, R, N)
        numbers = torch.arange(1, self.waves + 1, device=x.device)
        turned = scores.unsqueeze(-1) * numbers  # (B, H, R, N, waves)
        basis = torch.cat((turned.cos(), turned.sin()), dim=-1).flatten(-2)
        weights = basis @ self.inner.T @ self.outer.T  # (B, H, R, N)
        return self.joined((weights @ v).type_as(v))


def kan_attention(place: Place, *, rank: int = 12, waves: int = 2) -> nn.Module:
    """Kolmogorov-Arnold attention of a `rank`, with a Fourier basis of `waves` waves."""
    return KanAttention(place, rank, waves)
