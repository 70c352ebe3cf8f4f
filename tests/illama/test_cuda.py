"""On a GPU a training keeps its promises: the same bits when it is asked for them, and the
numbers of a CPU within rounding.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from illama import checkpoint
from illama.config import Config, RuntimeConfig
from illama.training.device import forget_peak_memory, peak_memory_bytes
from illama.training.learner import Learner
from illama.training.trainer import TrainResult, evaluate_checkpoint, train

os.environ.setdefault(
    "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
)  # for the deterministic ones, before any other test starts cuBLAS
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]  # the compiler's own imports

Build = Callable[..., Config]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
BATCH = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10
ALL_AT_ONCE = {
    "data": {"name": "synthetic"},
    "train.epochs": 2,
    "train.batch_size": 128,
    "train.mixup": 0.8,
    "train.cutmix": 1.0,
    "train.reprob": 0.25,
    "train.drop_path": 0.2,
    "train.ema": 0.9,
    "train.clip_grad": 1.0,
    "train.label_smoothing": 0.1,
    "train.soft_mask": {"schedule": "linear", "epochs": 2},
    "train.lr": 1e-3,
}


def trained(
    config: Config, directory: Path, kill: int | None = None, **runtime: Any
) -> TrainResult | None:
    """Trained to the end, or killed before iteration `kill`, with a checkpoint after every
    iteration.
    """
    questions: Iterator[int] = itertools.count()

    def should_stop() -> bool:
        if next(questions) // 2 == kill:  # asked before each iteration and before each save
            raise KeyboardInterrupt
        return False

    options = RuntimeConfig.model_validate({"device": "cuda", "checkpoint_seconds": 0, **runtime})
    try:
        return train(
            config,
            runtime=options,
            log_metrics=lambda *_: None,
            checkpoint_dir=directory,
            should_stop=should_stop,
        )
    except KeyboardInterrupt:
        return None


def state(directory: Path) -> dict[str, Any]:
    found = checkpoint.load(directory)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "img_size", [8, 24], ids=["17 tokens", "145 tokens"]
)  # from 128 on without N x N matrices
@pytest.mark.parametrize("mask_form", ["multiplicative", "additive"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_killed_deterministic_training_ends_with_the_same_bits(
    small_config: Build, tmp_path: Path, precision: str, mask_form: str, img_size: int
) -> None:
    changes = {
        "train.precision": precision,
        "train.deterministic": True,
        "model.mask_form": mask_form,
        "model.img_size": img_size,
    }
    config = small_config(ALL_AT_ONCE | changes)
    assert trained(config, tmp_path / "whole") is not None
    for kill in (1, 4, 2):
        assert trained(config, tmp_path / "parts", kill) is None
    assert trained(config, tmp_path / "parts") is not None
    left, right = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert left["scaler"] == right["scaler"]
    for part in ("model", "average"):
        assert all(torch.equal(left[part][name], right[part][name]) for name in left[part]), part


def test_float16_scales_its_loss_and_learns(small_config: Build, tmp_path: Path) -> None:
    learnable = {
        "data": {"name": "synthetic"},
        "train.epochs": 12,
        "train.lr": 1e-2,
        "train.precision": "float16",
    }
    result = trained(small_config(learnable), tmp_path)
    assert result is not None
    assert result.final["val/acc1"] > 30
    assert state(tmp_path)["scaler"]["scale"] > 1
    measured = evaluate_checkpoint(tmp_path / "checkpoint.pt", runtime=RuntimeConfig(device="cuda"))
    assert measured["acc1"] == result.final["val/acc1"]


def losses(config: Config, device: torch.device, **runtime: Any) -> list[float]:
    learner = Learner(config, RuntimeConfig.model_validate(runtime), device, iterations_per_epoch=5)
    batch = BATCH[0].to(device), BATCH[1].to(device)
    return [learner.update(iteration, *batch).item() for iteration in range(6)]


@pytest.mark.parametrize(
    ("precision", "near"), [("float32", 1e-4), ("bfloat16", 2e-2), ("float16", 1e-2)]
)
def test_a_gpu_has_the_numbers_of_a_cpu(small_config: Build, precision: str, near: float) -> None:
    changes = {"train.lr": 1e-4, "train.soft_mask": {"schedule": "linear", "epochs": 2}}
    expected = losses(small_config(changes), CPU)
    assert losses(small_config(changes | {"train.precision": precision}), GPU) == pytest.approx(
        expected, rel=near
    )


def test_the_soft_mask_compiles_the_network_once(small_config: Build) -> None:
    config = small_config(
        {"train.lr": 1e-4, "train.soft_mask": {"schedule": "linear", "epochs": 2}}
    )
    learner = Learner(config, RuntimeConfig(compile=True), GPU, iterations_per_epoch=5)
    batch = BATCH[0].to(GPU), BATCH[1].to(GPU)
    found = [learner.update(0, *batch).item()]
    with torch.compiler.set_stance("fail_on_recompile"):
        found += [learner.update(iteration, *batch).item() for iteration in range(1, 6)]
    assert found == pytest.approx(losses(config, GPU), rel=1e-4)


@pytest.mark.parametrize(
    "changes", [{}, {"train.drop_path": 0.0, "train.dropout": 0.1, "train.mix_group": 16}]
)
def test_an_iteration_never_waits_for_the_gpu(small_config: Build, changes: dict[str, Any]) -> None:
    config = small_config(ALL_AT_ONCE | {"train.batch_size": 32} | changes)
    learner = Learner(config, RuntimeConfig(), GPU, iterations_per_epoch=5)
    batch = BATCH[0].to(GPU), BATCH[1].to(GPU)
    learner.update(0, *batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.update(1, *batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_peak_memory_is_that_of_the_training_alone() -> None:
    large = torch.empty(2**26, device=GPU)
    del large
    assert peak_memory_bytes(GPU) >= 2**28
    forget_peak_memory(GPU)
    assert peak_memory_bytes(GPU) < 2**28


def test_two_gpus_train_as_one_does(small_config: Build, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("NCCL needs a GPU for each process, and there is one")
    config = small_config(ALL_AT_ONCE)
    one, two = (trained(config, tmp_path / str(count), processes=count) for count in (1, 2))
    assert one is not None
    assert two is not None
    assert two.final["train/loss"] == pytest.approx(one.final["train/loss"], rel=1e-3)
    left, right = state(tmp_path / "1")["model"], state(tmp_path / "2")["model"]
    assert all(torch.allclose(left[name], right[name], atol=1e-3) for name in left)
