"""Parameters and multiply-accumulates of a network, by formula: a planner answers at once, without torch.

Shapes: P patches, N tokens, D channels, F hidden channels of the feed-forward.
"""

import math

from illama.config import ModelConfig, UserModel, Workload


def tokens(model: ModelConfig) -> int:
    """N: patches, and the class token if there is one."""
    return patches(model) + (model.class_token != "none")


def patches(model: ModelConfig) -> int:
    """P."""
    return (model.img_size // model.patch_size) ** 2


def hidden_width(model: ModelConfig) -> int:
    """F: 4D for GELU; for SwiGLU, whose third linear has to be paid for, 2/3 of that rounded up to `multiple_of`."""
    if model.feed_forward == "gelu":
        return 4 * model.embed_dim
    return model.multiple_of * math.ceil(int(2 * 4 * model.embed_dim / 3) / model.multiple_of)


def parameter_count(model: ModelConfig | UserModel) -> int:
    """Numbers that training changes, embeddings and head included."""
    if isinstance(model, UserModel):
        return model.params
    width, hidden = model.embed_dim, hidden_width(model)
    norm = width if model.norm == "rmsnorm" else 2 * width
    attention = 4 * width * (width + 1)
    feed_forward = (
        3 * width * hidden
        if model.feed_forward == "swiglu"
        else 2 * width * hidden + hidden + width
    )
    patch = model.in_chans * model.patch_size**2
    positions = tokens(model) if "learned" in model.position else 0
    embeddings = (patch + 1 + positions + (model.class_token != "none")) * width
    head = norm + (width + 1) * model.num_classes
    return embeddings + model.depth * (2 * norm + attention + feed_forward) + head


def macs(model: ModelConfig | UserModel) -> int:
    """Multiply-accumulates of one image's way forward: every matrix product, and nothing else.

    As in the paper's Table 6, attention counts as the full N x N product whatever the mask, and the last block as if all its
    tokens were needed. (`VisionTransformer.forward` computes only the one that is read out.) Those of other people's networks
    were counted by torch.
    """
    if isinstance(model, UserModel):
        return model.macs
    width, count = model.embed_dim, tokens(model)
    linears = 3 if model.feed_forward == "swiglu" else 2
    block = (
        4 * count * width**2 + 2 * count**2 * width + linears * count * width * hidden_width(model)
    )
    patch = patches(model) * width * model.in_chans * model.patch_size**2
    return patch + model.depth * block + width * model.num_classes


def size_of(config: Workload) -> tuple[int, int] | tuple[None, None]:
    """Parameters, and FLOPs of one image's way forward: two for each multiply-accumulate.

    None of a workload whose network is not known before it is trained.
    """
    network = config.network
    if network is None:
        return None, None
    return parameter_count(network), 2 * macs(network)
