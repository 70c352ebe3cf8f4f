"""MLP-Mixer (arXiv 2105.01601), small: patches talk to each other through one MLP, channels
through another.
"""

from typing import Literal

from torch import Tensor, nn


class MixerBlock(nn.Module):
    """Token mixing, then channel mixing, each behind a norm and beside a residual connection."""

    def __init__(
        self, tokens: int, dim: int, token_dim: int | None, expansion: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.across_tokens = mlp(tokens, token_dim, dropout) if token_dim else None
        self.across_channels = mlp(dim, expansion * dim, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, tokens, dim)."""
        if self.across_tokens is not None:
            x = x + self.across_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.across_channels(self.norm2(x))


class Mixer(nn.Module):
    """Compute logits from images."""

    def __init__(
        self, blocks: nn.Module, patch_embed: nn.Module, pool: str, dim: int, num_classes: int
    ) -> None:
        super().__init__()
        self.patch_embed, self.blocks, self.pool = patch_embed, blocks, pool
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns logits (B, classes)."""
        x = self.patch_embed(images).flatten(2).transpose(1, 2)  # (B, tokens, dim)
        x = self.norm(self.blocks(x))
        return self.head(x.mean(dim=1) if self.pool == "mean" else x.amax(dim=1))


def mlp(dim: int, hidden: int, dropout: float) -> nn.Sequential:
    """Two linears."""
    return nn.Sequential(
        nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
    )


def create_mixer(
    *,
    img_size: int = 8,
    in_chans: int = 1,
    num_classes: int = 10,
    patch_size: int = 2,
    dim: int = 48,
    depth: int = 3,
    token_dim: int | None = 32,
    expansion: int = 4,
    dropout: float = 0.0,
    pool: Literal["mean", "max"] = "mean",
) -> nn.Module:
    """Its parameters are the settings that a sweep may change. `token_dim: null` takes the token
    mixing out.
    """
    if img_size % patch_size:
        raise ValueError(f"img_size {img_size} is not a multiple of patch_size {patch_size}")
    tokens = (img_size // patch_size) ** 2
    blocks = nn.Sequential(
        *(MixerBlock(tokens, dim, token_dim, expansion, dropout) for _ in range(depth))
    )
    return Mixer(blocks, nn.Conv2d(in_chans, dim, patch_size, patch_size), pool, dim, num_classes)
