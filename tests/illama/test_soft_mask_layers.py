"""The soft mask with an alpha for each block."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from illama.config import Config, ModelConfig, RuntimeConfig, resolve, with_preset
from illama.model import VisionTransformer
from illama.training.learner import Learner

CPU = torch.device("cpu")
SMALL = {"name": "illama_digits", "embed_dim": 12, "depth": 3, "num_heads": 3}
IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def network(**settings: Any) -> VisionTransformer:
    return VisionTransformer(ModelConfig.model_validate(with_preset(SMALL | settings)), 0).eval()


def config(**soft_mask: Any) -> Config:
    schedule = {"schedule": "linear", "epochs": 2, **soft_mask}
    recipe = {"epochs": 2, "batch_size": 4, "lr": 1e-3, "soft_mask": schedule}
    found = resolve({"model": SMALL, "data": {"name": "synthetic"}, "train": recipe})
    assert isinstance(found, Config)
    return found


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_one_for_each_block_is_what_blocks_with_masks_of_their_own_compute(form: str) -> None:
    kinds = ["causal", "bidirectional", "causal"]
    made, other = network(mask_form=form), network(mask_form=form, attention=kinds)
    made.set_soft_mask_rate([0.0, 1.0, 0.0])
    assert made.soft_mask_rate == (0.0, 1.0, 0.0)
    torch.testing.assert_close(made(IMAGES), other(IMAGES))
    made.set_soft_mask_rate([0.3, 0.3, 0.3])
    same = network(mask_form=form)
    same.set_soft_mask_rate(0.3)
    assert torch.equal(made(IMAGES), same(IMAGES))
    made.set_soft_mask_rate(0.0)
    assert torch.equal(made(IMAGES), network(mask_form=form)(IMAGES))
    assert made.state_dict().keys() == same.state_dict().keys()


def test_blocks_without_a_mask_have_none_to_soften() -> None:
    made = network(attention=["bidirectional", "causal", "causal"]).double()
    made.set_soft_mask_rate([1.0, 0.5, 0.0])
    first, *others = made.block_masks()
    assert first is None
    assert [mask.rate.item() for mask in others if mask] == [0.5, 0.0]
    assert all(mask.matrix.dtype == torch.float64 for mask in others if mask)


@pytest.mark.parametrize(
    ("rates", "message"),
    [([0.1], "1 soft_mask_rates, and 3 blocks"), ([0, 2, 0], "soft_mask_rate is 2")],
)
def test_rates_that_do_not_fit_are_refused(rates: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network().set_soft_mask_rate(rates)


def test_training_multiplies_alpha_in_each_block() -> None:
    learner = Learner(config(layers=[1, 0.5, 0]), RuntimeConfig(), CPU, 5)
    learner.update(2, IMAGES, torch.arange(4))
    alpha = learner.alpha(2)
    assert 0 < alpha < 1
    rates = [mask.rate.item() for mask in learner.model.block_masks()]
    assert rates == pytest.approx([alpha, alpha / 2, 0])
    learner.set_alpha(0.0)
    assert [mask.rate.item() for mask in learner.model.block_masks()] == [0, 0, 0]


def test_there_is_a_factor_for_each_block() -> None:
    with pytest.raises(ValidationError, match="layers are for 2 blocks; found 3"):
        config(layers=[1, 0])
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        config(layers=[1, 0, 2])
