"""Feed-forward with an efficient channel attention behind it (ECA-Net, arXiv 1910.03151, section
3.2).

    y = f(x) * sigmoid( conv( mean over tokens of f(x) ) )      f: the plain feed-forward

The convolution runs along the channels and is `width` wide, without a bias. A mean over all tokens
would show each token the future, so under a mask it is weighted by what each token sees: the
running mean under a causal one, and their blend while the mask is soft.

Left out: the rule that finds the width from the number of channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import ALL, Place, Where

NUMERICS_VERSION = 1


class ChannelGate(nn.Module):
    """A plain feed-forward whose channels are weighted by their means."""

    needs_all_tokens = True

    def __init__(self, place: Place, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(place.dim, 4 * place.dim)
        self.fc2 = nn.Linear(4 * place.dim, place.dim)
        self.gate = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        fed: Tensor = self.fc2(F.gelu(self.fc1(x)))
        mean = self.seen_mean(fed, where)
        gate: Tensor = self.gate(mean.flatten(0, 1).unsqueeze(1)).squeeze(1)
        return fed * torch.unflatten(gate, 0, mean.shape[:2]).sigmoid()

    def seen_mean(self, x: Tensor, where: Where) -> Tensor:
        """Mean over the tokens that each token sees. x: (B, N, D); returns (B, 1 or N, D)."""
        assert where.rows == ALL, "a mean needs all tokens"
        if where.mask is None:
            return x.mean(1, keepdim=True)
        seen = where.mask.seen
        seen = (seen / seen.sum(-1, keepdim=True)).to(x.dtype)  # (N, N)
        return torch.matmul(seen, x)


def eca(place: Place, *, width: int = 3) -> nn.Module:
    """The plain feed-forward with a channel gate that is an odd `width` wide."""
    return ChannelGate(place, width + 1 - width % 2)
