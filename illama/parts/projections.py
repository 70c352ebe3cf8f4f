"""Queries, keys and values of several heads, which most mixers begin with, and the linear that they
end with.

The linears have the names of the built-in attention's, so that they start with the same first
values.
"""

from torch import Tensor, nn

from illama.masks import Mask
from illama.parts.place import Place, Where
from illama.rotary import rotate

ALL_MASKS = ("bidirectional", "causal", "modified_causal")


class Projections(nn.Module):
    """The linears around a mixer of several heads. D channels, H heads, C = D / H channels of a
    head.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.heads = place.heads
        self.qkv = nn.Linear(place.dim, 3 * place.dim)
        self.proj = nn.Linear(place.dim, place.dim)

    def projected(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned by the rotary position where there is one, and values. x: (B, N,
        D); each (B, H, N, C).
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if where.rotation is not None:
            q, k = rotate(q, where.rotation), rotate(k, where.rotation)
        return q, k, v

    def joined(self, out: Tensor) -> Tensor:
        """The last linear on all heads together. out: (B, H, R, C); returns (B, R, D)."""
        joined: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return joined


def matrix_of(mask: Mask | None, where: Where) -> tuple[Tensor | None, bool]:
    """The mask's matrix for the tokens that are asked for, (R, N), and whether it is added to the
    scores.
    """
    if mask is None:
        return None, False
    return mask.matrix[where.rows], mask.additive
