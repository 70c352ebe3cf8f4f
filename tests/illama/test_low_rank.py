"""Linears in two factors: what they start from, what they cost, and whole weights factored."""

from pathlib import Path
from typing import Any

import pytest
import torch

from illama.config import Config, ModelConfig, RuntimeConfig, resolve, with_preset
from illama.cost import macs, parameter_count
from illama.low_rank import LowRank, factors, low_rank_layers
from illama.model import VisionTransformer
from illama.training.learner import Learner

CPU = torch.device("cpu")
SMALL = {"name": "illama_digits", "embed_dim": 12, "depth": 2, "num_heads": 3}


def config(**settings: Any) -> ModelConfig:
    return ModelConfig.model_validate(with_preset(SMALL | settings))


def test_factors_are_the_nearest_of_their_rank() -> None:
    weight = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).double()
    up, down = factors(weight, 3)
    assert (up.shape, down.shape) == ((7, 3), (3, 5))
    eigenvalues = torch.linalg.eigvalsh(weight.T @ weight).sort(descending=True).values
    missing = (weight - up @ down).square().sum()
    torch.testing.assert_close(missing, eigenvalues[3:].sum())
    torch.testing.assert_close((up**2).sum(0), (down**2).sum(1))  # each has half of it
    whole_up, whole_down = factors(weight, 5)
    torch.testing.assert_close(whole_up @ whole_down, weight)


@pytest.mark.parametrize("feed_forward", ["gelu", "swiglu"])
def test_layers_start_from_the_whole_ones_of_the_same_seed(feed_forward: str) -> None:
    whole = VisionTransformer(config(feed_forward=feed_forward), 3).state_dict()
    made = VisionTransformer(config(feed_forward=feed_forward, low_rank=1.5), 3)
    layers = dict(low_rank_layers(made))
    assert len(layers) == 2 * (4 if feed_forward == "gelu" else 5)
    for name, layer in layers.items():
        up, down = factors(whole[f"{name}.weight"], layer.down.out_features)
        torch.testing.assert_close(layer.up.weight, up)
        torch.testing.assert_close(layer.down.weight, down)
    for name, value in made.state_dict().items():
        if name in whole:
            assert torch.equal(value, whole[name]), name


@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.0, 500.0])
@pytest.mark.parametrize(
    "more", [{}, {"kv_heads": 1, "attention_bias": False}, {"feed_forward": "gelu"}]
)
def test_size_is_counted_by_formula(ratio: float, more: dict[str, Any]) -> None:
    asked = config(low_rank=ratio, **more)
    made = VisionTransformer(asked, 0)
    assert parameter_count(asked) == sum(p.numel() for p in made.parameters())
    weights = sum(
        p.numel() for n, p in made.named_parameters() if n.endswith((".up.weight", ".down.weight"))
    )
    whole = {n: p.numel() for n, p in VisionTransformer(config(**more), 0).named_parameters()}
    inside = sum(
        size
        for n, size in whole.items()
        if "blocks" in n and n.endswith("weight") and "norm" not in n
    )
    assert weights <= inside / ratio or ratio == 500
    assert macs(asked) == macs(config(**more)) + 17 * (weights - inside)


def test_a_trained_network_is_factored_and_trained_on(tmp_path: Path) -> None:
    whole = VisionTransformer(config(), 5)
    torch.save({"model": whole.state_dict()}, tmp_path / "whole.pth")
    recipe = {
        "epochs": 1,
        "batch_size": 32,
        "lr": 1e-3,
        "init": {"checkpoint": str(tmp_path / "whole.pth")},
    }
    asked = resolve(
        {"model": SMALL | {"low_rank": 1.0}, "data": {"name": "synthetic"}, "train": recipe}
    )
    assert isinstance(asked, Config)
    learner = Learner(asked, RuntimeConfig(), CPU, 4)
    learner.start(None)
    layer: Any = dict(low_rank_layers(learner.model))["blocks.1.attn.qkv"]
    assert isinstance(layer, LowRank)
    weight = whole.blocks[1].attn.qkv.weight
    up, down = factors(weight, layer.down.out_features)
    torch.testing.assert_close(layer.up.weight @ layer.down.weight, up @ down)
    assert torch.equal(layer.up.bias, whole.blocks[1].attn.qkv.bias)
    assert torch.equal(learner.model.head.weight, whole.head.weight)
    images, labels = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    losses = [learner.update(step, images, labels).item() for step in range(3)]
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
