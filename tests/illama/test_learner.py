"""One iteration is the same whatever the device can hold at once."""

import copy
from collections.abc import Callable

import pytest
import torch

from illama.config import Config, RuntimeConfig
from illama.training.learner import Learner

Build = Callable[..., Config]
CPU = torch.device("cpu")
BATCH = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10
EVERYTHING = {
    "train.mixup": 0.8,
    "train.cutmix": 1.0,
    "train.drop_path": 0.2,
    "train.label_smoothing": 0.1,
    "train.clip_grad": 1.0,
    "train.soft_mask": {"schedule": "cosine", "epochs": 2},
}


def updated(config: Config, **runtime: object) -> tuple[list[float], list[torch.Tensor]]:
    learner = Learner(config, RuntimeConfig.model_validate(runtime), CPU, iterations_per_epoch=5)
    losses = [learner.update(iteration, *BATCH).item() for iteration in range(3)]
    return losses, list(learner.model.parameters())


@pytest.mark.parametrize("micro_batch_size", [16, 12, 1, 100])
def test_micro_batches_add_up_to_the_batch(small_config: Build, micro_batch_size: int) -> None:
    config = small_config({**EVERYTHING, "train.lr": 1e-4})
    losses, parameters = updated(config)
    pieces, others = updated(config, micro_batch_size=micro_batch_size)
    assert pieces == pytest.approx(losses, rel=1e-5)
    for left, right in zip(parameters, others, strict=True):
        torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-4)


def test_the_average_follows_the_weights(small_config: Build) -> None:
    learner = Learner(
        small_config({"train.ema": 0.9}), RuntimeConfig(), CPU, iterations_per_epoch=5
    )
    assert learner.average is not None
    expected = copy.deepcopy(learner.model.head.weight.detach())
    for iteration in range(3):
        learner.update(iteration, *BATCH)
        expected = 0.9 * expected + 0.1 * learner.model.head.weight.detach()
    torch.testing.assert_close(learner.average.head.weight.detach(), expected)


def test_the_gradient_is_clipped(small_config: Build) -> None:
    learner = Learner(
        small_config({"train.clip_grad": 1e-3}), RuntimeConfig(), CPU, iterations_per_epoch=5
    )
    learner.update(0, *BATCH)
    norm = torch.stack(
        [p.grad.norm() for p in learner.model.parameters() if p.grad is not None]
    ).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_bfloat16_is_coarser_but_near(small_config: Build) -> None:
    exact, coarse = (
        updated(small_config())[0],
        updated(small_config({"train.precision": "bfloat16"}))[0],
    )
    assert coarse != exact
    assert coarse == pytest.approx(exact, rel=0.02)


def test_float16_on_the_cpu_is_refused(small_config: Build) -> None:
    with pytest.raises(ValueError, match="needs a GPU"):
        updated(small_config({"train.precision": "float16"}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # the compiler's own imports
def test_a_compiled_network_agrees_and_the_soft_mask_compiles_nothing_anew(
    small_config: Build,
) -> None:
    config = small_config(
        {"train.soft_mask": {"schedule": "linear", "epochs": 2}, "train.lr": 1e-4}
    )
    learner = Learner(config, RuntimeConfig(compile=True), CPU, iterations_per_epoch=5)
    losses = [learner.update(0, *BATCH).item()]
    with torch.compiler.set_stance("fail_on_recompile"):
        losses += [learner.update(iteration, *BATCH).item() for iteration in (1, 2)]
    assert losses == pytest.approx(updated(config)[0], rel=1e-4)
