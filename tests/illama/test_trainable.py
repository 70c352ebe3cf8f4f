"""Training some tensors of a network and leaving the others as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from illama.config import Config, ModelConfig, RuntimeConfig, resolve, with_preset
from illama.cost import params_text, trained_to_json
from illama.model import VisionTransformer
from illama.training.learner import Learner

CPU = torch.device("cpu")
BATCH = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10
SMALL = {"name": "vit_digits", "embed_dim": 12, "depth": 2, "num_heads": 3}
ADAPTER = {"name": "llama_adapter", "prompts": 4}


def config(model: dict[str, Any] | None = None, **train: Any) -> Config:
    recipe = {"epochs": 1, "batch_size": 32, "lr": 1e-2, "weight_decay": 0.1, **train}
    found = resolve(
        {"model": SMALL | (model or {}), "data": {"name": "synthetic"}, "train": recipe}
    )
    assert isinstance(found, Config)
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_the_named_tensors_move_and_only_they_have_a_state(optimizer: str) -> None:
    asked = config(
        optimizer=optimizer, trainable=["head.*", "blocks.1.norm?.weight"], ema=0.9, clip_grad=1.0
    )
    learner = Learner(asked, RuntimeConfig(), CPU, 4)
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    for iteration in range(3):
        learner.update(iteration, *BATCH)
    after = learner.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    wanted = {"head.weight", "head.bias", "blocks.1.norm1.weight", "blocks.1.norm2.weight"}
    assert moved == wanted
    assert len(learner.optimizer.state_dict()["state"]) == len(wanted)
    grouped = sum(len(group["params"]) for group in learner.optimizer.param_groups)
    assert grouped == len(wanted)


def test_what_is_frozen_is_counted_and_told() -> None:
    asked = config(trainable=["head.*"])
    assert asked.trained_params == 12 * 10 + 10
    assert trained_to_json(asked) == {"trained_params": 130}
    assert params_text(5000, asked) == "130 / 5,000"
    assert config().trained_params is None
    assert trained_to_json(config()) == {}
    assert params_text(5000, config()) == "5,000"


def test_a_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"no tensor .* like 'haed\.\*'; there is head\."):
        config(trainable=["head.*", "haed.*"])
    with pytest.raises(ValidationError, match="at least 1 item"):
        config(trainable=[])


def test_a_frozen_training_that_was_interrupted_ends_with_the_same_bits() -> None:
    asked = config({"mixer": ADAPTER}, trainable=["*.prompts", "*.gate", "head.*"])
    whole = Learner(asked, RuntimeConfig(), CPU, 4)
    first, second = (Learner(asked, RuntimeConfig(), CPU, 4) for _ in range(2))
    for iteration in range(4):
        whole.update(iteration, *BATCH)
        if iteration < 2:
            first.update(iteration, *BATCH)
    second.restore(first.state())
    for iteration in (2, 3):
        second.update(iteration, *BATCH)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


Saved = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """Weights of a plain network, as the authors release them."""

    def write(**model: Any) -> Path:
        settings = ModelConfig.model_validate(with_preset(SMALL | model))
        torch.save({"model": VisionTransformer(settings, 5).state_dict()}, tmp_path / "plain.pth")
        return tmp_path / "plain.pth"

    return write


def adapted(path: Path, **model: Any) -> Learner:
    asked = config(
        {"mixer": ADAPTER, **model},
        init={"checkpoint": str(path)},
        trainable=["*.prompts", "*.gate", "head.*"],
    )
    learner = Learner(asked, RuntimeConfig(), CPU, 4)
    learner.start(None)
    return learner


def test_an_adapter_starts_from_weights_that_know_nothing_of_it(saved: Saved) -> None:
    path = saved()
    learner = adapted(path)
    plain = VisionTransformer(ModelConfig.model_validate(with_preset(SMALL)), 0)
    plain.load_state_dict(torch.load(path)["model"])
    torch.testing.assert_close(learner.model(BATCH[0]), plain(BATCH[0]), rtol=0, atol=0)
    for iteration in range(3):
        learner.update(iteration, *BATCH)
    assert any(block.attn.gate.abs().sum() > 0 for block in learner.model.blocks)
    for name, value in plain.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, learner.model.state_dict()[name]), name


def test_an_adapter_does_not_start_from_a_network_with_other_parts(saved: Saved) -> None:
    with pytest.raises(ValueError, match="does not contain the weights"):
        adapted(saved(mixer="differential"))
    with pytest.raises(ValueError, match="feed_forward is another there and kan here"):
        adapted(saved(), feed_forward="kan")
