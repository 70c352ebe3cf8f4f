"""Collapse is told from bad training."""

import math

import pytest
import torch
from torch import Tensor, nn

from illama.evaluation.accuracy import COLLAPSE_STD, LogitSpread, evaluate


class Table(nn.Module):
    """Answers every image with the row of logits that its first pixel names."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[images[:, 0, 0, 0].long()]


def images(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float32)[:, None, None, None]


def batches(labels: Tensor, size: int = 512) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images(len(labels)).split(size), labels.split(size), strict=True))


def logit_std(logits: Tensor) -> float:
    spread = LogitSpread()
    for part in logits.split(2):
        spread.add(part)
    return spread.std()


def test_accuracy_and_loss_are_those_of_the_logits() -> None:
    logits = torch.tensor(
        [[9.0, 0, 0, 0, 0, 0], [0, 9.0, 8, 7, 6, 5], [1, 2, 3, 4, 5, 9.0], [9.0, 8, 7, 6, 5, 4]]
    )
    labels = torch.tensor([0, 5, 5, 5])
    measured = evaluate(Table(logits), batches(labels, size=3))
    assert measured["acc1"] == 50.0
    assert measured["acc5"] == 75.0
    assert measured["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item())


def test_logits_that_never_change_have_no_deviation() -> None:
    assert logit_std(torch.tensor([[1.0, 2, 3]]).expand(7, 3).double()) == 0.0


def test_a_shift_of_all_classes_is_no_dependence_on_the_image() -> None:
    assert logit_std(torch.tensor([[1.0, 2, 3], [11, 12, 13]]).double()) == pytest.approx(
        0, abs=1e-12
    )


def test_the_deviation_is_the_root_mean_square_over_classes() -> None:
    assert logit_std(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()) == 1.0


def test_the_deviation_does_not_depend_on_how_images_are_batched() -> None:
    logits = torch.randn(7, 10, generator=torch.Generator().manual_seed(0)).double() + 100
    centred = logits - logits.mean(dim=1, keepdim=True)
    assert logit_std(logits) == pytest.approx(centred.var(dim=0, correction=0).mean().sqrt().item())


def test_a_network_at_chance_whose_logits_vary_has_not_collapsed() -> None:
    generator = torch.Generator().manual_seed(0)
    measured = evaluate(
        Table(torch.randn(500, 10, generator=generator)), batches(torch.arange(500) % 10)
    )
    assert measured["acc1"] < 20
    assert measured["logit_std"] > 100 * COLLAPSE_STD


def test_fewer_than_five_classes_are_allowed() -> None:
    assert evaluate(Table(torch.eye(3)), batches(torch.arange(3)))["acc5"] == 100.0


def test_below_the_threshold_probabilities_agree_to_a_tenth_of_a_percent() -> None:
    logits = torch.randn(1, 10, generator=torch.Generator().manual_seed(0)).expand(2, 10).double()
    moved = logits + torch.tensor([[COLLAPSE_STD], [-COLLAPSE_STD]]) * torch.tensor([1.0, -1] * 5)
    assert logit_std(moved) == pytest.approx(COLLAPSE_STD)
    first, second = moved.softmax(dim=1)
    assert (first / second).log().abs().max() < math.log(1.0031)
