"""Segmentation: its scores against scikit-learn and by hand, its boards, and what a mask hides."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from test_measure_networks import CPU, FewDigits, _network

from illama.evaluation.adapted import resized
from illama.evaluation.patches import PatchReader
from illama.evaluation.segmentation import (
    IGNORED,
    confusion,
    mean_iou,
    pixel_accuracy,
)
from illama.measures.segmentation import (
    _made,
    boards_of,
    patch_labels,
    places_in_image,
    segmentation,
)
from illama.model import VisionTransformer


def test_scores_by_hand() -> None:
    labels = np.array([[0, 0, 1], [1, IGNORED, 1]])
    predicted = np.array([[0, 1, 1], [1, 0, 0]])
    counts = confusion(predicted, labels, 3)
    assert counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert mean_iou(counts) == pytest.approx(100 * (1 / 3 + 2 / 4) / 2), "class 2 is nowhere"
    assert pixel_accuracy(counts) == pytest.approx(60)


def test_mean_iou_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 7, (2, 5, 16, 16))
    expected = jaccard_score(labels.ravel(), predicted.ravel(), average="macro")
    assert mean_iou(confusion(predicted, labels, 7)) == pytest.approx(100 * expected, abs=1e-9)


def test_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="label 0 to 3; there are 3 classes"):
        confusion(np.zeros(2, int), np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="no pixel has a class"):
        mean_iou(confusion(np.zeros(1, int), np.array([IGNORED]), 3))


def test_boards_hold_images_of_their_labels_and_nothing_where_empty() -> None:
    images = torch.arange(1.0, 4).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    board, classes = boards_of((images, torch.arange(3)), torch.zeros(1, 1, 1), 2, 20, 0)
    assert board.shape == (20, 1, 4, 4)
    cells = board[:, 0, ::2, ::2]
    assert torch.equal(cells, classes + 1.0), "-1 is the empty place, whose pixels are 0"
    assert torch.equal(board[:, 0, 1::2, 1::2], cells)
    assert 0 < (classes < 0).float().mean() < 0.5


def test_labels_of_patches_and_their_places_by_hand() -> None:
    labels = patch_labels(torch.tensor([[[3, -1], [-1, 5]]]), 2, 10)
    rows = [[3, 3, 10, 10], [3, 3, 10, 10], [10, 10, 5, 5], [10, 10, 5, 5]]
    assert labels.view(4, 4).tolist() == rows
    right = np.zeros((1, 16), bool)
    right[0, [0, 15]] = True  # the top left patch of one image, the bottom right one of the other
    found = places_in_image(right, (labels < 10).numpy(), 2)
    assert found.tolist() == [[50, 0], [0, 50]]


def test_a_stretched_network_of_one_place_is_the_network() -> None:
    network = _network(attention="causal", class_token="last", position="learned+rope")
    assert isinstance(network, VisionTransformer)
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resized(network, 8)(images), network(images))
    assert resized(network, 16).config.img_size == 16


@pytest.mark.parametrize("scan", ["raster", "reversed"])
def test_patches_are_read_in_rows_whatever_the_scan(scan: str) -> None:
    """Only what comes later in the sequence can see a change: rows before it stay the same."""
    network = _network(attention="causal", class_token="last", mask_form="additive", scan=scan)
    assert isinstance(network, VisionTransformer)
    reader = PatchReader(network, 3)
    images = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    other = images.clone()
    other[:, :, 2:4, 2:4] += 1  # patch 5 of 4 x 4
    changed = (reader.features(images) - reader.features(other)).abs().amax(dim=-1)[0] > 0
    seen = range(5, 16) if scan == "raster" else range(6)
    assert changed.nonzero().flatten().tolist() == list(seen)


@pytest.mark.slow
def test_a_network_is_segmented_and_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("illama.measures.segmentation._BOARDS", 64)
    monkeypatch.setattr("illama.measures.segmentation._HEAD_STEPS", 60)
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = segmentation(network, FewDigits(), CPU, 0, steps=5)
    (_, truth), classes = _made(FewDigits(), 2, 1, 0)[1:]
    guessing = 100 * max((truth == label).float().mean().item() for label in range(classes + 1))
    assert found.values["frozen_accuracy"] > guessing, "more than the most frequent class"
    assert found.values["accuracy"] > guessing
    assert set(found.pictures) == {"frozen", "fine-tuned"}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_rectangle_is_refused() -> None:
    with pytest.raises(ValueError, match="boards need square images"):
        segmentation(_network(img_size=[8, 4]), FewDigits(), CPU, 0)
