"""Too small to matter, against scipy and by hand."""

import numpy as np
import pytest

from orchestrator.stats.equivalence import equivalence_p_value, probability_of_improvement
from orchestrator.stats.inference import effect_of
from orchestrator.stats.sign_flips import SIGN_FLIP, sign_flip_p_value
from orchestrator.stats.welch import welch_effect

DIFFERENCES = [0.1, -0.05, 0.12, 0.02, 0.2]


def test_it_is_the_larger_of_scipys_two_one_sided_tests() -> None:
    from scipy import stats

    effect = effect_of(DIFFERENCES)
    assert effect is not None
    above = stats.ttest_1samp(DIFFERENCES, -0.3, alternative="greater").pvalue
    below = stats.ttest_1samp(DIFFERENCES, 0.3, alternative="less").pvalue
    assert equivalence_p_value(effect, 0.3) == pytest.approx(max(above, below), abs=1e-12)


def test_of_independent_samples_it_is_by_welch() -> None:
    from scipy import stats

    here, there = [1.0, 1.2, 0.9, 1.1], [1.05, 1.15, 0.95]
    effect = welch_effect(here, there)
    assert effect is not None
    lower = [one + 0.5 for one in here]
    upper = [one - 0.5 for one in here]
    above = stats.ttest_ind(lower, there, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(upper, there, equal_var=False, alternative="less").pvalue
    assert equivalence_p_value(effect, 0.5) == pytest.approx(max(above, below), abs=1e-12)


def test_by_flips_it_is_the_share_of_flips_that_reach_as_far() -> None:
    effect = effect_of(DIFFERENCES, test=SIGN_FLIP)
    assert effect is not None
    assert equivalence_p_value(effect, 0.3) == 1 / 2**5  # every shifted difference has one sign


def test_without_spread_the_number_of_seeds_says_how_sure_it_is() -> None:
    effect = effect_of([0.1] * 6)
    assert effect is not None
    assert equivalence_p_value(effect, 0.3) == 1 / 2**6
    assert equivalence_p_value(effect, 0.05) == 1.0
    single = effect_of([0.1])
    assert single is not None
    assert equivalence_p_value(single, 0.3) is None


def test_the_chance_of_a_better_seed_counts_ties_by_half() -> None:
    assert probability_of_improvement([1.0, 2.0], [1.0, 0.0]) == 3.5 / 4
    assert probability_of_improvement([], [1.0]) is None


def test_signs_are_drawn_as_numpy_chooses_them() -> None:
    """The fast way to draw must not move any p-value that was ever reported."""
    differences = np.random.default_rng(3).normal(0.3, 1.0, size=21)
    chosen = np.random.default_rng(0).choice([-1.0, 1.0], size=(2**16 - 1, 21))
    extreme = np.sum(abs(chosen @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p_value(differences.tolist()) == (1 + extreme) / 2**16
