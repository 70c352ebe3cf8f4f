"""First weights from a larger model: a LLaMA 2 checkpoint, or a larger iLLaMA (paper, Table 18; Xu
et al., arXiv 2311.18823).

Of every dimension, evenly spaced elements are taken; of the depth, the first blocks. Two things are
kept together that the paper's code takes apart: a head's channels stay in one head, and the two
channels that RoPE turns as one pair stay a pair. With heads of twice the width every second pair is
taken, whose frequencies are then exactly the smaller head's.
"""

from collections.abc import Mapping
from itertools import count, takewhile

import torch
from torch import Tensor

from illama.model import VisionTransformer

_LLAMA_NAMES = {
    "norm1.weight": "input_layernorm.weight",
    "norm2.weight": "post_attention_layernorm.weight",
    "attn.proj.weight": "self_attn.o_proj.weight",
    "mlp.fc1.weight": "mlp.gate_proj.weight",
    "mlp.fc2.weight": "mlp.down_proj.weight",
    "mlp.fc3.weight": "mlp.up_proj.weight",
}


_LLAMA_QKV = tuple(f"self_attn.{part}_proj.weight" for part in "qkv")


def is_llama(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether the names are those of a Hugging Face LLaMA checkpoint."""
    return "model.layers.0.input_layernorm.weight" in weights


def from_llama(weights: Mapping[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """The whole blocks of a Hugging Face LLaMA checkpoint, or of its first file: our names, and our
    order of channels in q and k.

    That format keeps a head's first channels of all pairs before its second ones; here, as in the
    original LLaMA, the two channels of a pair are neighbours. Raises `ValueError` when k has fewer
    heads than q (grouped-query attention).
    """

    def is_whole(block: int) -> bool:
        return all(
            f"model.layers.{block}.{theirs}" in weights
            for theirs in (*_LLAMA_NAMES.values(), *_LLAMA_QKV)
        )

    ours: dict[str, Tensor] = {}
    for block in takewhile(is_whole, count()):
        there, here = f"model.layers.{block}.", f"blocks.{block}."
        ours |= {here + name: weights[there + theirs] for name, theirs in _LLAMA_NAMES.items()}
        q, k, v = (weights[there + theirs] for theirs in _LLAMA_QKV)
        if k.shape != q.shape:
            raise ValueError(
                f"block {block} has k of {tuple(k.shape)} and q of {tuple(q.shape)}: grouped "
                "queries are not supported"
            )
        _check_heads(len(q), num_heads)
        ours[here + "attn.qkv.weight"] = torch.cat(
            (_neighbours(q, num_heads), _neighbours(k, num_heads), v)
        )
    return ours


def select_weights(
    model: VisionTransformer, source: Mapping[str, Tensor], source_heads: int
) -> list[str]:
    """Fill the blocks of `model` from the larger `source`, in our names; all else keeps its values.
    Returns the names filled.

    Raises `ValueError` when the source has too few blocks, or is smaller somewhere, or cannot have
    so many heads.
    """
    filled, heads = {}, (source_heads, model.config.num_heads)
    for name, target in model.state_dict().items():
        if not name.startswith("blocks.") or (name not in source and name.endswith("bias")):
            # LLaMA has no biases
            continue
        if name not in source:
            raise ValueError(
                f"the source has no {name}: it needs at least {model.config.depth} blocks with "
                "RMSNorm and SwiGLU"
            )
        value = source[name]
        for axis, wanted in enumerate(target.shape):
            value = value.index_select(axis, _chosen(name, axis, value.shape[axis], wanted, heads))
        filled[name] = value.to(target)
    model.load_state_dict(filled, strict=False)
    return list(filled)


def _chosen(name: str, axis: int, size: int, wanted: int, heads: tuple[int, int]) -> Tensor:
    """The elements that are taken of one dimension: evenly spaced, but heads and RoPE's pairs
    whole.
    """
    if wanted > size:
        raise ValueError(
            f"{name} has {size} elements in dimension {axis} of the source, but the model needs "
            f"{wanted}"
        )
    if name.endswith(("attn.qkv.weight", "attn.qkv.bias")) and axis == 0:
        size, wanted = size // 3, wanted // 3
        turned = _head_channels(size, wanted, heads, unit=2)
        return torch.cat(
            (turned, size + turned, 2 * size + _head_channels(size, wanted, heads, unit=1))
        )
    if name.endswith("attn.proj.weight") and axis == 1:  # takes what v of the same heads brings
        return _head_channels(size, wanted, heads, unit=1)
    return _even(size, wanted)


def _head_channels(size: int, wanted: int, heads: tuple[int, int], unit: int) -> Tensor:
    """Evenly spaced heads, and in each evenly spaced units of neighbouring channels."""
    _check_heads(size, heads[0])
    width, wanted_width = size // heads[0], wanted // heads[1]
    if width < wanted_width or heads[0] < heads[1]:
        raise ValueError(
            f"the source has {heads[0]} heads of {width} channels, but the model needs {heads[1]} "
            f"of {wanted_width}: both numbers must be at most the source's"
        )
    inside = (
        _even(width // unit, wanted_width // unit)[:, None] * unit + torch.arange(unit)
    ).flatten()
    return (_even(*heads)[:, None] * width + inside).flatten()


def _check_heads(width: int, num_heads: int) -> None:
    if width % num_heads or width // num_heads % 2:
        raise ValueError(
            f"source_heads is {num_heads}, but the source's width {width} cannot be split into "
            "that many heads of even width"
        )


def _even(size: int, wanted: int) -> Tensor:
    return torch.arange(wanted) * size // wanted


def _neighbours(weight: Tensor, num_heads: int) -> Tensor:
    """Rows of each head from (all first channels, all second channels) to (first, second) of each
    pair.
    """
    halves = weight.reshape(num_heads, 2, -1, weight.shape[1])  # (H, 2, C / 2, D)
    return halves.transpose(1, 2).reshape(weight.shape)
