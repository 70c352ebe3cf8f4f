"""A training starts from a file as it says, and from no other."""

import argparse
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from illama import checkpoint
from illama.config import Config, RuntimeConfig, resolve
from illama.training.learner import Learner
from illama.training.trainer import Stopped, TrainResult, train
from illama.weights.initial import identified
from illama.weights.pretrained import interpolate_positions, load_weights, read_weights

Build = Callable[..., Config]
CPU = torch.device("cpu")


def run(config: Config, folder: Path, output: Path | None = None, **options: Any) -> TrainResult:
    runtime = RuntimeConfig(device="cpu", data_dir=folder)
    return train(
        config,
        runtime=runtime,
        log_metrics=lambda metrics, iteration: None,
        checkpoint_dir=output,
        **options,
    )


def started(config: Config, folder: Path) -> Learner:
    learner = Learner(config, RuntimeConfig(), CPU, iterations_per_epoch=5)
    learner.start(folder)
    return learner


@pytest.fixture(scope="module")
def trained(small_config: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a training was, for all tests."""
    longer = {
        "data.name": "synthetic",
        "data.val_fraction": 0.25,
        "train.epochs": 12,
        "train.lr": 1e-2,
    }
    folder = tmp_path_factory.mktemp("trained")
    run(small_config(longer), folder, folder / "source")
    return folder


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """A folder with the checkpoint of a training as `source/checkpoint.pt`."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def fine_tuning(small_config: Build, changes: dict[str, Any] | None = None, **init: Any) -> Config:
    settings = {
        "data.name": "synthetic",
        "data.val_fraction": 0.25,
        "train.epochs": 1,
        "train.lr": 1e-5,
    }
    return small_config(
        settings | {"train.init": {"checkpoint": "source/checkpoint.pt", **init}} | (changes or {})
    )


@pytest.mark.slow
def test_fine_tuning_goes_on_from_what_was_learned(small_config: Build, source: Path) -> None:
    learned = (checkpoint.load(source / "source") or {})["progress"]["final"]["val/acc1"]
    tuned = run(fine_tuning(small_config, {"train.layer_decay": 0.8}), source)
    scratch = run(
        small_config(
            {
                "data.name": "synthetic",
                "data.val_fraction": 0.25,
                "train.epochs": 1,
                "train.lr": 1e-5,
            }
        ),
        source,
    )
    assert learned > scratch.final["val/acc1"] + 20
    assert tuned.final["val/acc1"] == pytest.approx(learned, abs=2)


@pytest.mark.slow
def test_another_resolution_takes_all_tensors_and_stretches_the_positions(
    small_config: Build, source: Path
) -> None:
    config = fine_tuning(small_config, {"model.img_size": 12, "train.ema": 0.9})
    learner, saved = started(config, source), read_weights(source / "source" / "checkpoint.pt")
    expected = saved | {"pos_embed": interpolate_positions(saved["pos_embed"], config.model)}
    assert expected["pos_embed"].shape != saved["pos_embed"].shape
    assert learner.average is not None
    for state in (learner.model.state_dict(), learner.average.state_dict()):
        assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert run(config, source).epochs == 1


def test_a_new_head_needs_a_network_that_has_one(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(
        ValueError, match="needs a last linear layer named head; this network has none"
    ):
        load_weights(network, tmp_path / "weights.pt", new_head=True)


@pytest.mark.slow
def test_other_classes_get_a_new_head_where_that_is_asked_for(
    small_config: Build, source: Path
) -> None:
    fewer = {"model.num_classes": 7}
    with pytest.raises(
        ValueError,
        match=r"head\.bias is \(10,\) instead of \(7,\); head\.weight is \(10, 16\) instead of "
        r"\(7, 16\)",
    ):
        run(fine_tuning(small_config, fewer), source)
    learner = started(fine_tuning(small_config, fewer, head="new"), source)
    drawn = Learner(fine_tuning(small_config, fewer), RuntimeConfig(), CPU, 5)
    saved = read_weights(source / "source" / "checkpoint.pt")
    assert torch.equal(learner.model.head.weight, drawn.model.head.weight)
    assert torch.equal(learner.model.blocks[1].mlp.fc2.weight, saved["blocks.1.mlp.fc2.weight"])


def test_a_released_file_is_a_start_too(small_config: Build, tmp_path: Path) -> None:
    config = fine_tuning(small_config, checkpoint="released.pth")
    weights = Learner(
        small_config({"data.name": "synthetic", "seed": 3}), RuntimeConfig(), CPU, 5
    ).model.state_dict()
    args = argparse.Namespace(model="illama", finetune="")
    torch.save(
        {"model": weights, "optimizer": {}, "epoch": 299, "scaler": {}, "args": args},
        tmp_path / "released.pth",
    )
    assert torch.equal(started(config, tmp_path).model.pos_embed, weights["pos_embed"])


def test_weight_selection_takes_the_blocks_of_a_larger_network(
    small_config: Build, source: Path
) -> None:
    narrow = fine_tuning(small_config, {"model.embed_dim": 8, "model.depth": 1}, source_heads=2)
    model = started(narrow, source).model
    saved = read_weights(source / "source" / "checkpoint.pt")
    assert torch.equal(model.blocks[0].attn.proj.bias, saved["blocks.0.attn.proj.bias"][::2])
    assert torch.equal(
        model.head.weight, Learner(narrow, RuntimeConfig(), CPU, 5).model.head.weight
    )


def test_the_file_is_known_by_its_content(small_config: Build, source: Path) -> None:
    path = source / "source" / "checkpoint.pt"
    digest, heard = sha256(path.read_bytes()).hexdigest(), list[tuple[int, int]]()
    config = identified(fine_tuning(small_config), source, lambda *told: heard.append(told))
    assert heard[-1] == (path.stat().st_size, path.stat().st_size)
    assert config.train.init is not None
    assert config.train.init.sha256 == digest
    assert (
        identified(fine_tuning(small_config, sha256="0" * 64), Path("nowhere")).train.init
        is not None
    ), "given: not read"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(
        ValueError,
        match=r"is a different file, or damaged: its SHA-256 is \w+, "
        rf"but train\.init\.sha256 is {digest}",
    ):
        run(config, source)
    again = identified(fine_tuning(small_config), source).train.init
    assert again is not None
    assert again.sha256 != digest


@pytest.mark.slow
def test_a_training_that_has_begun_needs_the_file_no_more(
    small_config: Build, source: Path, tmp_path: Path
) -> None:
    config = identified(fine_tuning(small_config), source)
    whole = run(config, source)
    halts = iter([False] * 5 + [True] * 2)
    with pytest.raises(Stopped):
        run(config, source, tmp_path / "begun", should_stop=lambda: next(halts))
    (source / "source" / "checkpoint.pt").unlink()
    moved = config.model_dump(mode="json")
    moved["train"]["init"]["checkpoint"] = "elsewhere.pt"
    resumed = run(resolve(moved), source, tmp_path / "begun")
    assert resumed.final["val/loss"] == whole.final["val/loss"]
    other = fine_tuning(small_config, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"train\.init\.sha256 is \w+ there and 0+ here"):
        run(other, source, tmp_path / "begun")


def test_a_missing_file_says_where_it_was_looked_for(small_config: Build, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"source.checkpoint\.pt is missing: train\.init\.checkpoint names a file in",
    ):
        run(fine_tuning(small_config), tmp_path)


def test_a_digest_that_is_none_is_refused(small_config: Build) -> None:
    with pytest.raises(ValueError, match="sha256"):
        fine_tuning(small_config, sha256="abc")
    with pytest.raises(ValueError, match="leave out head"):
        fine_tuning(small_config, source_heads=2, head="new")
