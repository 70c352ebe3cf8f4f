"""Projection of images to patches, which enter the network.

Shapes: B images, P patches, D channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.config import ModelConfig


class PatchProjection(nn.Conv2d):
    """Strided convolution of patches that do not overlap, computed as one matrix product."""

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns (B, D, rows, columns)."""
        p = self.stride[0]
        batch, channels, height, width = images.shape
        rows, columns = height // p, width // p
        grid = images.reshape(batch, channels, rows, p, columns, p)
        patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(
            batch, rows * columns, channels * p * p
        )  # (B, P, channels * p * p); written out: of no image, nothing can be inferred
        projected = F.linear(patches, torch.flatten(self.weight, 1), self.bias)  # (B, P, D)
        return projected.transpose(1, 2).reshape(batch, self.out_channels, rows, columns)


class PatchEmbed(nn.Module):
    """Cuts images into patches and projects each with `proj`, which may be any module that turns
    images into (B, D, rows, columns).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.takes = config.in_chans, *config.pixels
        self.proj = PatchProjection(
            config.in_chans, config.embed_dim, config.patch_size, config.patch_size
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, channels, height, width); returns (B, P, D), patches row by row. Raises
        `ValueError` for another shape.
        """
        if images.shape[1:] != self.takes:
            raise ValueError(
                f"the model takes images of {self.takes} (channels, height, width), not "
                f"{tuple(images.shape[1:])}"
            )
        projected: Tensor = self.proj(images)  # (B, D, rows, columns)
        return projected.flatten(2).transpose(1, 2)
