"""Calibration errors against values worked out by hand and scikit-learn's scores."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from illama.measures.calibration import best_temperature, errors, reliability


def _logits(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities))


def test_four_images_by_hand() -> None:
    """Confidences .55, .65, .95, .95; right: yes, no, yes, no; bins of .1."""
    logits = _logits([[0.55, 0.45], [0.65, 0.35], [0.05, 0.95], [0.95, 0.05]])
    found = errors(logits, np.array([0, 1, 1, 1]), bins=10)
    assert found["ece"] == pytest.approx((0.45 + 0.65 + 2 * 0.45) / 4)
    assert found["mce"] == pytest.approx(0.65)
    assert found["nll"] == pytest.approx(-np.log([0.55, 0.35, 0.95, 0.05]).mean())
    assert found["brier"] == pytest.approx(2 * (0.45**2 + 0.65**2 + 0.05**2 + 0.95**2) / 4)


def test_bins_of_equal_counts_hold_as_many_images_each() -> None:
    """Two bins of the sorted confidences .55, .65 | .95, .95: half right in each."""
    logits = _logits([[0.55, 0.45], [0.65, 0.35], [0.05, 0.95], [0.95, 0.05]])
    found = errors(logits, np.array([0, 1, 1, 1]), bins=2)
    assert found["ace"] == pytest.approx((abs(0.5 - 0.6) + abs(0.5 - 0.95)) / 2)


def test_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = errors(logits, labels)
    assert found["nll"] == pytest.approx(log_loss(labels, probabilities))
    one_against_all = [brier_score_loss(labels == k, probabilities[:, k]) for k in range(3)]
    assert found["brier"] == pytest.approx(sum(one_against_all))


def test_an_edge_belongs_to_the_bin_below() -> None:
    found = reliability(np.array([0.5, 1.0]), np.array([1.0, 1.0]), bins=2)
    assert found.counts.tolist() == [1, 1]


def test_the_temperature_undoes_a_factor_on_the_logits() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4000, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    best = best_temperature(logits, labels)
    assert best_temperature(3 * logits, labels) == pytest.approx(3 * best, rel=1e-3)
    assert best == pytest.approx(1, abs=0.1), "the labels were drawn from these probabilities"
