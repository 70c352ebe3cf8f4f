"""Quantisers of RepQ-ViT, and a network that computes with them; see `illama.measures.repq`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.attention import attention_map
from illama.blocks import Attention
from illama.model import VisionTransformer
from illama.parts.place import Where
from illama.quantized import SMALLEST
from illama.rotary import rotate


class Grid(NamedTuple):
    """A uniform grid of whole numbers from 0 to `top`."""

    scale: Tensor
    zero: Tensor
    top: int

    def rounded(self, x: Tensor) -> Tensor:
        """The nearest values on the grid, which ends at its ends."""
        codes = (x / self.scale).round() + self.zero
        nearest: Tensor = (codes.clamp(0, self.top) - self.zero) * self.scale
        return nearest


def grid_over(low: Tensor, high: Tensor, bits: int) -> Grid:
    """The grid that reaches from `low` to `high`, with 0 on it."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    top = 2**bits - 1
    scale = ((high - low) / top).clamp(min=SMALLEST)
    return Grid(scale, (-low / scale).round(), top)


def even_grid(low: Tensor, high: Tensor, bits: int) -> Grid:
    """A grid as far below 0 as above it, whose zero point is the same whatever the range."""
    top = 2**bits - 1
    scale = (torch.maximum(high, -low) / (top // 2)).clamp(min=SMALLEST)
    return Grid(scale, torch.full_like(scale, (top + 1) // 2), top)


class Uniform(nn.Module):
    """Looks at what passes, and rounds it once `grid` is set."""

    def __init__(self, *, by_channel: bool = False) -> None:
        super().__init__()
        self.by_channel = by_channel
        self.low = self.high = torch.zeros(())
        self.grid: Grid | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., channels); returns the same shape."""
        if self.grid is not None:
            return self.grid.rounded(x)
        rows = x.flatten(0, -2) if self.by_channel else x.reshape(-1, 1)
        self.low = torch.minimum(self.low, rows.amin(0))  # (channels,), or (1,)
        self.high = torch.maximum(self.high, rows.amax(0))
        return x

    def settle(self, bits: int) -> None:
        """Round from now on, on the grid over all that was seen."""
        self.grid = grid_over(self.low, self.high, bits)


class LogRootTwo(nn.Module):
    """Looks at attention weights, and rounds them to powers of the root of 2 once it is settled."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = torch.zeros(())
        self.codes: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x: not negative, any shape; returns the same shape."""
        if self.codes is None:
            self.largest = torch.maximum(self.largest, x.amax())
            return x
        code = (-2 * (x / self.largest.clamp(min=SMALLEST)).log2()).round().clamp(min=0)
        power = self.largest * 2.0 ** (-code / 2)
        return power.where(code < self.codes, torch.zeros_like(power))

    def settle(self, bits: int) -> None:
        """Round from now on."""
        self.codes = 2**bits


class RoundedLinear(nn.Module):
    """A linear whose inputs pass a quantiser."""

    def __init__(self, layer: nn.Linear, *, by_channel: bool) -> None:
        super().__init__()
        bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
        self.weight, self.bias = layer.weight.detach().clone(), bias.clone()
        self.enter = Uniform(by_channel=by_channel)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., inputs); returns (..., outputs)."""
        return F.linear(self.enter(x), self.weight, self.bias)

    def round_weights(self, bits: int) -> None:
        """Weights on a grid for each output channel."""
        low, high = self.weight.amin(1, keepdim=True), self.weight.amax(1, keepdim=True)
        self.weight = grid_over(low, high, bits).rounded(self.weight)


class RoundedAttention(nn.Module):
    """The built-in attention with quantisers on both sides of its products."""

    def __init__(self, attention: Attention, *, plain: bool) -> None:
        super().__init__()
        self.inner = attention
        self.of_q, self.of_k, self.of_v = Uniform(), Uniform(), Uniform()
        self.of_weights: nn.Module = Uniform() if plain else LogRootTwo()

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D). Returns (B, R, D)."""
        q, k, v = self.inner.split(x)
        if where.rotation is not None:
            q, k = rotate(q, where.rotation), rotate(k, where.rotation)
        q, k, v = self.of_q(q), self.of_k(k), self.of_v(v)
        _, weights = attention_map(q, k, where.mask, where.rows)
        out = (self.of_weights(weights) @ v).transpose(1, 2).flatten(2)
        projected: Tensor = self.inner.proj(out)
        return projected


@torch.no_grad()
def quantised(
    network: VisionTransformer, images: Tensor, bits: int, *, plain: bool = False
) -> VisionTransformer:
    """Change `network` to compute with `bits`, its ranges taken from `images`; returns it.

    `plain`: one scale for all that a norm puts out, and a uniform one for attention weights.
    """
    for block in network.blocks:
        _surround(block, plain=plain)
    network(images)
    for _, norm, layers in behind_norms(network):
        if not plain:
            reparametrise(norm, layers, bits)
    for module in network.modules():
        if isinstance(module, LogRootTwo) or (isinstance(module, Uniform) and module.grid is None):
            module.settle(bits)
        if isinstance(module, RoundedLinear):
            module.round_weights(bits)
    return network


def _surround(block: Any, *, plain: bool) -> None:
    """Put quantisers into a block."""
    by_channel = not plain
    block.attn.qkv = RoundedLinear(block.attn.qkv, by_channel=by_channel)
    block.attn.proj = RoundedLinear(block.attn.proj, by_channel=False)
    block.attn = RoundedAttention(block.attn, plain=plain)
    for name, layer in list(block.mlp.named_children()):
        first = name != "fc2"
        setattr(block.mlp, name, RoundedLinear(layer, by_channel=by_channel and first))


def behind_norms(
    network: VisionTransformer,
) -> Iterator[tuple[str, nn.Module, list[RoundedLinear]]]:
    """Each norm of a block with its name, and the linears that take what it puts out."""
    for index, block in enumerate(network.blocks):
        inside: Any = block
        first = [layer for name, layer in inside.mlp.named_children() if name != "fc2"]
        yield f"blocks.{index}.norm1", inside.norm1, [inside.attn.inner.qkv]
        yield f"blocks.{index}.norm2", inside.norm2, first


def reparametrise(norm: Any, layers: list[RoundedLinear], bits: int) -> None:
    """Move the differences between channels from the quantiser into the norm and the linears."""
    low, high = layers[0].enter.low, layers[0].enter.high
    shift = getattr(norm, "bias", None)
    scale, zero, top = (even_grid if shift is None else grid_over)(low, high, bits)
    one = Grid(scale.mean(), zero.mean().round(), top)
    ratio, moved = scale / one.scale, zero - one.zero
    norm.weight.data = norm.weight.data / ratio
    if shift is not None:
        shift.data = (shift.data + scale * moved) / ratio
    for layer in layers:
        layer.bias = layer.bias - layer.weight @ (scale * moved)
        layer.weight = layer.weight * ratio
        layer.enter.grid = one
