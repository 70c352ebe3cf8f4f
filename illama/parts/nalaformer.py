"""Norm-aware linear attention (NaLaFormer, arXiv 2506.21137): a query's length decides how sharply
it looks.

Linear attention divides by the sum of its weights, which cancels the query's norm; the softmax
keeps it as a temperature. Here norm and direction are taken apart, and the norm becomes an
exponent:

    phi(q) = [ (relu(q) / |q|)^p, (relu(-q) / |q|)^p ],    p = sharpness * (1/2 + tanh |q|)
    phi(k) = [ relu(k)^s, relu(-k)^s ],                    s = sharpness

Positive and negative parts have channels of their own, so that nothing is negative and what has
opposite signs does not meet. This is the authors' code (ZacharyMeng/NaLaFormer); the first version
of the paper has cosine and sine of an angle in the place of the two parts.

Left out: the code's gate, layer norm and 5 x 5 convolution behind the sum, and that its rotation
turns the features, and those of the numerator alone; here a rotary position turns queries and keys
before. Masks are those of `illama.parts.linear_attention`.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from illama.parts.linear_attention import LinearAttention
from illama.parts.place import Place

NUMERICS_VERSION = 3


class NormAwareAttention(LinearAttention):
    """Linear attention whose feature map keeps the queries' norms."""

    def __init__(self, place: Place, sharpness: float) -> None:
        super().__init__(place, "norm-aware")
        self.sharpness = sharpness

    def features(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """phi(q) and phi(k). q, k: (B, H, N, C); each (B, H, N, 2 * C)."""
        power = self.sharpness * (0.5 + q.norm(dim=-1, keepdim=True).tanh())
        return _split(F.normalize(q, dim=-1)) ** power, _split(k) ** self.sharpness


def _split(x: Tensor) -> Tensor:
    """Positive and negative parts: (..., C) to (..., 2 * C)."""
    return torch.cat((x.relu(), (-x).relu()), dim=-1)


def nalaformer(
    place: Place,
    *,
    sharpness: Annotated[float, Field(ge=2)] = 3.0,  # below, a power of 0 has no gradient
) -> nn.Module:
    """Norm-aware linear attention with exponents around `sharpness`."""
    return NormAwareAttention(place, sharpness)
