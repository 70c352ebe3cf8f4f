"""UPerNet on a ViT's blocks: pixels' classes from four of them (Xiao et al., ECCV 2018).

A ViT has one resolution, so that what four blocks leave is brought to strides of a quarter, half,
once and twice the patch's side, as in BEiT (arXiv 2106.08254). With channels as wide as the network
a base model comes to the 163 million parameters that the paper's Table 10 has.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.evaluation.patches import layers_to_read
from illama.model import VisionTransformer

_POOLS = (1, 2, 3, 6)
"""Sides of the pyramid's grids."""
_AUXILIARY_WIDTH = 256
_DROPOUT = 0.1


class UperNet(nn.Module):
    """Network with a head for pixels, and a smaller one beside it that only helps the training."""

    def __init__(self, network: VisionTransformer, classes: int) -> None:
        super().__init__()
        self.network = network
        width = network.config.embed_dim
        self.layers = layers_to_read(len(network.blocks))
        if len(self.layers) < 4:
            raise ValueError(f"UPerNet reads four blocks, and the network has {len(self.layers)}")
        self.scales = nn.ModuleList(_scales(width))
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), _convolution(width, width, 1))
            for side in _POOLS
        )
        self.pyramid = _convolution(width * (1 + len(_POOLS)), width, 3)
        self.laterals = nn.ModuleList(_convolution(width, width, 1) for _ in range(3))
        self.smooth = nn.ModuleList(_convolution(width, width, 3) for _ in range(3))
        self.fusion = _convolution(4 * width, width, 3)
        self.classify = nn.Sequential(nn.Dropout2d(_DROPOUT), nn.Conv2d(width, classes, 1))
        self.auxiliary = nn.Sequential(
            _convolution(width, _AUXILIARY_WIDTH, 3),
            nn.Dropout2d(_DROPOUT),
            nn.Conv2d(_AUXILIARY_WIDTH, classes, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, side, side); returns logits (B, classes, side, side)."""
        return self._enlarged(self._decoded(self._read(images)), images)

    def with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both heads, each (B, classes, side, side)."""
        maps = self._read(images)
        main, beside = self._decoded(maps), cast(Tensor, self.auxiliary(maps[2]))
        return self._enlarged(main, images), self._enlarged(beside, images)

    def _read(self, images: Tensor) -> list[Tensor]:
        """Maps of four blocks, from the finest to the coarsest, each (B, D, rows, columns)."""
        found = self.network.forward_intermediates(images, self.layers, intermediates_only=True)
        return [scale(state) for scale, state in zip(self.scales, found, strict=True)]

    def _decoded(self, maps: Sequence[Tensor]) -> Tensor:
        *fine, coarse = maps
        pooled = [_as_large(pool(coarse), coarse) for pool in self.pools]
        levels = [self.pyramid(torch.cat([coarse, *pooled], dim=1))]
        for lateral, state in zip(reversed(self.laterals), reversed(fine), strict=True):
            levels.insert(0, lateral(state) + _as_large(levels[0], state))
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, levels[:-1], strict=True)]
        alike = [smoothed[0], *(_as_large(x, smoothed[0]) for x in (*smoothed[1:], levels[-1]))]
        return cast(Tensor, self.classify(self.fusion(torch.cat(alike, dim=1))))

    def _enlarged(self, logits: Tensor, images: Tensor) -> Tensor:
        return _as_large(logits, images)


def _scales(width: int) -> list[nn.Module]:
    """Layers that bring a map to four times, twice, once and half its sides."""
    fourfold = nn.Sequential(
        nn.ConvTranspose2d(width, width, 2, 2),
        nn.BatchNorm2d(width),
        nn.GELU(),
        nn.ConvTranspose2d(width, width, 2, 2),
    )
    return [fourfold, nn.ConvTranspose2d(width, width, 2, 2), nn.Identity(), nn.MaxPool2d(2)]


def _convolution(inputs: int, outputs: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _as_large(values: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(values, like.shape[-2:], mode="bilinear", align_corners=False)
