"""A gated linear unit in the place of attention (Activator, arXiv 2405.15953).

    y = W_3 ( norm(gelu(W_1 x)) * norm(W_2 x) )

Both factors go through the same layer norm, as in the authors' code (Abdullah-88/Activator). No
token looks at another one: they meet in the mean that is read out, so a class token, which would
never see the image, is refused. The hidden width is 4/3 of D, for the parameters of attention.

Left out: the authors' block without the second feed-forward.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import Place, Where
from illama.parts.projections import ALL_MASKS

NUMERICS_VERSION = 1


class Activator(nn.Module):
    """A feed-forward where a mixer stands."""

    masks = ALL_MASKS
    class_tokens = ("none",)
    rotates = False

    def __init__(self, place: Place) -> None:
        super().__init__()
        hidden = 4 * place.dim // 3
        self.gate = nn.Linear(place.dim, hidden)
        self.value = nn.Linear(place.dim, hidden)
        self.hidden_norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, place.dim)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        x = x[:, where.rows]
        gated: Tensor = self.hidden_norm(F.gelu(self.gate(x))) * self.hidden_norm(self.value(x))
        out: Tensor = self.out(gated)
        return out


def activator(place: Place) -> nn.Module:
    """Gated linear unit of each token by itself."""
    return Activator(place)
