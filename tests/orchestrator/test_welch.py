"""Independent samples, against scipy."""

import math

import pytest
from pydantic import ValidationError

from orchestrator.spec.schema import MetricSchema
from orchestrator.stats.comparison import effect_between
from orchestrator.stats.effect_test import EffectTest
from orchestrator.stats.power import spread_of
from orchestrator.stats.registry import TESTS
from orchestrator.stats.welch import welch_effect

HERE, THERE = [71.2, 70.4, 73.0, 72.2, 75.0], [70.1, 70.3, 71.0]


def test_it_is_scipys_welch_test() -> None:
    from scipy import stats

    effect = welch_effect(HERE, THERE)
    expected = stats.ttest_ind(HERE, THERE, equal_var=False)
    assert effect is not None
    assert effect.p_value == pytest.approx(expected.pvalue, abs=1e-12)
    assert effect.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-12)
    assert effect.freedom == pytest.approx(expected.df)
    assert (effect.pairs, effect.test.name, effect.differences) == (3, "welch", ())


def test_without_any_spread_the_permutation_test_takes_over() -> None:
    effect = welch_effect([1.0] * 3, [2.0] * 3)
    assert effect is not None
    assert (effect.p_value, effect.ci95) == (2 / math.comb(6, 3), None)
    same = welch_effect([0.1 + 0.2] * 3, [0.3] * 3)
    assert same is not None
    assert same.p_value == 1.0


def test_a_single_seed_claims_nothing() -> None:
    effect = welch_effect([1.0], [2.0, 3.0])
    assert effect is not None
    assert (effect.mean, effect.p_value, effect.ci95) == (-1.5, None, None)
    assert welch_effect([], [1.0]) is None


def test_all_seeds_count_whether_or_not_the_other_side_has_them() -> None:
    effect = effect_between({0: 1.0, 1: 2.0, 7: 4.0}, {0: 2.0, 3: 5.0, 4: 6.0}, "welch")
    assert effect is not None
    assert effect == welch_effect([1.0, 2.0, 4.0], [2.0, 5.0, 6.0])
    shared = effect_between({0: 1.0, 1: 2.0, 2: 4.0}, {0: 2.0, 1: 5.0, 2: 5.5}, "welch")
    assert shared is not None
    assert shared.correlation is not None  # what pairing would have gained


def test_another_test_of_a_difference_is_an_object_and_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValidationError, match="'paired', 'welch' or 'sign_flip'"):
        MetricSchema(test="toss")
    toss = EffectTest("toss", "tosses of a coin", judge=lambda found, sure: (0.5, (-sure, sure)))
    monkeypatch.setitem(TESTS, "toss", toss)
    assert MetricSchema(test="toss").test == "toss"
    effect = effect_between({0: 1.0, 1: 3.0}, {0: 0.5, 1: 0.0}, "toss")
    assert effect is not None
    assert (effect.p_value, effect.ci95, effect.test.name) == (0.5, (-0.95, 0.95), "toss")
    assert spread_of(effect) is None, "what is said of power is about a t-test"
