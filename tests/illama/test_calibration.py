"""The expected calibration error is that of its definition, however the images are divided."""

import numpy as np
import pytest
import torch
from torch import Tensor

from illama.evaluation.accuracy import evaluate
from illama.evaluation.calibration import BINS, CalibrationGap


def gap_of(logits: Tensor, labels: Tensor) -> CalibrationGap:
    gap = CalibrationGap()
    gap.add(logits.double(), logits.argmax(dim=1) == labels)
    return gap


def by_definition(logits: Tensor, labels: Tensor) -> float:
    """Bin by bin, as in Guo et al. 2017, equations 3 to 5: bins are (m/M, (m + 1)/M]."""
    powers = np.exp(logits.double().numpy() - logits.double().numpy().max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels.numpy()
    error = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(is_right[inside].mean() - confidence[inside].mean())
    return error


def drawn(count: int, classes: int, scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    logits = scale * torch.randn(count, classes, generator=generator)
    labels = torch.where(torch.rand(count, generator=generator) < 0.6, logits.argmax(dim=1), 0)
    return logits, labels


@pytest.mark.parametrize(
    ("count", "classes", "scale"), [(400, 10, 2.0), (90, 3, 0.5), (1, 10, 1.0), (50, 1000, 5.0)]
)
def test_it_is_the_error_of_the_definition(count: int, classes: int, scale: float) -> None:
    logits, labels = drawn(count, classes, scale)
    assert gap_of(logits, labels).error(count) == pytest.approx(
        by_definition(logits, labels), rel=1e-12
    )


def test_parts_sum_up_to_the_whole_and_an_empty_one_adds_nothing() -> None:
    logits, labels = drawn(300, 10, 2.0)
    whole, sums = gap_of(logits, labels), CalibrationGap()
    for rows in (slice(0, 7), slice(7, 7), slice(7, 200), slice(200, 300)):
        sums.merge(gap_of(logits[rows], labels[rows]))
    assert sums.error(300) == pytest.approx(whole.error(300), rel=1e-12)


def test_certainty_belongs_to_the_last_bin() -> None:
    certain = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    assert certain.softmax(dim=1).max() == 1.0
    gap = gap_of(certain, torch.tensor([0, 0]))
    assert gap.sums[:-1].count_nonzero() == 0
    assert gap.error(2) == 0.5  # sure of both, right about one


def test_an_edge_belongs_to_the_bin_below() -> None:
    gap = gap_of(
        torch.zeros(1, 3), torch.tensor([0])
    )  # 1/3, the edge of the fifth and the sixth of 15 bins
    assert gap.sums.nonzero().tolist() == [[BINS // 3 - 1]]


def test_in_one_bin_too_sure_and_not_sure_enough_cancel_as_defined() -> None:
    logits = torch.tensor([0.6, 0.6, 0.6, 0.6, 0.6]).log()[:, None] * torch.tensor([1.0, 0.0])
    logits[:, 1] = torch.tensor(0.4).log()
    assert gap_of(logits, torch.tensor([0, 0, 0, 1, 1])).error(5) == pytest.approx(
        0, abs=1e-7
    )  # right in 3 of 5, 60 % sure


def test_one_prediction_for_every_image_has_the_difference_to_its_frequency() -> None:
    labels = torch.arange(10) % 2
    measured = evaluate(
        lambda images: torch.tensor([[2.0, 0.0]]).expand(len(images), -1),
        [(torch.zeros(10, 1, 1, 1), labels)],
    )
    assert measured["ece"] == pytest.approx(
        torch.tensor([2.0, 0.0]).softmax(dim=0)[0].item() - 0.5, rel=1e-6
    )
