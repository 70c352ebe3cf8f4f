"""What decays and what does not."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from illama.config import ModelConfig, TrainConfig, with_preset
from illama.model import VisionTransformer
from illama.training.optim import decays, make_optimizer, set_learning_rate

VIT = ModelConfig.model_validate(with_preset({"name": "vit_digits"}))
RECIPE = TrainConfig(epochs=1, batch_size=1, lr=1e-3, weight_decay=0.1)


def test_vectors_and_embeddings_do_not_decay() -> None:
    model = VisionTransformer(VIT)
    still = {name for name, parameter in model.named_parameters() if not decays(name, parameter)}
    assert {
        "pos_embed",
        "cls_token",
        "norm.weight",
        "head.bias",
        "blocks.0.attn.qkv.bias",
        "patch_embed.proj.bias",
    } <= still
    moving = {name for name, _ in model.named_parameters()} - still
    assert moving == {
        name
        for name, p in model.named_parameters()
        if name.endswith("weight") and "norm" not in name
    }


def test_every_parameter_is_in_one_group() -> None:
    model = VisionTransformer(VIT)
    groups = make_optimizer(model, RECIPE).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert [(group["weight_decay"], group["lr_scale"]) for group in groups] == [
        (0.1, 1.0),
        (0.0, 1.0),
    ]


def test_an_update_is_that_of_the_textbook() -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(model, RECIPE)
    set_learning_rate(optimizer, 0.01)
    before = model.weight.detach().clone()
    gradient = torch.tensor([[1.0, -2, 0.5], [0, 3, -1]])
    model.weight.grad = gradient
    optimizer.step()
    direction = gradient / (
        gradient.abs() + RECIPE.eps
    )  # after one step the moments' ratio is the sign
    torch.testing.assert_close(model.weight.detach(), before * (1 - 0.01 * 0.1) - 0.01 * direction)


def test_layer_decay_slows_blocks_by_their_distance_from_the_head() -> None:
    model = VisionTransformer(VIT)
    optimizer = make_optimizer(model, RECIPE.model_copy(update={"layer_decay": 0.5}))
    set_learning_rate(optimizer, 1.0)
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    named = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert named["head.weight"] == named["norm.bias"] == 1.0
    assert [named[f"blocks.{block}.attn.qkv.weight"] for block in range(4)] == [
        0.0625,
        0.125,
        0.25,
        0.5,
    ]
    assert named["pos_embed"] == named["patch_embed.proj.weight"] == 0.03125


def test_tokens_and_positions_do_not_decay_inside_a_wrapper_either() -> None:
    model = torch.nn.Sequential(VisionTransformer(VIT))
    moving, still = make_optimizer(model, RECIPE).param_groups
    assert (moving["weight_decay"], still["weight_decay"]) == (0.1, 0.0)
    assert {id(model[0].pos_embed), id(model[0].cls_token)} <= {id(p) for p in still["params"]}


def test_sgd_is_the_textbooks_with_momentum_and_decay() -> None:
    recipe = {"epochs": 1, "batch_size": 1, "lr": 0.5, "weight_decay": 0.1, "optimizer": "sgd"}
    for nesterov in (False, True):
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.weight, 2.0)
        optimizer = make_optimizer(model, TrainConfig(**recipe, momentum=0.8, nesterov=nesterov))
        velocity, weight = 0.0, 2.0
        for _ in range(3):
            model.weight.grad, model.bias.grad = torch.tensor([[3.0]]), torch.zeros(1)
            optimizer.step()
            gradient = 3.0 + 0.1 * weight
            velocity = 0.8 * velocity + gradient
            weight -= 0.5 * (gradient + 0.8 * velocity if nesterov else velocity)
            assert model.weight.item() == pytest.approx(weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0.5}, "momentum is for SGD, but optimizer is adamw"),
        ({"optimizer": "sgd", "betas": (0.8, 0.9)}, "betas is for AdamW, but optimizer is sgd"),
        ({"optimizer": "sgd", "momentum": 0.0, "nesterov": True}, "nesterov needs a momentum"),
        ({"lr_schedule": "step"}, "step needs milestones, such as"),
        ({"lr_milestones": [2]}, "and the others take none"),
        ({"lr_schedule": "step", "lr_milestones": [3, 2]}, "must increase"),
        ({"lr_schedule": "step", "lr_milestones": [5]}, "is not before the end, 5 epochs"),
        ({"lr_gamma": 0.5}, "lr_gamma is for lr_schedule step"),
    ],
)
def test_a_setting_that_nothing_would_heed_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig(epochs=5, batch_size=1, lr=1e-3, **settings)
