"""Differential attention: the difference of two attentions, in which what both see by chance
cancels out (arXiv 2410.05258).

    O = (1 - l0) RMSNorm( (A_1 - lambda A_2) V ),     A_i = softmax(Q_i K_i^T / sqrt(C / 2))
    lambda = exp(a_1 . b_1) - exp(a_2 . b_2) + l0,    l0 = 0.8 - 0.6 exp(-0.3 layer),  layer from 0

Each head's queries and keys are cut into two halves, each of C / 2 channels: in the paper's words,
half as many heads of C / 2 channels with values twice as wide. The vectors a and b are shared by
the heads of a layer. Under a multiplicative mask both attentions are masked.

Left out: a rotation of each half by itself; the rotary position turns a head's channels before they
are cut.
"""

import math

import torch
from torch import Tensor, nn

from illama.attention import dense_attention
from illama.config import UserCodeError
from illama.parts.place import Place, Where
from illama.parts.projections import ALL_MASKS, Projections, matrix_of

NUMERICS_VERSION = 1


class DifferentialAttention(Projections):
    """Multi-head attention of which each head is a difference."""

    masks = ALL_MASKS

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        width = place.dim // place.heads
        self.start = 0.8 - 0.6 * math.exp(-0.3 * place.layer)
        self.vectors = nn.Parameter(0.1 * torch.randn(4, width // 2))
        self.out_norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        (q1, q2), (k1, k2) = q[:, :, where.rows].chunk(2, -1), k.chunk(2, -1)
        matrix = matrix_of(where.mask, where)
        out = dense_attention(q1, k1, v, *matrix) - self.share() * dense_attention(
            q2, k2, v, *matrix
        )
        return self.joined((1 - self.start) * self.out_norm(out))

    def share(self) -> Tensor:
        """lambda, 0-d."""
        first, second, third, fourth = self.vectors.unbind()
        share: Tensor = (first @ second).exp() - (third @ fourth).exp() + self.start
        return share

    def no_weight_decay(self) -> set[str]:
        """The vectors behind lambda do not decay."""
        return {"vectors"}


def differential(place: Place) -> nn.Module:
    """Differential attention. Raises `UserCodeError` where heads cannot be halved."""
    if place.dim // place.heads % 2:
        raise UserCodeError(f"heads of {place.dim // place.heads} channels cannot be halved")
    return DifferentialAttention(place)
