"""Heads behind earlier blocks: what they read, what is trained, and what is saved by them."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_measure_networks import FewDigits
from torch import nn

from illama.config import Config, ModelConfig, RuntimeConfig, resolve, with_preset
from illama.cost import macs, parameter_count
from illama.measures.early_exit import costs, early_exit, leaving
from illama.model import VisionTransformer
from illama.training.learner import Learner

CPU = torch.device("cpu")
SMALL = {"name": "vit_digits", "embed_dim": 12, "depth": 3, "num_heads": 3}
BATCH = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10


def network(**settings: Any) -> VisionTransformer:
    return VisionTransformer(ModelConfig.model_validate(with_preset(SMALL | settings)), 0)


def config(train: dict[str, Any] | None = None, **model: Any) -> Config:
    recipe = {"epochs": 1, "batch_size": 32, "lr": 1e-2} | (train or {})
    found = resolve({"model": SMALL | model, "data": {"name": "synthetic"}, "train": recipe})
    assert isinstance(found, Config)
    return found


@pytest.mark.parametrize(
    "more", [{}, {"readout": "mean", "norm": "rmsnorm"}, {"class_token": "none"}]
)
def test_exits_read_the_tokens_behind_their_block(more: dict[str, Any]) -> None:
    made = network(exits=[1, 2], **more).eval()
    plain = network(**more).eval()
    images = BATCH[0]
    assert torch.equal(made(images), plain(images)), "the network itself is as without exits"
    _, states = made.forward_intermediates(images, output_fmt="NLC", return_prefix_tokens=True)
    found = made(images, with_exits=True)
    assert found.shape == (3, 32, 10)
    torch.testing.assert_close(found[2], made(images))
    for index in range(2):
        patches, prefix = states[index]
        norm, head = made.exits[index].norm, made.exits[index].head
        read = (
            norm(patches).mean(1)
            if more.keys() & {"readout", "class_token"}
            else norm(prefix[:, 0])
        )
        torch.testing.assert_close(found[index], head(read))
    assert parameter_count(made.config) == sum(p.numel() for p in made.parameters())
    assert macs(made.config) == macs(plain.config)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_losses_of_all_heads_add_up(weight: float) -> None:
    asked = config({"exit_weight": weight, "label_smoothing": 0.1}, exits=[1, 2])
    learner = Learner(asked, RuntimeConfig(), CPU, 4)
    logits = learner.model(BATCH[0], with_exits=True)
    each = [nn.functional.cross_entropy(of, BATCH[1], label_smoothing=0.1).item() for of in logits]
    total = learner.update(0, *BATCH).item()
    assert total == pytest.approx(each[2] + weight * (each[0] + each[1]), rel=1e-5)
    for exit_ in learner.model.exits:
        moved = exit_.head.weight.grad.abs().sum().item()
        assert (moved > 0) == (weight > 0)


def test_micro_batches_compile_and_resume_know_the_exits() -> None:
    asked = config({"drop_path": 0.2, "ema": 0.9}, exits=[1])
    whole = Learner(asked, RuntimeConfig(), CPU, 4)
    pieces = Learner(asked, RuntimeConfig(micro_batch_size=12), CPU, 4)
    first, second = Learner(asked, RuntimeConfig(), CPU, 4), Learner(asked, RuntimeConfig(), CPU, 4)
    for step in range(3):
        assert pieces.update(step, *BATCH).item() == pytest.approx(
            whole.update(step, *BATCH).item(), rel=1e-4
        )
    first.update(0, *BATCH)
    second.restore(first.state())
    for step in (1, 2):
        second.update(step, *BATCH)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    compiled = torch.compile(whole.model.eval(), backend="eager", fullgraph=True)
    torch.testing.assert_close(
        compiled(BATCH[0], with_exits=True), whole.model(BATCH[0], with_exits=True)
    )
    torch.compiler.reset()


def test_images_leave_where_they_are_sure() -> None:
    sure, unsure = [9.0, 0, 0], [0.1, 0, 0]
    logits = np.array([[sure, unsure, unsure], [unsure, sure, sure], [unsure, unsure, unsure]])
    assert leaving(logits, 0.9).tolist() == [0, 1, 2]
    assert leaving(logits, 0.0).tolist() == [0, 0, 0]
    assert leaving(logits, 1.0).tolist() == [2, 2, 2]


def test_the_measure_tells_accuracy_and_cost_at_each_exit() -> None:
    made = network(exits=[1, 2]).eval()
    data = FewDigits(**{**SMALL, "exits": [1, 2]})
    block, head = 4 * 17 * 144 + 2 * 289 * 12 + 2 * 17 * 12 * 48, 120
    patch = 16 * 4 * 12
    alone, paid = costs(made.config)
    assert alone == [patch + n * block + head for n in (1, 2, 3)]
    assert paid == [alone[0], alone[1] + head, alone[2] + 2 * head]
    assert alone[2] == macs(made.config)
    found = early_exit(made, data, CPU, 0, threshold=0.0).values
    assert found["share_block1"] == 100
    assert found["acc1"] == found["acc1_block1"]
    assert found["macs"] == pytest.approx(alone[0] / 1e6)
    late = early_exit(made, data, CPU, 0, threshold=1.0).values
    assert late["acc1"] == late["acc1_end"]
    assert late["macs"] == pytest.approx(paid[2] / 1e6)
    with pytest.raises(ValueError, match="this network has none"):
        early_exit(network(), data, CPU, 0)


@pytest.mark.parametrize(
    ("model", "train", "message"),
    [
        ({"exits": [3]}, {}, "must increase and come before the last of 3 blocks"),
        ({"exits": [2, 1]}, {}, "must increase"),
        ({"exits": [1], "norm": "own:norm"}, {}, "own"),
        ({}, {"exit_weight": 0.5}, "model.exits names none"),
    ],
)
def test_what_does_not_fit_is_told(model: Any, train: Any, message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=message):
        config(train, **model)
