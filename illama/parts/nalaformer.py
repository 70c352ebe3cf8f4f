"""Norm-aware linear attention (NaLaFormer, arXiv 2506.21137): a query's length decides how sharply
it looks.

Linear attention divides by the sum of its weights, which cancels the query's norm; the softmax
keeps it as a temperature. Here norm and direction are taken apart, d(q) = q / |q|, and the norm
becomes an exponent:

    phi(q) = [ |d(q)|^p cos(t(q)), |d(q)|^p sin(t(q)) ],    p = sharpness * (1/2 + tanh |q|)
    phi(k) = [ |k|^s cos(t(k)), |k|^s sin(t(k)) ],          s = sharpness

t(.) = pi / 4 * (1 + tanh(.)) is an angle between 0 and pi / 2 for each channel, so that nothing is
negative and channels of opposite signs hardly meet: cos(t(q)) cos(t(k)) + sin(t(q)) sin(t(k)) =
cos(t(q) - t(k)).

The idea is the paper's. The angle's exact form is ours, and so is the constant in front; its gate
and convolution are left out. Masks are those of `illama.parts.linear_attention`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.linear_attention import LinearAttention
from illama.parts.place import Place

NUMERICS_VERSION = 1
_SMALL = 1e-6


class NormAwareAttention(LinearAttention):
    """Linear attention whose feature map keeps the queries' norms."""

    def __init__(self, place: Place, sharpness: float) -> None:
        super().__init__(place, "norm-aware")
        self.sharpness = sharpness

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """phi(q) and phi(k). q, k: (B, H, N, C); each (B, H, N, 2 * C)."""
        norm = q.norm(dim=-1, keepdim=True)
        power = self.sharpness * (0.5 + norm.tanh())
        direction = F.normalize(q, dim=-1).abs() + _SMALL  # a power of 0 has no gradient
        return _split(direction**power, q), _split((k.abs() + _SMALL) ** self.sharpness, k)


def _split(size: Tensor, signed: Tensor) -> Tensor:
    angle = math.pi / 4 * (1 + signed.tanh())
    return torch.cat((size * angle.cos(), size * angle.sin()), dim=-1)


def nalaformer(place: Place, *, sharpness: float = 2.0) -> nn.Module:
    """Norm-aware linear attention with exponents around `sharpness`."""
    return NormAwareAttention(place, sharpness)
