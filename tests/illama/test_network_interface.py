"""The methods that measures and other people's code expect of a network, by timm's names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import illama
from illama.config import Config, ModelConfig, RuntimeConfig, resolve, with_preset
from illama.model import VisionTransformer
from illama.patches import PatchProjection
from illama.training.trainer import train

RECIPE = {"data": {"name": "synthetic"}, "train": {"epochs": 1, "batch_size": 32, "lr": 1e-3}}


def build(name: str = "illama_digits", **settings: object) -> VisionTransformer:
    small = {"embed_dim": 16, "depth": 3, "num_heads": 2, **settings}
    return VisionTransformer(ModelConfig.model_validate(with_preset({"name": name, **small})), 0)


def digits(count: int = 3, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(count, 1, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "settings",
    [{}, {"name": "vit_digits"}, {"class_token": "none"}, {"readout": "mean", "registers": 2}],
    ids=str,
)
def test_features_through_the_head_are_the_logits(settings: dict[str, Any]) -> None:
    network = build(**settings).double()
    features = network.forward_features(digits().double())
    assert features.shape == (3, network.config.tokens, 16)
    logits = network(digits().double())
    torch.testing.assert_close(network.forward_head(features), logits, atol=1e-12, rtol=0)
    pooled = network.forward_head(features, pre_logits=True)
    torch.testing.assert_close(network.get_classifier()(pooled), logits, atol=1e-12, rtol=0)


def test_intermediates_stand_by_place_and_end_with_the_features() -> None:
    network = build(scan="reversed", registers=2)
    features, found = network.forward_intermediates(
        digits(), [0, -1], norm=True, output_fmt="NLC", return_prefix_tokens=True
    )
    assert torch.equal(features, network.forward_features(digits()))
    patches, others = found[-1]
    assert torch.equal(patches, features[:, :16].flip(1))
    assert torch.equal(others, features[:, 16:])
    maps: Any = network.forward_intermediates(digits(), 2, intermediates_only=True)
    assert [tuple(of_block.shape) for of_block in maps] == [(3, 16, 4, 4)] * 2
    raw = network.encode(digits())[:, :16].flip(1)
    assert torch.equal(maps[-1].flatten(2).transpose(1, 2), raw)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"indices": [3]}, "there is no block 3; blocks are 0 to 2"),
        ({"indices": 4}, "there is no block -4"),
        ({"output_fmt": "NHWC"}, "allowed: NCHW, NLC"),
    ],
)
def test_intermediates_that_are_not_there_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build().forward_intermediates(digits(), **asked)


def test_a_head_is_left_out_and_replaced() -> None:
    network = build(num_classes=0)
    assert isinstance(network.head, nn.Identity)
    assert network(digits()).shape == (3, 16)
    network.reset_classifier(5)
    assert network(digits()).shape == (3, 5)
    assert network.num_classes == 5
    assert 0 < network.get_parameter("head.weight").std() < 0.1
    with pytest.raises(ValueError, match="num_classes is 0: without a head"):
        resolve({"model": {"name": "vit_digits", "num_classes": 0}, **RECIPE})


@pytest.mark.parametrize("position", ["learned+rope", "rope2d"])
@pytest.mark.parametrize("scan", ["raster", "zigzag"])
def test_images_may_be_rectangles(position: str, scan: str) -> None:
    network = build(img_size=[4, 12], position=position, scan=scan)
    assert network(digits(3, 4, 12)).shape == (3, 10)
    found: Any = network.forward_intermediates(digits(3, 4, 12), 1, intermediates_only=True)
    assert found[0].shape == (3, 16, 2, 6)
    with pytest.raises(ValueError, match=r"takes images of \(1, 4, 12\)"):
        network(digits(3, 12, 4))


def test_positions_of_a_square_are_stretched_to_a_rectangle(tmp_path: Path) -> None:
    square = build()
    with torch.no_grad():
        assert square.pos_embed is not None
        square.pos_embed[:, :16] = (
            torch.arange(16.0).reshape(4, 4)[:, :1].expand(4, 4).reshape(1, 16, 1)
        )
    torch.save(square.state_dict(), tmp_path / "square.pt")
    sizes: dict[str, Any] = {"embed_dim": 16, "depth": 3, "num_heads": 2}
    wide = illama.create_model(
        "illama_digits", checkpoint_path=tmp_path / "square.pt", img_size=[8, 16], **sizes
    )
    assert wide.pos_embed is not None
    rows = wide.pos_embed[0, :32, 0].reshape(4, 8)
    torch.testing.assert_close(rows, torch.tensor([0.0, 4, 8, 12])[:, None].expand(4, 8))


@pytest.mark.parametrize(
    "settings",
    [{"img_size": [8, 7]}, {"img_size": [4, 8], "scan": "hilbert"}],
    ids=str,
)
def test_rectangles_that_do_not_fit_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"multiple of patch_size|whose side is a power of two"):
        build(**settings)


def test_a_folder_of_images_is_not_cut_to_rectangles() -> None:
    model = {"name": "vit_tiny", "img_size": [224, 448]}
    with pytest.raises(ValueError, match="cropped to squares: give one number"):
        resolve({**RECIPE, "model": model, "data": {"name": "image_folder", "folder": "imagenet"}})


def test_branches_are_dropped_in_anybodys_training_loop() -> None:
    torch.manual_seed(0)
    network = illama.create_model("vit_digits", drop_path_rate=0.5)
    images = digits(1).expand(64, -1, -1, -1)
    assert network(images).std(dim=0).max() > 1e-3
    kept = network.eval()(images)
    assert torch.allclose(kept, kept[:1])
    with pytest.raises(ValueError, match="drop_path_rate is 1"):
        network.set_drop_path_rate(1.0)


def test_blocks_computed_again_have_the_same_gradients() -> None:
    found = []
    for again in (False, True):
        network = build()
        network.set_grad_checkpointing(again)
        network(digits()).square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_the_patch_projection_is_a_module_that_runs_and_can_be_replaced() -> None:
    network = build()
    projection = network.patch_embed.proj
    seen: list[torch.Size] = []
    projection.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    before = network(digits())
    assert seen == [(3, 16, 4, 4)]
    plain = nn.Conv2d(1, 16, 2, 2)
    plain.load_state_dict(projection.state_dict())
    network.patch_embed.proj = plain  # type: ignore[assignment]
    torch.testing.assert_close(network(digits()), before, atol=1e-6, rtol=0)
    assert isinstance(projection, PatchProjection)


def trained(config: Config, directory: Path) -> Path:
    train(
        config,
        runtime=RuntimeConfig(device="cpu"),
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=directory,
    )
    return directory / "checkpoint.pt"


def test_a_network_is_rebuilt_from_its_checkpoint_alone(small_config: Any, tmp_path: Path) -> None:
    changes = {"model.position": "rope2d", "model.scan": "zigzag", "model.registers": 2}
    path = trained(small_config({**changes, "train.epochs": 1, "train.ema": 0.9}), tmp_path)
    network = illama.load_model(path)
    assert isinstance(network, VisionTransformer)
    assert (network.config.scan, network.config.registers) == ("zigzag", 2)
    saved = torch.load(path, weights_only=True)
    assert torch.equal(network.get_parameter("head.weight"), saved["model"]["head.weight"])
    averaged = illama.load_model(path, use_ema=True)
    assert torch.equal(averaged.get_parameter("head.weight"), saved["average"]["head.weight"])


OWN = """
from torch import nn
def create(*, width: int = 4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""


def test_somebodys_network_is_rebuilt_and_named_where_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "gone_network.py"
    source.write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = resolve(
        {
            "model": {"name": "gone_network:create", "width": 6},
            "data": {"name": "digits", "val_fraction": 0.9},
            "train": {"epochs": 1, "batch_size": 32, "lr": 1e-3},
        }
    )
    assert isinstance(config, Config)
    path = trained(config, tmp_path / "run")
    assert illama.load_model(path)(digits()).shape == (3, 10)
    saved = torch.load(path, weights_only=True)
    saved["config"] = saved["config"].replace("gone_network:", "absent_network:")
    torch.save(saved, path)
    with pytest.raises(ValueError, match="absent_network"):
        illama.load_model(path)


def test_a_file_without_settings_is_told_to_be_named(tmp_path: Path) -> None:
    torch.save(build().state_dict(), tmp_path / "bare.pt")
    with pytest.raises(ValueError, match="has no settings of a network"):
        illama.load_model(tmp_path / "bare.pt")
    with pytest.raises(FileNotFoundError):
        illama.load_model(tmp_path / "missing.pt")
