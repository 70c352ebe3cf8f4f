"""The example of `docs/parts.md` runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from illama.attention import dense_attention
from illama.config import ModelConfig, resolve, with_preset
from illama.config.imports import import_from
from illama.cost import params_text, size_of
from illama.masks import Mask
from illama.model import VisionTransformer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "parts.md").read_text("utf-8")


def test_the_part_of_the_page_is_one_file_that_works_under_its_masks(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "talking.py").write_text(code)
    import_from(tmp_path)
    part = {"name": "talking:talking_heads", "gain": 0.5}
    settings = with_preset({"name": "vit_digits", "mixer": part, "mask_form": "additive"})
    for attention in ("bidirectional", "causal"):
        config = ModelConfig.model_validate({**settings, "attention": attention})
        network = VisionTransformer(config, 0)
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(ValueError, match="works only with additive"):
        ModelConfig.model_validate(
            {**settings, "attention": "causal", "mask_form": "multiplicative"}
        )


def test_the_adapter_of_the_page_trains_as_many_numbers_as_it_says() -> None:
    (example,) = re.findall(r"```yaml\n(  - name: llama_adapter.*?)```", PAGE, re.DOTALL)
    change = yaml.safe_load(example)[0]["change"]
    road = yaml.safe_load((ROOT / "sweeps" / "neighbours.yaml").read_text("utf-8"))
    model = road["baseline"]["model"] | {
        key.removeprefix("model."): value
        for step in road["steps"]
        for key, value in step["change"].items()
    }
    model["mixer"] = change["model.mixer"]
    train = road["baseline"]["train"] | {"trainable": change["train.trainable"]}
    config = resolve({"model": model, "data": {"name": "digits"}, "train": train})
    params, _ = size_of(config)
    assert f"`{params_text(params, config)}`" in PAGE


def test_a_renormalised_soft_mask_is_the_additive_one() -> None:
    q, k, v = torch.randn(3, 2, 3, 7, 5, generator=torch.Generator().manual_seed(0)).double()
    for alpha in (0.0, 0.3, 1.0):
        soft = alpha + (1 - alpha) * torch.ones(7, 7).tril().double()
        weights = dense_attention(q, k, torch.eye(7).double().expand(2, 3, 7, 7), soft)
        renormalised = weights / weights.sum(-1, keepdim=True) @ v
        additive = Mask("causal", "additive", 7).double()
        additive.set_alpha(alpha)
        expected = dense_attention(q, k, v, additive.matrix, additive=True)
        torch.testing.assert_close(renormalised, expected)
