"""Parameters and multiply-accumulates of a network, by formula: a planner answers at once, without
torch.

Shapes: P patches, N tokens, D channels, F hidden channels of the feed-forward.
"""

import math
from collections.abc import Callable
from typing import Literal

from illama.config import ModelConfig, UserModel, Workload
from illama.config.parts import Part


def tokens(model: ModelConfig) -> int:
    """N: patches, the class token if there is one, and registers."""
    return model.tokens


def patches(model: ModelConfig) -> int:
    """P."""
    return model.patches


def hidden_width(model: ModelConfig, feed_forward: str | None = None) -> int:
    """F: 4D for GELU; for SwiGLU, whose third linear has to be paid for, 2/3 of that rounded up to
    `multiple_of`.

    Of the network's feed-forward where none is named: that of its first block.
    """
    if (feed_forward or model.of_blocks("feed_forward")[0]) != "swiglu":
        return 4 * model.embed_dim
    return model.multiple_of * math.ceil(int(2 * 4 * model.embed_dim / 3) / model.multiple_of)


def parameter_count(model: ModelConfig | UserModel) -> int:
    """Numbers that training changes, embeddings and head included."""
    if isinstance(model, UserModel):
        return model.params
    width = model.embed_dim
    patch = model.in_chans * model.patch_size**2
    positions = model.learns_positions * (tokens(model) - model.registers)
    embeddings = (patch + 1 + positions + (model.class_token != "none") + model.registers) * width
    scales = (model.layer_scale is not None) * 2 * model.depth * width
    exits = len(model.exits) * (_last_norm_params(model) + (width + 1) * model.num_classes)
    return (
        embeddings
        + scales
        + exits
        + _of_parts(model, "norm", lambda norm: 2 * _norm_params(model, norm), "params")
        + _last_norm_params(model)
        + _of_parts(model, "mixer", lambda mixer: _attention_params(model), "params")
        + _of_parts(model, "feed_forward", lambda kind: _feed_forward_params(model, kind), "params")
        + _of_one(model.position, 0, "params")
        + _of_one(model.readout, (width + 1) * model.num_classes, "params")
    )


def _of_parts(
    model: ModelConfig, kind: str, built_in: Callable[[str], int], size: Literal["params", "macs"]
) -> int:
    """Sum over all blocks: of parts what was measured, of built-in ones what `built_in` says of one
    block.
    """
    choices = model.choices(kind)
    blocks = model.depth // len(choices)
    ours = [blocks * built_in(choice) for choice in choices if isinstance(choice, str)]
    return sum(ours) + sum(_of_one(choice, 0, size) for choice in choices)


def _of_one(choice: str | Part, built_in: int, size: Literal["params", "macs"]) -> int:
    if isinstance(choice, str):
        return built_in
    return getattr(choice, size) or 0


def _norm_params(model: ModelConfig, norm: str) -> int:
    return {"rmsnorm": 1, "layernorm": 2}[norm] * model.embed_dim


def _last_norm_params(model: ModelConfig) -> int:
    """The parameters of the norm in front of the head; a part was measured together with those of
    the blocks.
    """
    last = model.of_blocks("norm")[-1]
    if isinstance(last, Part):
        return 0
    return _norm_params(model, last)


def _key_width(model: ModelConfig) -> int:
    """Channels of all keys, and of all values."""
    return model.embed_dim // model.num_heads * (model.kv_heads or model.num_heads)


def _attention_params(model: ModelConfig) -> int:
    width = model.embed_dim
    outputs = width + 2 * _key_width(model)
    biases = model.attention_bias * (outputs + width)
    norms = model.qk_norm * 2 * (width // model.num_heads)
    weights = linear_weights(model, width, outputs) + linear_weights(model, width, width)
    return weights + biases + norms


def rank_of(model: ModelConfig, inputs: int, outputs: int) -> int:
    """Rank of a linear that has `model.low_rank` times fewer weights in two factors than whole; at
    least 1.
    """
    assert model.low_rank is not None
    return max(1, int(inputs * outputs / (model.low_rank * (inputs + outputs))))


def linear_weights(model: ModelConfig, inputs: int, outputs: int) -> int:
    """Weights of a linear inside the blocks, and its multiply-accumulates for one token."""
    if model.low_rank is None:
        return inputs * outputs
    return rank_of(model, inputs, outputs) * (inputs + outputs)


def _feed_forward_params(model: ModelConfig, kind: str) -> int:
    width, hidden = model.embed_dim, hidden_width(model, kind)
    one = linear_weights(model, width, hidden)  # as many back
    if kind == "swiglu":
        return 3 * one
    return 2 * one + hidden + width


def macs(model: ModelConfig | UserModel) -> int:
    """Multiply-accumulates of one image's way forward: every matrix product, and nothing else.

    As in the paper's Table 6, attention counts as the full N x N product whatever the mask, and the
    last block as if all its tokens were needed. (`VisionTransformer.forward` computes only the one
    that is read out.) Those of other people's networks and parts were counted by torch.
    """
    if isinstance(model, UserModel):
        return model.macs
    count = tokens(model)
    attention = attention_macs(model, count)
    return (
        outer_macs(model)
        + _of_parts(model, "norm", lambda norm: 0, "macs")
        + _of_parts(model, "mixer", lambda mixer: attention, "macs")
        + _of_parts(
            model, "feed_forward", lambda kind: feed_forward_macs(model, kind, count), "macs"
        )
    )


def outer_macs(model: ModelConfig) -> int:
    """Multiply-accumulates outside of the blocks: patches, position and readout."""
    patch = patches(model) * model.embed_dim * model.in_chans * model.patch_size**2
    head = _of_one(model.readout, model.embed_dim * model.num_classes, "macs")
    return patch + _of_one(model.position, 0, "macs") + head


def attention_macs(model: ModelConfig, count: int) -> int:
    """Multiply-accumulates of the built-in attention of one block over `count` tokens."""
    width = model.embed_dim
    linears = linear_weights(model, width, width + 2 * _key_width(model))
    linears += linear_weights(model, width, width)
    return count * linears + 2 * count**2 * width


def feed_forward_macs(model: ModelConfig, kind: str, count: int) -> int:
    """Multiply-accumulates of a built-in feed-forward of one block for `count` tokens."""
    linears = {"swiglu": 3, "gelu": 2}[kind]
    return linears * count * linear_weights(model, model.embed_dim, hidden_width(model, kind))


def trained_to_json(config: Workload) -> dict[str, int]:
    """Return the number of trained parameters as `trained_params`; empty where none are frozen."""
    trained = config.trained_params
    if trained is None:
        return {}
    return {"trained_params": trained}


def params_text(params: int | None, config: Workload) -> str:
    """Parameters for people: `5,130`, or `330 / 5,130` where some are frozen; empty where nobody
    knows.
    """
    if params is None:
        return ""
    trained = config.trained_params
    if trained is None:
        return f"{params:,}"
    return f"{trained:,} / {params:,}"


def size_of(config: Workload) -> tuple[int, int] | tuple[None, None]:
    """Parameters, and FLOPs of one image's way forward: two for each multiply-accumulate.

    None of a workload whose network is not known before it is trained.
    """
    network = config.network
    if network is None:
        return None, None
    return parameter_count(network), 2 * macs(network)


def flops_text(flops: int | None) -> str:
    """FLOPs for people: `7.1M`, `2.51G`; empty where nobody knows."""
    if flops is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if flops >= size:
            return f"{flops / size:.3g}{unit}"
    return str(flops)
