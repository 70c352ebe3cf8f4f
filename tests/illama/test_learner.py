"""One iteration is the same whatever the device can hold at once."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from illama import checkpoint
from illama.config import Config, RuntimeConfig, resolve
from illama.config.imports import import_from
from illama.training.distributed import Ranks
from illama.training.learner import Learner
from illama.training.trainer import train

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


@pytest.mark.slow
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
@pytest.mark.parametrize(
    "backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.thorough)]
)
def test_a_compiled_network_agrees_and_the_soft_mask_compiles_nothing_anew(
    backend: str, small_config: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as always; machine code, which takes half a minute to make, only where it is
    thorough.
    """
    compiled = partial(torch.compile, backend=backend)
    monkeypatch.setattr(torch, "compile", compiled)
    config = small_config(
        {"train.soft_mask": {"schedule": "linear", "epochs": 2}, "train.lr": 1e-4}
    )
    learner = Learner(config, RuntimeConfig(compile=True), CPU, iterations_per_epoch=5)
    losses = [learner.update(0, *BATCH).item()]
    with torch.compiler.set_stance("fail_on_recompile"):
        losses += [learner.update(iteration, *BATCH).item() for iteration in (1, 2)]
    assert losses == pytest.approx(updated(config)[0], rel=1e-4)


UNEVEN = """
import torch
from torch import nn

class Experts(nn.Module):
    \"\"\"Sends an image to an expert by the brightness of its left half, never to a third.\"\"\"
    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(64, 10) for _ in range(3))
    def forward(self, images):
        x = images.flatten(1)
        bright = (x[:, :32].mean(1) > 0).long()
        logits = x.new_zeros(len(x), 10)
        for number in (0, 1):
            rows = (bright == number).nonzero()[:, 0]
            if len(rows):
                logits = logits.index_copy(0, rows, self.experts[number](x[rows]))
        return logits

class EarlyExit(nn.Module):
    \"\"\"Goes on to its second part only where an image of the batch is not clear yet.\"\"\"
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 10), nn.Linear(10, 10)
    def forward(self, images):
        logits = self.first(images.flatten(1))
        unclear = (images.flatten(1).mean(1) > 0).nonzero()[:, 0]
        if not len(unclear):
            return logits
        return logits.index_add(0, unclear, self.second(logits[unclear]))

def experts(): return Experts()
def early_exit(): return EarlyExit()
"""


@pytest.fixture
def uneven(tmp_path: Path) -> Iterator[Callable[[str], Config]]:
    (tmp_path / "uneven.py").write_text(UNEVEN)
    import_from(tmp_path)

    def config(function: str) -> Config:
        found = resolve(
            {
                "model": {"name": f"uneven:{function}"},
                "data": {"name": "digits", "val_fraction": 0.9},
                "train": {"epochs": 1, "batch_size": 5, "lr": 1e-2, "clip_grad": 1.0},
            }
        )
        assert isinstance(found, Config)
        return found

    yield config
    import_from(Path())


class WithAnother(Ranks):
    """One of two processes; the other one has a gradient of ones for every parameter but those in
    `lacks`.
    """

    def __init__(self, lacks: set[int]) -> None:
        super().__init__(0, 2)
        self.lacks = lacks
        self.sums: list[int] = []

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        self.sums.append(len(tensors))
        if len(self.sums) == 1:
            [used] = tensors
            used += torch.tensor([float(number not in self.lacks) for number in range(len(used))])
        else:
            for tensor in tensors:
                tensor += 1


def test_what_another_process_alone_has_used_is_added_to_zeros(
    uneven: Callable[[str], Config],
) -> None:
    ranks = WithAnother(lacks={4, 5})
    learner = Learner(uneven("experts"), RuntimeConfig(), CPU, 5, ranks)
    dark = -torch.ones(3, 1, 8, 8)
    learner.update(0, dark, torch.arange(3))
    gradients = [parameter.grad for parameter in learner.model.parameters()]
    assert ranks.sums == [1, 4 + 1]
    assert [gradient is None for gradient in gradients] == [False] * 4 + [True] * 2, (
        "what nobody has used keeps its weights: no zeros that decay and momentum would act on"
    )


def test_a_network_of_ours_asks_nobody(small_config: Build) -> None:
    ranks = WithAnother(lacks=set())
    ranks.sums.append(0)
    learner = Learner(small_config({"train.batch_size": 32}), RuntimeConfig(), CPU, 5, ranks)
    learner.update(0, *BATCH)
    assert ranks.sums == [0, len(list(learner.model.parameters())) + 1]


@pytest.mark.slow
@pytest.mark.parametrize(("function", "processes"), [("experts", (3, 3)), ("early_exit", (2,))])
def test_processes_that_use_different_parameters_train_as_one(
    uneven: Callable[[str], Config], function: str, processes: tuple[int, ...], tmp_path: Path
) -> None:
    weights = []
    for number, count in enumerate((1, *processes)):
        directory = tmp_path / str(number)
        train(
            uneven(function),
            runtime=RuntimeConfig(device="cpu", processes=count),
            log_metrics=lambda metrics, iteration: None,
            checkpoint_dir=directory,
        )
        weights.append((checkpoint.load(directory) or {})["model"])
    alone, together, *again = weights
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=2e-5, rtol=0)
        assert all(torch.equal(together[name], other[name]) for other in again)
