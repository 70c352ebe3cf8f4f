"""Merging tokens of a trained network: against loops over tokens, and where nothing can change."""

import math
from typing import Any

import pytest
import torch
from test_measure_networks import FewDigits
from torch import Tensor, nn

from illama.config import ModelConfig, with_preset
from illama.cost import macs
from illama.measures.token_merging import (
    Tokens,
    merged,
    merged_logits,
    merged_macs,
    token_counts,
    token_merging,
)
from illama.model import VisionTransformer

CPU = torch.device("cpu")
SMALL = {"name": "vit_digits", "embed_dim": 12, "depth": 3, "num_heads": 3, "multiple_of": 1}
ILLAMA = {"name": "illama_digits", "embed_dim": 12, "depth": 3, "num_heads": 3, "multiple_of": 1}
KINDS: list[dict[str, Any]] = [
    SMALL,
    {**SMALL, "class_token": "none"},
    {**SMALL, "registers": 2, "layer_scale": 0.5, "position": "rope2d", "embed_dim": 24},
    ILLAMA,
    {**ILLAMA, "mask_form": "additive", "qk_norm": True, "kv_heads": 1, "registers": 1},
    {**SMALL, "attention": "modified_causal", "readout": "mean"},
]


def network(**settings: Any) -> VisionTransformer:
    config = ModelConfig.model_validate(with_preset(settings))
    torch.manual_seed(1)
    made = VisionTransformer(config, 0)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made.double().eval()


def images(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("settings", KINDS)
@torch.no_grad()
def test_nothing_merged_is_the_network_itself(settings: dict[str, Any]) -> None:
    made = network(**settings)
    torch.testing.assert_close(merged_logits(made, images(), 0), made(images()))


def visible(mask: Any, i: int, j: int) -> float:
    return 1.0 if mask is None else float(mask.matrix[i, j])


def by_loops(made: VisionTransformer, image: Tensor, r: int) -> Tensor:
    """One image, token by token: a token is its vector, its size, its place and its patch's
    number.
    """
    config = made.config
    x, rotation = made.embedded(image[None])
    inner = config.place(0).patches
    everything = range(config.tokens)
    patches = [[x[0, n], 1.0, n] for n in everything if inner.start <= n < inner.stop]
    others = [[x[0, n], 1.0, n] for n in everything if not inner.start <= n < inner.stop]
    for block, mask in zip(made.blocks, made.block_masks(), strict=True):
        inside: Any = block
        tokens = [*patches, *others]
        stacked = inside.norm1(torch.stack([t[0] for t in tokens]))[None]
        q, k, v = (part[0] for part in inside.attn.split(stacked))  # each (H, n, C)
        keys = k.mean(0)
        if rotation is not None:
            turn = rotation[[t[2] for t in tokens]]
            q, k = (
                torch.view_as_real(
                    torch.view_as_complex(part.reshape(*part.shape[:-1], -1, 2).contiguous())
                    * torch.view_as_complex(turn)
                ).flatten(-2)
                for part in (q, k)
            )
        for i, token in enumerate(tokens):
            heads = []
            for h in range(len(q)):
                scores = k[h] @ q[h, i] / math.sqrt(q.shape[-1])
                scores = scores + torch.tensor([math.log(t[1]) for t in tokens])
                seen = torch.tensor([visible(mask, token[2], t[2]) for t in tokens])
                additive = mask is not None and mask.additive
                weights = (scores + seen * additive).softmax(0) * (1 if additive else seen)
                heads.append(weights @ v[h])
            token.append(inside.ls1(inside.attn.proj(torch.cat(heads))))
        for token in tokens:
            token[0] = token[0] + token.pop()
        patches = pairs_merged(patches, keys, r)
        tokens = [*patches, *others]
        for token in tokens:
            token[0] = token[0] + inside.ls2(inside.mlp(inside.norm2(token[0])))
    if config.readout == "mean" or config.class_token == "none":
        pooled = sum(made.norm(t[0]) * t[1] for t in patches) / config.patches
    else:
        wanted = 0 if config.class_token == "first" else config.tokens - 1
        pooled = made.norm(next(t[0] for t in others if t[2] == wanted))
    return made.head(pooled)  # type: ignore[no-any-return]


def pairs_merged(patches: list[Any], keys: Tensor, r: int) -> list[Any]:
    evens, odds = range(0, len(patches), 2), range(1, len(patches), 2)
    found = []
    for i in evens:
        cosines = [float(torch.cosine_similarity(keys[i], keys[j], dim=0)) for j in odds]
        best = max(range(len(cosines)), key=cosines.__getitem__)
        found.append((cosines[best], i, odds[best]))
    going = sorted(found, reverse=True)[: min(r, len(patches) // 2)]
    sums = {j: [patches[j][0] * patches[j][1], patches[j][1], patches[j][2]] for j in odds}
    for _, i, j in going:
        vector, size, place = patches[i]
        sums[j] = [sums[j][0] + vector * size, sums[j][1] + size, max(sums[j][2], place)]
    gone = {i for _, i, _ in going}
    stayed = [patches[i] for i in evens if i not in gone]
    return [*stayed, *([total / size, size, place] for total, size, place in sums.values())]


@pytest.mark.parametrize("r", [1, 3, 99])
@pytest.mark.parametrize("settings", KINDS)
@torch.no_grad()
def test_merging_is_the_loop_over_tokens(settings: dict[str, Any], r: int) -> None:
    made, pictures = network(**settings), images()
    found = merged_logits(made, pictures, r)
    for row, image in zip(found, pictures, strict=True):
        torch.testing.assert_close(row, by_loops(made, image, r))


@torch.no_grad()
def test_equal_patches_merge_without_any_change() -> None:
    made = network(**SMALL, position="none")
    same = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(merged_logits(made, same, 5), made(same))


def test_a_token_that_is_merged_keeps_the_later_place_and_both_sizes() -> None:
    x = torch.arange(10.0).reshape(1, 5, 2)
    tokens = Tokens(x, torch.tensor([[1.0, 3, 1, 1, 1]]), torch.tensor([[7, 2, 3, 4, 0]]))
    keys = torch.tensor([[[1.0, 0], [1, 0.1], [0, 1], [-1, 0], [1, 0]]])
    found = merged(tokens, keys, 1, fixed=1)
    assert found.place.tolist() == [[3, 7, 4, 0]]
    assert found.size.tolist() == [[1, 4, 1, 1]]
    assert found.x[0, 1].tolist() == [1.5, 2.5]  # a quarter of (0, 1), three of (2, 3)


def test_operations_follow_the_tokens() -> None:
    config = network(**ILLAMA).config
    assert token_counts(config, 3) == [17, 14, 11, 8]
    assert token_counts(config, 99) == [17, 9, 5, 3]
    assert merged_macs(config, token_counts(config, 0)) == macs(config)
    d, f = 12, 32
    by_hand = 16 * 4 * d + d * 10
    for n, left in ((17, 14), (14, 11), (11, 8)):
        by_hand += 4 * n * d * d + 2 * n * n * d + 3 * left * d * f
    assert merged_macs(config, [17, 14, 11, 8]) == by_hand


def test_the_measure_tells_accuracy_tokens_and_operations() -> None:
    data = FewDigits(**{**SMALL, "embed_dim": 12})
    made = network(**SMALL).float()
    found = token_merging(made, data, CPU, 0, r=2).values
    assert (found["tokens"], found["tokens_before"]) == (11, 17)
    assert found["macs"] < found["macs_before"] == macs(made.config) / 1e6
    untouched = token_merging(made, data, CPU, 0, r=0).values
    assert untouched["drop"] == 0
    assert untouched["macs"] == untouched["macs_before"]
    with pytest.raises(ValueError, match="found softplus"):
        token_merging(network(**SMALL, mixer="softplus"), data, CPU, 0)
    with pytest.raises(ValueError, match="needs all of them"):
        token_merging(network(**SMALL, feed_forward="eca"), data, CPU, 0)
