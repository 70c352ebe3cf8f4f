"""Quantization with scales that move into the weights: what stays the same, and what rounds how."""

import copy
import math
from typing import Any

import pytest
import torch
from test_measure_networks import FewDigits
from torch import Tensor, nn

from illama.config import ModelConfig, with_preset
from illama.evaluation.repq import (
    Grid,
    LogRootTwo,
    RoundedLinear,
    _surround,
    behind_norms,
    even_grid,
    grid_over,
    quantised,
    reparametrise,
)
from illama.measures.repq import repq
from illama.model import VisionTransformer

CPU = torch.device("cpu")
SMALL = {"name": "vit_digits", "embed_dim": 12, "depth": 2, "num_heads": 3, "multiple_of": 1}
KINDS: list[dict[str, Any]] = [
    SMALL,
    {**SMALL, "norm": "rmsnorm", "feed_forward": "swiglu", "position": "learned+rope"},
    {**SMALL, "feed_forward": "swiglu", "attention": "causal", "class_token": "last"},
]


def network(**settings: Any) -> VisionTransformer:
    config = ModelConfig.model_validate(with_preset(settings))
    torch.manual_seed(1)
    made = VisionTransformer(config, 0)
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, std=0.5, mean=float("norm" in name))
    return made.eval()


def images(count: int = 8) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("settings", KINDS)
@torch.no_grad()
def test_moving_the_scales_changes_nothing_before_anything_is_rounded(
    settings: dict[str, Any],
) -> None:
    made = network(**settings)
    expected = made(images())
    for block in made.blocks:
        _surround(block, plain=False)
    torch.testing.assert_close(made(images()), expected, rtol=1e-4, atol=1e-4)
    for _, norm, layers in behind_norms(made):
        reparametrise(norm, layers, 4)
        for layer in layers:
            layer.enter.grid = None
    torch.testing.assert_close(made(images()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shifted", [True, False])
@torch.no_grad()
def test_one_scale_afterwards_rounds_as_the_scales_of_channels_did(shifted: bool) -> None:
    torch.manual_seed(0)
    kind = nn.LayerNorm if shifted else nn.RMSNorm
    norm = kind(6).double()
    nn.init.normal_(norm.weight, std=2)
    if shifted:
        nn.init.normal_(norm.bias, std=2)
    layer = RoundedLinear(nn.Linear(6, 4).double(), by_channel=True)
    x = torch.randn(50, 6).double()
    normed = norm(x)
    layer(normed)
    weight, bias = layer.weight.clone(), layer.bias.clone()
    rounded = torch.empty_like(normed)  # channel by channel, value by value
    for c in range(6):
        low, high = min(0.0, normed[:, c].min().item()), max(0.0, normed[:, c].max().item())
        scale = (high - low) / 15 if shifted else max(high, -low) / 7
        zero = round(-low / scale) if shifted else 8
        for i in range(50):
            code = min(15, max(0, round(normed[i, c].item() / scale) + zero))
            rounded[i, c] = (code - zero) * scale
    reparametrise(norm, [layer], 4)
    assert layer.enter.grid is not None
    assert layer.enter.grid.scale.ndim == 0
    torch.testing.assert_close(layer(norm(x)), rounded @ weight.T + bias)


def test_attention_is_rounded_to_powers_of_the_root_of_two() -> None:
    rounder = LogRootTwo()
    seen = torch.tensor([0.9, 0.64, 0.5, 0.45, 0.01, 1e-9, 0.0])
    assert torch.equal(rounder(seen), seen)
    rounder.settle(4)
    expected = []
    for value in seen.tolist():
        code = round(-2 * math.log2(value / 0.9)) if value else 99
        expected.append(0.9 * 2 ** (-code / 2) if code < 16 else 0.0)
    torch.testing.assert_close(rounder(seen), torch.tensor(expected))
    assert rounder(torch.tensor([2.0])).item() == pytest.approx(0.9), "more than was seen"


def test_grids_hold_zero_and_end_at_their_ends() -> None:
    grid = grid_over(torch.tensor(-1.0), torch.tensor(3.0), 2)
    assert grid.rounded(torch.tensor([-9.0, -1, 0, 0.6, 1, 9])).tolist() == pytest.approx(
        [-4 / 3, -4 / 3, 0, 0, 4 / 3, 8 / 3]
    )
    even = even_grid(torch.tensor([-1.0, -7]), torch.tensor([2.0, 3]), 4)
    assert even.zero.tolist() == [8, 8]
    assert even.scale.tolist() == pytest.approx([2 / 7, 1])
    only_above = grid_over(torch.tensor(2.0), torch.tensor(3.0), 8)
    assert only_above.rounded(torch.zeros(1)).item() == 0
    assert isinstance(only_above, Grid)


@pytest.mark.parametrize("settings", KINDS)
@torch.no_grad()
def test_more_bits_come_nearer_and_the_network_itself_stays(settings: dict[str, Any]) -> None:
    made = network(**settings)
    whole = made(images())
    errors = [
        (quantised(copy.deepcopy(made), images(), bits)(images()) - whole).square().mean().item()
        for bits in (2, 4, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    plain = quantised(copy.deepcopy(made), images(), 16, plain=True)
    torch.testing.assert_close(plain(images()), whole, rtol=1e-2, atol=1e-2)
    assert torch.equal(made(images()), whole)


def test_the_measure_tells_what_both_ideas_give() -> None:
    data = FewDigits(**SMALL)
    found = repq(network(**SMALL), data, CPU, 0, bits=8).values
    assert set(found) == {"acc1", "drop", "agreement", "logit_change", "acc1_plain"}
    assert found["agreement"] > 80
    with pytest.raises(ValueError, match="found softplus"):
        repq(network(**SMALL, mixer="softplus"), data, CPU, 0)
    with pytest.raises(ValueError, match="found low_rank"):
        repq(network(**SMALL, low_rank=2.0), data, CPU, 0)
