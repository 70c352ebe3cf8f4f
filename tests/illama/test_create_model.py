"""Models by name, with the weights of a file."""

from pathlib import Path

import pytest
import torch

import illama
from illama.config import RuntimeConfig
from illama.training.trainer import train


def test_overrides_lie_over_the_preset() -> None:
    model = illama.create_model("illama_tiny", num_classes=7, depth=1, soft_mask_rate=0.25)
    assert model.head.out_features == 7
    assert model.soft_mask_rate == 0.25
    assert model.masks["causal"].matrix.min() == 0.25


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("ilama_tiny", {}, "did you mean illama_tiny"),
        ("illama_tiny", {"num_class": 3}, "did you mean num_classes"),
        ("illama_tiny", {"num_heads": 5}, "not a multiple of num_heads"),
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


def test_a_checkpoint_of_the_trainer_can_be_used(small_config, tmp_path: Path) -> None:
    config = small_config()
    train(
        config,
        runtime=RuntimeConfig(device="cpu"),
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=tmp_path,
    )
    settings = {name: getattr(config.model, name) for name in ("embed_dim", "depth", "num_heads")}
    model = illama.create_model(
        "illama_digits", checkpoint_path=tmp_path / "checkpoint.pt", **settings
    )
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())

    with pytest.raises(ValueError, match=r"blocks\.2\.attn\.proj\.bias is missing"):
        illama.create_model(
            "illama_digits", checkpoint_path=tmp_path / "checkpoint.pt", **{**settings, "depth": 3}
        )
    with pytest.raises(ValueError, match=r"head\.weight is \(10, 16\) instead of \(5, 16\)"):
        illama.create_model(
            "illama_digits", checkpoint_path=tmp_path / "checkpoint.pt", num_classes=5, **settings
        )
    with pytest.raises(FileNotFoundError):
        illama.create_model("illama_digits", checkpoint_path=tmp_path / "missing.pt")
