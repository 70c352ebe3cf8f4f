"""Options of the built-in attention and blocks, each held against its formula or against
counting.
"""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from illama.blocks import Attention
from illama.config import ModelConfig, with_preset
from illama.config.networks import kept_from_decay
from illama.cost import macs, parameter_count
from illama.model import VisionTransformer
from illama.parts.place import ALL, Where
from illama.rotary import rotations


def config(**settings: Any) -> ModelConfig:
    small = {"name": "vit_digits", "embed_dim": 24, "depth": 2, "num_heads": 6}
    return ModelConfig.model_validate(with_preset({**small, **settings}))


OPTIONS: list[dict[str, Any]] = [
    {"qk_norm": True},
    {"attention_bias": False},
    {"kv_heads": 2},
    {"kv_heads": 1, "attention_bias": False, "qk_norm": True},
    {"layer_scale": 0.1},
    {"registers": 3},
    {"registers": 2, "class_token": "last", "attention": "causal", "position": "learned+rope"},
    {"registers": 2, "class_token": "none", "position": "rope2d"},
    {"scan": "hilbert", "position": "rope2d"},
    {"readout": "mean"},
    {"norm": ["layernorm", "rmsnorm"], "feed_forward": ["gelu", "swiglu"]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parameters_and_products_are_as_many_as_the_formula_says(options: dict[str, Any]) -> None:
    found = config(**options)
    network = VisionTransformer(found, 0)
    assert parameter_count(found) == sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counter:
        tokens = network.encode(torch.randn(1, 1, 8, 8))
    assert tokens.shape == (1, found.tokens, 24)
    assert macs(found) == counter.get_total_flops() // 2 + 24 * 10
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_groups_of_heads_share_keys_and_values_and_each_is_normed() -> None:
    torch.manual_seed(0)
    part = Attention(config(kv_heads=2, qk_norm=True)).double()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    qkv = part.qkv(x)
    q, k, v = qkv[..., :24], qkv[..., 24:32], qkv[..., 32:]

    def normed(t: Tensor) -> Tensor:
        return t / ((t**2).mean(-1, keepdim=True) + 1e-6).sqrt()

    heads = []
    for head in range(6):
        shared = slice(4 * (head // 3), 4 * (head // 3) + 4)
        scores = normed(q[..., 4 * head : 4 * head + 4]) @ normed(k[..., shared]).mT / math.sqrt(4)
        heads.append(scores.softmax(-1) @ v[..., shared])
    expected = part.proj(torch.cat(heads, -1))
    torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


def test_layer_scale_starts_where_it_is_told_and_registers_do_not_decay() -> None:
    network = VisionTransformer(config(layer_scale=0.01, registers=2), 0)
    assert network.get_parameter("blocks.1.ls2.gamma").unique().tolist() == [pytest.approx(0.01)]
    assert "registers" in kept_from_decay(network)
    plain = VisionTransformer(config(), 0)
    assert torch.equal(network.get_parameter("pos_embed"), plain.get_parameter("pos_embed"))


def test_a_scan_permutes_the_patches_and_what_turns_with_their_places() -> None:
    plain = VisionTransformer(config(position="rope2d"), 0).eval()
    turned = VisionTransformer(config(position="rope2d", scan="hilbert"), 0).eval()
    images = torch.randn(2, 1, 8, 8)  # no position in the sequence: the order is nothing but a name
    torch.testing.assert_close(plain(images), turned(images))
    learned = VisionTransformer(config(scan="reversed"), 0).eval()
    assert not torch.allclose(VisionTransformer(config(), 0).eval()(images), learned(images))


def test_an_anchor_scales_rows_and_columns() -> None:
    few = rotations(config(position="rope2d", class_token="none"))
    many = config(position="rope2d", class_token="none", img_size=16, rope_anchor=4)
    grid = rotations(many).unflatten(0, (8, 8))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(grid[::2, ::2].flatten(0, 1), few)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kv_heads": 4}, "num_heads 6 is not a multiple of kv_heads 4"),
        ({"scan": "hilbert", "img_size": 6}, "whose side is a power of two"),
        ({"rope_anchor": 2}, "rope_anchor scales the positions of rope2d"),
        ({"norm": ["layernorm"]}, "norm lists 1 blocks, but depth is 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**settings)
