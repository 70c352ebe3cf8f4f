"""First values of the built-in networks, drawn tensor by tensor."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from illama.config.parts import Part
from illama.low_rank import low_rank_layers
from illama.randomness import derive

if TYPE_CHECKING:
    from illama.model import VisionTransformer

INIT_STD = 0.02
"""Standard deviation of the truncated normal that weights start from (released code; paper:
0.2).
"""

_OF_ATTENTION = ("attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias")
_OF_FEED_FORWARD = tuple(
    f"mlp.fc{number}.{kind}" for number in (1, 2, 3) for kind in ("weight", "bias")
)
_PAIRED = frozenset({*_OF_ATTENTION, *_OF_FEED_FORWARD, "head.weight", "head.bias"})
"""Tensors that a part may share with the built-in one by its name: they start with the same
values.
"""


def _is_parts_own(model: "VisionTransformer", name: str) -> bool:
    """Tell whether a parameter keeps the first values that a part's constructor gave it."""
    config = model.config
    if name.startswith("blocks."):
        _, layer, inner = name.split(".", 2)
        kinds = {"attn": "mixer", "mlp": "feed_forward", "norm1": "norm", "norm2": "norm"}
        kind = kinds.get(inner.partition(".")[0])
        is_part = kind is not None and isinstance(config.of_blocks(kind)[int(layer)], Part)
        return is_part and inner not in _PAIRED
    top = name.partition(".")[0]
    if top == "norm":
        return isinstance(config.of_blocks("norm")[-1], Part)
    if top == "head":
        return isinstance(config.readout, Part) and name not in _PAIRED
    return top == "position"


@torch.no_grad()
def init_weights(model: "VisionTransformer", seed: int, below: str = "") -> None:
    """Give every parameter whose name begins with `below` its first values: the only place where
    that happens, but for those that parts draw themselves.

    Norms start as the identity and biases at 0; the patch projection as torch's convolution does,
    uniform within 1 / sqrt(inputs); LayerScale at `layer_scale`; all else from a truncated normal.
    Each tensor draws from a generator of its own name, so variants of a model that share a tensor
    and a seed also share its first values, and a comparison between them is not one of luck at the
    start. Layers of low rank start from what the whole layer would start from.
    """
    for name, parameter in model.named_parameters():
        has_own = parameter.is_meta or _is_parts_own(model, name)  # no values, or its part's
        if has_own or not name.startswith(below):
            continue
        generator = _generator(seed, name)
        value = torch.empty(parameter.shape, device="cpu")
        if name.startswith("patch_embed"):
            bound = model.patch_embed.proj.weight[0].numel() ** -0.5
            value.uniform_(-bound, bound, generator=generator)
        elif name.endswith(".gamma"):
            value.fill_(model.config.layer_scale or 1.0)
        elif "norm" in name:
            value.fill_(name.endswith("weight"))
        elif name.endswith("bias"):
            value.zero_()
        else:
            nn.init.trunc_normal_(value, std=INIT_STD, generator=generator)
        parameter.copy_(value)
    _start_low_rank(model, seed, below)


def _start_low_rank(model: "VisionTransformer", seed: int, below: str) -> None:
    """Factor what whole layers would start from."""
    for name, layer in low_rank_layers(model):
        if not layer.up.weight.is_meta and name.startswith(below):
            value = torch.empty(layer.shape, device="cpu")
            generator = _generator(seed, f"{name}.weight")
            nn.init.trunc_normal_(value, std=INIT_STD, generator=generator)
            layer.take(value)


def _generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(derive(seed, "init", name))
