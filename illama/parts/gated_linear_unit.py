"""Gated linear units: a linear and its gate, with the function of one's choice (arXiv 2002.05202,
section 2).

    y = W_2 ( s(W_1 x) * (W_3 x) )

`gate` is s: sigmoid (GLU), none (bilinear), relu, gelu or silu (the built-in `swiglu` is the last
one without biases). The hidden width is 2/3 of 4D, for about the parameters of a plain
feed-forward. The mixer `activator` is such a unit in the place of attention.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import Place, Where

NUMERICS_VERSION = 1
_GATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}


class GatedLinearUnit(nn.Module):
    """A feed-forward of three linears."""

    def __init__(self, place: Place, gate: str) -> None:
        super().__init__()
        self.gate = _GATES[gate]
        hidden = 8 * place.dim // 3
        self.fc1 = nn.Linear(place.dim, hidden)
        self.fc2 = nn.Linear(hidden, place.dim)
        self.fc3 = nn.Linear(place.dim, hidden)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, R, D); returns (B, R, D)."""
        down: Tensor = self.fc2(self.gate(self.fc1(x)) * self.fc3(x))
        return down


def gated_linear_unit(
    place: Place, *, gate: Literal["sigmoid", "none", "relu", "gelu", "silu"] = "sigmoid"
) -> nn.Module:
    """A gated linear unit with the function `gate`."""
    return GatedLinearUnit(place, gate)
