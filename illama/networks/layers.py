"""Layers that the networks of this folder share: attention of some tokens to others, and the plain
block around it.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from illama.attention import dense_attention

NORM_EPS = 1e-6


class CrossAttention(nn.Module):
    """Multi-head attention of queries to keys and values from other tokens of the same width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, asking: Tensor, asked: Tensor, bias: Tensor | None = None) -> Tensor:
        """asking: (B, R, D); asked: (B, N, D); bias: what is added to the scores, (H, R, N).
        Returns (B, R, D).
        """
        q, k, v = self.to_q(asking), self.to_k(asked), self.to_v(asked)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = dense_attention(q, k, v, bias, additive=bias is not None)  # (B, H, R, C)
        joined: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return joined


class FeedForward(nn.Module):
    """Two linears, the hidden width `ratio` times the outer one."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, N, D); returns (B, N, D)."""
        down: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return down


class PlainBlock(nn.Module):
    """A block of a ViT: attention and feed-forward, each behind a norm and beside a residual
    connection.
    """

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, NORM_EPS), nn.LayerNorm(dim, NORM_EPS)
        self.attn, self.mlp = CrossAttention(dim, heads), FeedForward(dim, ratio)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """x: (B, N, D); bias: (H, N, N). Returns (B, N, D)."""
        normed = self.norm1(x)
        x = x + self.attn(normed, normed, bias)
        fed: Tensor = x + self.mlp(self.norm2(x))
        return fed


def small_weights(network: nn.Module) -> nn.Module:
    """Draw the weights of all linears from a normal of 0.02 and set their biases to 0, in place."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return network
