"""Formulas agree with the real network, and with the published counts."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from illama.config import ModelConfig, with_preset
from illama.cost import macs, parameter_count
from illama.model import VisionTransformer


def config(name: str, **settings: object) -> ModelConfig:
    return ModelConfig.model_validate(with_preset({"name": name, **settings}))


@pytest.mark.parametrize(
    ("name", "img_size", "parameters", "billion_macs"),
    [
        ("illama_tiny", 224, 5_701_096, 1.254),
        ("illama_small", 224, 22_018_024, 4.599),
        ("illama_base", 224, 86_502_376, 17.564),
        ("illama_large", 224, 310_445_032, 62.794),
        ("illama_tiny", 384, 5_774_056, 4.682),
        ("illama_small", 384, 22_163_944, 15.490),
        ("illama_base", 384, 86_794_216, 55.484),
        ("illama_large", 384, 310_834_152, 194.696),
        ("vit_tiny", 224, 5_717_416, 1.254),
        ("vit_base", 224, 86_567_656, 17.564),
    ],
)
def test_counts_are_the_published_ones(
    name: str, img_size: int, parameters: int, billion_macs: float
) -> None:
    assert parameter_count(config(name, img_size=img_size)) == parameters
    assert round(macs(config(name, img_size=img_size)) / 1e9, 3) == billion_macs


def counted(settings: ModelConfig, images: int) -> tuple[int, int]:
    """Parameters and multiply-accumulates per image of the real network, on the meta device:
    nothing is allocated.
    """
    with torch.device("meta"):
        model = VisionTransformer(settings, seed=0)
        features = model.forward_features
        with FlopCounterMode(display=False) as counter:
            tokens = model.norm(
                features(
                    torch.empty(images, settings.in_chans, settings.img_size, settings.img_size)
                )
            )
            model.head(tokens[:, 0])
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // (
        2 * images
    )  # one MAC is two operations


@pytest.mark.slow
@pytest.mark.parametrize(
    "position", ["none", "learned", "rope", "learned+rope", "rope2d", "learned+rope2d"]
)
@pytest.mark.parametrize(
    ("norm", "feed_forward"), [("layernorm", "gelu"), ("rmsnorm", "swiglu")]
)  # neither counts for the other
def test_formulas_agree_with_the_network_on_the_meta_device(
    norm: str, feed_forward: str, position: str
) -> None:
    for class_token, attention in itertools.product(
        ["first", "last", "none"], ["bidirectional", "causal"]
    ):
        changes = {
            "norm": norm,
            "feed_forward": feed_forward,
            "position": position,
            "class_token": class_token,
        }
        settings = config("vit_digits", depth=2, attention=attention, **changes)
        assert counted(settings, images=2) == (parameter_count(settings), macs(settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mask_form"),
    [
        ("illama_tiny", "multiplicative"),
        ("illama_tiny", "additive"),
        ("illama_large", "multiplicative"),
        ("vit_large", "additive"),
    ],
)
def test_models_too_large_for_this_machine_are_counted_all_the_same(
    name: str, mask_form: str
) -> None:
    settings = config(name, mask_form=mask_form)
    assert counted(settings, images=1) == (parameter_count(settings), macs(settings))
