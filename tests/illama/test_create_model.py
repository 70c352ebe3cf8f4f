"""Models by name, with the weights of a file."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import illama
from illama.config import Config, RuntimeConfig
from illama.training.trainer import train

Build = Callable[..., Config]


def test_overrides_lie_over_the_preset() -> None:
    model = illama.create_model("illama_tiny", num_classes=7, depth=1, soft_mask_rate=0.25)
    assert model.head.out_features == 7
    assert model.soft_mask_rate == 0.25
    assert model.masks["causal"].matrix.min() == 0.25


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("ilama_tiny", {}, "did you mean 'illama_tiny'"),
        ("illama_tiny", {"num_class": 3}, "did you mean 'num_classes'"),
        ("illama_tiny", {"num_heads": 5}, "not a multiple of num_heads"),
        ("illama_tiny", {"drop_path": 0.1}, "drop_path is not a setting here; train.drop_path is"),
        ("illama_tiny", {"use_ema": True}, "give a checkpoint_path"),
        (
            "vit_tiny",
            {"attention": "modified_causal", "class_token": "last"},
            "opens the first row",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(
    name: str, overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        illama.create_model(name, **overrides)


def trained(config: Config, directory: Path) -> Callable[..., torch.nn.Module]:
    """Train, and return `create_model` with the sizes and the checkpoint of that training."""
    train(
        config,
        runtime=RuntimeConfig(device="cpu"),
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=directory,
    )
    sizes = {name: getattr(config.model, name) for name in ("embed_dim", "depth", "num_heads")}
    path = directory / "checkpoint.pt"
    return partial(illama.create_model, "illama_digits", checkpoint_path=path, **sizes)


def test_a_checkpoint_of_the_trainer_can_be_used(small_config: Build, tmp_path: Path) -> None:
    create = trained(small_config({"train.ema": 0.9, "train.epochs": 1}), tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for model, part in ((create(), "model"), (create(use_ema=True), "average")):
        assert all(
            torch.equal(saved[part][name], value) for name, value in model.state_dict().items()
        )
    assert not torch.equal(create().head.weight, create(use_ema=True).head.weight)


def test_an_average_that_was_not_kept_cannot_be_had(small_config: Build, tmp_path: Path) -> None:
    create = trained(small_config({"train.epochs": 1}), tmp_path)
    with pytest.raises(ValueError, match=r"has no moving average of the weights \(EMA\)"):
        create(use_ema=True)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"class_token": "first"}, "class_token is last there and first here"),
        ({"attention": "bidirectional"}, "attention is causal there and bidirectional here"),
        ({"num_heads": 4}, "num_heads is 2 there and 4 here"),
        ({"mask_form": "additive"}, "mask_form is multiplicative there and additive here"),
        ({"rope_theta": 100.0}, "rope_theta is 10000.0 there and 100.0 here"),
        ({"position": "learned"}, "position is learned+rope there and learned here"),
    ],
)
def test_weights_of_another_network_of_the_same_shapes_are_refused(
    small_config: Build, tmp_path: Path, asked: dict[str, object], named: str
) -> None:
    create = trained(small_config({"train.epochs": 1}), tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"as a different network: {named}. Use")):
        create(**asked)


def test_what_makes_no_difference_is_not_asked_for(small_config: Build, tmp_path: Path) -> None:
    bidirectional = {"model.attention": "bidirectional", "model.position": "learned"}
    create = trained(small_config({"train.epochs": 1, **bidirectional}), tmp_path)
    same = {"attention": ["bidirectional"] * 2, "position": "learned"}
    create(**same, mask_form="additive", rope_theta=5.0, img_size=16)


def test_a_file_of_other_classes_says_what_to_do(tmp_path: Path) -> None:
    torch.save(illama.create_model("vit_digits", num_classes=100).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="the file has 100 classes: build the model with num_cl"):
        illama.create_model("vit_digits", checkpoint_path=tmp_path / "a.pt")


def test_a_checkpoint_of_other_sizes_names_the_tensors(small_config: Build, tmp_path: Path) -> None:
    create = trained(small_config({"train.epochs": 1}), tmp_path)
    with pytest.raises(ValueError, match=r"blocks\.2\.attn\.proj\.bias is missing"):
        create(depth=3)
    with pytest.raises(ValueError, match=r"head\.weight is \(10, 16\) instead of \(5, 16\)"):
        create(num_classes=5)
    with pytest.raises(FileNotFoundError):
        illama.create_model("illama_digits", checkpoint_path=tmp_path / "missing.pt")
