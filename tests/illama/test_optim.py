"""What decays and what does not."""

import torch

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
