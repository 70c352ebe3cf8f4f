"""CrossViT and CrossFormer compute their published formulas, and train by name."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from illama.config import Config, RuntimeConfig, UserModel, resolve
from illama.networks import NETWORKS
from illama.networks.crossformer import CrossScaleEmbedding, GroupedBlock, crossformer, shares
from illama.networks.crossvit import Fusion, MultiScaleEncoder, crossvit
from illama.networks.layers import CrossAttention
from illama.training.learner import Learner

CPU = torch.device("cpu")


def randomly(module: Any) -> Any:
    torch.manual_seed(7)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double()


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    mean, spread = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (spread + 1e-6).sqrt() * norm.weight + norm.bias  # type: ignore[operator]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(part: CrossAttention, asking: Tensor, asked: Tensor, bias: Tensor) -> Tensor:
    """One image, head by head and query by query. asking: (R, D); asked: (N, D); bias: (H, R,
    N).
    """
    q, k, v = part.to_q(asking), part.to_k(asked), part.to_v(asked)
    width = q.shape[1] // part.heads
    rows = []
    for i in range(len(q)):
        heads = []
        for h in range(part.heads):
            c = slice(h * width, (h + 1) * width)
            scores = (k[:, c] * q[i, c]).sum(1) / math.sqrt(width) + bias[h, i]
            weights = scores.exp() / scores.exp().sum()
            heads.append((weights[:, None] * v[:, c]).sum(0))
        rows.append(torch.cat(heads))
    return part.proj(torch.stack(rows))  # type: ignore[no-any-return]


def test_a_class_token_looks_at_the_other_branch_and_comes_back() -> None:
    fusion = randomly(Fusion(4, 6, 2))
    own, others = drawn(2, 3, 4), drawn(2, 8, 6)
    for image in range(2):
        norm, _, linear = fusion.there
        token = linear(gelu(normed(own[image, :1], norm)))
        seen = normed(torch.cat((token, others[image, 1:])), fusion.norm)
        token = token + attention(fusion.attn, seen[:1], seen, torch.zeros(2, 1, 8))
        norm, _, linear = fusion.back
        expected = linear(gelu(normed(token, norm)))
        torch.testing.assert_close(fusion(own, others)[image], expected)


def test_both_class_tokens_look_at_the_same_states_and_patches_stay() -> None:
    encoder = randomly(MultiScaleEncoder((4, 6), (1, 2), 2))
    small, large = drawn(2, 5, 4), drawn(2, 3, 6)
    of_small, of_large = encoder.small(small), encoder.large(large)
    found_small, found_large = encoder(small, large)
    torch.testing.assert_close(found_small[:, 1:], of_small[:, 1:])
    torch.testing.assert_close(found_large[:, 1:], of_large[:, 1:])
    torch.testing.assert_close(found_small[:, :1], encoder.small_asks(of_small, of_large))
    torch.testing.assert_close(found_large[:, :1], encoder.large_asks(of_large, of_small))


def test_logits_are_the_mean_of_both_branches() -> None:
    network = randomly(crossvit(img_size=12, patch_sizes=(3, 4), dims=(6, 12), heads=2))
    images = drawn(2, 1, 12, 12)
    small, large = network.encoders[0](network.branches[0](images), network.branches[1](images))
    assert (small.shape, large.shape) == ((2, 17, 6), (2, 10, 12))
    first = network.heads[0](normed(small[:, 0], network.norms[0]))
    second = network.heads[1](normed(large[:, 0], network.norms[1]))
    torch.testing.assert_close(network(images), (first + second) / 2)


@pytest.mark.parametrize("far", [False, True])
def test_groups_are_attention_of_the_tokens_that_are_near_or_far(far: bool) -> None:
    side, group, dim, heads = 6, 3, 8, 2
    part = randomly(GroupedBlock(dim, heads, group, far=far))
    x = drawn(2, side, side, dim)
    block, apart = part.block, side // group
    expected = torch.zeros_like(x)
    seen = normed(x, block.norm1)
    for row in range(side):
        for column in range(side):
            if far:
                rows, columns = (range(place % apart, side, apart) for place in (row, column))
            else:
                rows, columns = (
                    range(place // group * group, place // group * group + group)
                    for place in (row, column)
                )
            members = [(r, c) for r in rows for c in columns]
            step = apart if far else 1
            away = torch.tensor(
                [[(row - r) // step, (column - c) // step] for r, c in members]
            ).double()
            hidden = part.bias.enter(away)
            for norm, _, linear in part.bias.layers:
                hidden = linear(normed(hidden, norm).clamp(min=0))
            for image in range(2):
                others = torch.stack([seen[image, r, c] for r, c in members])
                own = seen[image, row, column][None]
                out = attention(block.attn, own, others, hidden.T[:, None])
                expected[image, row, column] = x[image, row, column] + out[0]
    expected = expected + block.mlp.fc2(gelu(block.mlp.fc1(normed(expected, block.norm2))))
    torch.testing.assert_close(part(x), expected)


def test_an_embedding_has_fewer_channels_for_larger_kernels() -> None:
    assert shares(32, 4) == [16, 8, 4, 4]
    assert shares(10, 2) == [5, 5]
    part = randomly(CrossScaleEmbedding(3, 12, (2, 4, 6), 2))
    x = drawn(2, 3, 8, 8)
    found = part(x)
    assert found.shape == (2, 12, 4, 4)
    weight, bias = part.convolutions[1].weight, part.convolutions[1].bias
    padded = F.pad(x, (1, 1, 1, 1))
    patch = padded[:, :, 4:8, 2:6]  # around row 2, column 1
    expected = torch.einsum("bcij,ocij->bo", patch, weight) + bias
    torch.testing.assert_close(found[:, 6:9, 2, 1], expected)


def test_a_crossformer_reads_the_mean_of_its_last_stage() -> None:
    network = randomly(crossformer(img_size=16, dims=(8, 16), depths=(2, 2), heads=(2, 2), group=4))
    assert [block.far for block in network.stages[0].blocks] == [False, True]
    assert [block.far for block in network.stages[1].blocks] == [False, False]  # one group is all
    images = drawn(2, 1, 16, 16)
    first = normed(network.stages[0](images.permute(0, 2, 3, 1)), network.norms[0])
    second = normed(network.stages[1](first), network.norms[1])
    torch.testing.assert_close(network(images), network.head(second.flatten(1, 2).mean(1)))


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (crossvit, {"patch_sizes": (3, 4)}, "must divide img_size 8"),
        (crossvit, {"heads": 5}, "heads 5"),
        (crossformer, {"dims": (8,)}, "dims, depths and heads have 1, 2, 2"),
        (crossformer, {"kernels": (3,)}, "must be even"),
        (
            crossformer,
            {"img_size": 4, "dims": (8, 8, 8), "depths": (1, 1, 1), "heads": (2, 2, 2)},
            "a grid of 1 x 1 cannot be halved",
        ),
        (crossformer, {"img_size": 10}, "a grid of 5 x 5 cannot be cut into groups of 2"),
    ],
)
def test_what_does_not_fit_is_told(network: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**options)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_network_trains_by_name(name: str) -> None:
    recipe = {"epochs": 1, "batch_size": 32, "lr": 3e-3}
    config = resolve({"model": {"name": name}, "data": {"name": "digits"}, "train": recipe})
    assert isinstance(config, Config)
    assert isinstance(config.model, UserModel)
    assert config.model.code.startswith("NUMERICS_VERSION")
    learner = Learner(config, RuntimeConfig(), CPU, 100)
    counted = sum(parameter.numel() for parameter in learner.model.parameters())
    assert config.model.params == counted
    with FlopCounterMode(display=False) as counter:
        learner.model(torch.zeros(2, 1, 8, 8))
    assert config.model.macs == counter.get_total_flops() // 4
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(32) % 10
    losses = [learner.update(step, images, labels).item() for step in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in learner.model.parameters())
