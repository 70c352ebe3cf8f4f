"""Feed-forward of learned functions of one variable (Kolmogorov-Arnold network, arXiv 2404.19756,
section 2.2).

    y_o = sum_i  w_oi silu(x_i) + sum_g c_oig B_g(x_i)

B_g are the cubic B-splines on `grid` even intervals from -`reach` to `reach`, 0 outside of what
they cover. Two such layers, `hidden` channels between them, make the feed-forward; without `hidden`
there is one layer from D to D.

Left out: the grid's adaptation to the data, sparsification and pruning.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import Place, Where

NUMERICS_VERSION = 1
_DEGREE = 3


class KanLayer(nn.Module):
    """A learned function of one variable from each input to each output."""

    knots: Tensor

    def __init__(self, inputs: int, outputs: int, grid: int, reach: float) -> None:
        super().__init__()
        step = 2 * reach / grid
        knots = torch.arange(-_DEGREE, grid + _DEGREE + 1) * step - reach
        self.register_buffer("knots", knots, persistent=False)
        self.plain = nn.Linear(inputs, outputs, bias=False)
        self.splines = nn.Linear(inputs * (grid + _DEGREE), outputs, bias=False)
        nn.init.normal_(self.splines.weight, std=0.1 * inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., inputs); returns (..., outputs)."""
        mapped: Tensor = self.plain(F.silu(x)) + self.splines(self.basis(x).flatten(-2).type_as(x))
        return mapped

    def basis(self, x: Tensor) -> Tensor:
        """The B-splines at x, by the recursion of Cox and de Boor. x: (..., inputs); returns (...,
        inputs, grid + 3).
        """
        x, t = x.unsqueeze(-1), self.knots
        found = ((x >= t[:-1]) & (x < t[1:])).to(t.dtype)
        for degree in range(1, _DEGREE + 1):
            rising = (x - t[: -degree - 1]) / (t[degree:-1] - t[: -degree - 1])
            falling = (t[degree + 1 :] - x) / (t[degree + 1 :] - t[1:-degree])
            found = rising * found[..., :-1] + falling * found[..., 1:]
        return found


class KanFeedForward(nn.Sequential):
    """One or two layers of learned functions."""

    def forward(self, x: Tensor, where: Where | None = None) -> Tensor:
        """x: (B, R, D); returns (B, R, D)."""
        for layer in self:
            x = layer(x)
        return x


def kan(place: Place, *, grid: int = 3, reach: float = 2.0, hidden: int | None = None) -> nn.Module:
    """Learned functions on `grid` intervals; two layers where `hidden` channels are given."""
    if hidden is None:
        return KanFeedForward(KanLayer(place.dim, place.dim, grid, reach))
    return KanFeedForward(
        KanLayer(place.dim, hidden, grid, reach), KanLayer(hidden, place.dim, grid, reach)
    )
