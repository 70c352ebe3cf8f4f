"""Token merging: what a trained network loses when alike tokens are merged on the way, and what it
saves (ToMe, arXiv 2210.09461, section 3).

Behind the attention of each block, patches are dealt out in turn to two sets A and B. Each of A is
compared with all of B by the cosine of their keys, meaned over heads; the `r` closest pairs are
merged into means weighted by how many patches each token stands for, s. Attention counts a token
that many times:

    softmax( Q K^T / sqrt(C) + log s )

Class token and registers are never merged. Keys are compared before a rotary position turns them.

Ours: under a causal mask a merged token stands where the later of the two stood, for the mask and
for the rotary position, so that nothing sees its future; scores come in front of the mask in both
of its forms. At most half of the patches go in a block. Operations are those of
`illama.cost.macs`, with as many tokens as there are; finding the pairs is not counted.
"""

from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from illama.measures.base import OWN_BLOCKS, Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from torch import Tensor

    from illama.blocks import Block
    from illama.config import ModelConfig
    from illama.masks import Mask
    from illama.model import VisionTransformer

NUMERICS_VERSION = 1

QUANTITIES = {
    "acc1": Quantity("max", "%", 2, "accuracy with merged tokens"),
    "drop": Quantity("min", "%", 2, "accuracy that this costs"),
    "tokens": Quantity("min", decimals=0, text="tokens behind the last block"),
    "tokens_before": Quantity(None, decimals=0, text="tokens without merging"),
    "macs": Quantity("min", "M", 3, "multiply-accumulates of one image"),
    "macs_before": Quantity("min", "M", 3, "multiply-accumulates without merging"),
}


@quantities(QUANTITIES, needs=[OWN_BLOCKS])
def token_merging(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    r: Annotated[int, Field(ge=0)] = 2,
) -> Findings:
    """Accuracy, tokens and operations with `r` tokens merged in each block. Raises `ValueError`
    where a block is not made of attention.
    """
    from illama.cost import macs
    from illama.measures.passes import accuracy

    known = _checked(network)
    before = accuracy(known, data.held_out())
    after = accuracy(lambda images: merged_logits(known, images, r), data.held_out())
    counts = token_counts(known.config, r)
    values = {
        "acc1": after,
        "drop": before - after,
        "tokens": counts[-1],
        "tokens_before": counts[0],
        "macs": merged_macs(known.config, counts) / 1e6,
        "macs_before": macs(known.config) / 1e6,
    }
    return Findings(values)


def _checked(network: Network) -> "VisionTransformer":
    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer):
        raise ValueError("token_merging needs a built-in network, because it changes its blocks")
    mixers = {getattr(mixer, "name", mixer) for mixer in network.config.of_blocks("mixer")}
    if others := mixers - {"attention"}:
        raise ValueError(f"token_merging merges after mixer attention, found {min(others)}")
    if any(getattr(block, "feeds_all", False) for block in network.blocks):
        raise ValueError("token_merging removes tokens, but a feed-forward here needs all of them")
    return network


def token_counts(config: "ModelConfig", r: int) -> list[int]:
    """Tokens that enter the first block, and those that leave each one."""
    mergeable, others = config.patches, config.tokens - config.patches
    counts = [mergeable + others]
    for _ in range(config.depth):
        mergeable -= min(r, mergeable // 2)
        counts.append(mergeable + others)
    return counts


def merged_macs(config: "ModelConfig", counts: list[int]) -> int:
    """Multiply-accumulates with so many tokens in front of and behind each attention."""
    from illama.cost import attention_macs, feed_forward_macs, outer_macs

    blocks = zip(config.of_blocks("feed_forward"), counts[:-1], counts[1:], strict=True)
    return outer_macs(config) + sum(
        attention_macs(config, entering) + feed_forward_macs(config, kind, leaving)
        for kind, entering, leaving in blocks
    )


class Tokens(NamedTuple):
    """Tokens that are left, n of N: the patches first, then class token and registers."""

    x: "Tensor"
    """(B, n, D)."""
    size: "Tensor"
    """Number of tokens that each stands for, (B, n)."""
    place: "Tensor"
    """Number in the sequence of each, or of the last of those that it stands for, (B, n)."""


def merged_logits(network: "VisionTransformer", images: "Tensor", r: int) -> "Tensor":
    """Logits (B, classes) with `r` tokens merged in each block."""
    import torch

    from illama.blocks import Block

    config, rotation = network.config, network.rotation
    x, rotation = network.embedded(images)
    patches = config.place(0).patches
    places = torch.arange(x.shape[1], device=x.device)
    order = torch.cat((places[patches], places[: patches.start], places[patches.stop :]))
    size = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    tokens = Tokens(x[:, order], size, order.expand(len(x), -1))
    fixed = x.shape[1] - config.patches
    for block, mask in zip(network.blocks, network.block_masks(), strict=True):
        assert isinstance(block, Block)
        attended, keys = _attended(block, tokens, mask, rotation)
        tokens = tokens._replace(x=tokens.x + attended)
        tokens = merged(tokens, keys, r, fixed)
        fed = block.ls2(block.mlp(block.norm2(tokens.x)))
        tokens = tokens._replace(x=tokens.x + fed)
    return _read(network, tokens, fixed)


def _read(network: "VisionTransformer", tokens: Tokens, fixed: int) -> "Tensor":
    """Logits: of the class token, or of the patches' mean, each patch as often as it was one."""
    import torch

    config = network.config
    features = network.norm(tokens.x)
    kept = tokens.x.shape[1] - fixed
    if config.readout == "mean" or network.cls_token is None:
        weights = tokens.size[:, :kept, None] / config.patches
        return network.head((features[:, :kept] * weights).sum(1))  # type: ignore[no-any-return]
    wanted = 0 if config.class_token == "first" else config.tokens - 1
    at = (tokens.place == wanted).nonzero()[:, 1]
    return network.head(features[torch.arange(len(features)), at])  # type: ignore[no-any-return]


def _attended(
    block: "Block", tokens: Tokens, mask: "Mask | None", rotation: "Tensor | None"
) -> "tuple[Tensor, Tensor]":
    """Output of the attention, (B, n, D), and the keys' mean over heads, (B, n, C)."""
    from illama.blocks import Attention
    from illama.masks import masked_weights
    from illama.rotary import rotate

    attention = block.attn
    assert isinstance(attention, Attention)
    q, k, v = attention.split(block.norm1(tokens.x))
    keys = k.mean(1)
    if rotation is not None:
        turned = rotation[tokens.place].unsqueeze(1)  # (B, 1, n, C / 2, 2)
        q, k = rotate(q, turned), rotate(k, turned)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, H, n, n)
    scores = scores + tokens.size.log()[:, None, None, :]
    if mask is None:
        weights = scores.softmax(-1)
    else:
        matrix = mask.matrix[tokens.place[:, :, None], tokens.place[:, None, :]]
        weights = masked_weights(scores, matrix.unsqueeze(1), mask.additive)
    out = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
    return block.ls1(attention.proj(out)), keys


def merged(tokens: Tokens, keys: "Tensor", r: int, fixed: int) -> Tokens:
    """The tokens with `r` pairs of patches merged; the last `fixed` ones are never merged.

    keys: (B, n, C).
    """
    import torch
    import torch.nn.functional as F

    count = tokens.x.shape[1] - fixed
    r = min(r, count // 2)
    if not r:
        return tokens
    alike = F.normalize(keys[:, :count], dim=-1)
    closeness, partner = (alike[:, 0::2] @ alike[:, 1::2].transpose(-2, -1)).max(-1)
    chosen = closeness.argsort(dim=-1, descending=True, stable=True)
    gone, stay = chosen[:, :r], chosen[:, r:].sort(-1).values
    into = partner.gather(1, gone)  # (B, r), numbers in B
    rows = torch.arange(len(into), device=into.device)[:, None]
    a, b, others = (
        Tokens(*(part[:, which] for part in tokens))
        for which in (slice(0, count, 2), slice(1, count, 2), slice(count, None))
    )
    moved, kept = (
        Tokens(*(part[rows, gone] for part in a)),
        Tokens(*(part[rows, stay] for part in a)),
    )
    sizes = b.size.scatter_add(1, into, moved.size)
    wide = into.unsqueeze(-1).expand_as(moved.x)
    sums = (b.x * b.size.unsqueeze(-1)).scatter_add(1, wide, moved.x * moved.size.unsqueeze(-1))
    places = b.place.scatter_reduce(1, into, moved.place, "amax")
    received = Tokens(sums / sizes.unsqueeze(-1), sizes, places)
    return Tokens(*(torch.cat(parts, dim=1) for parts in zip(kept, received, others, strict=True)))
