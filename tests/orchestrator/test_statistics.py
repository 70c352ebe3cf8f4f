"""Effects, corrections, power: against scipy where it has the same, against simulation where it
has not.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.schema import AdaptiveSchema
from orchestrator.stats.inference import (
    LEVEL,
    effect_of,
    half_width,
    holm,
    holm_adjusted,
    paired_effect,
    sequential_effect,
    summarise,
)
from orchestrator.stats.sign_flips import (
    SIGN_FLIP,
    sign_flip_interval,
    sign_flip_p_value,
    smallest_sign_flip_p,
)

differences_lists = st.lists(
    st.floats(-100, 100).map(lambda x: round(x, 2)), min_size=2, max_size=8
)


def _calibration() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "calibration.py"
    specification = importlib.util.spec_from_file_location("calibration", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    import sys

    sys.modules["calibration"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_paired_effect_is_scipys_paired_t_test() -> None:
    from scipy import stats

    ours, theirs = {0: 71.2, 1: 70.4, 2: 73.0, 3: 72.2}, {0: 70.1, 1: 70.3, 2: 71.0, 3: 72.0}
    effect = paired_effect(ours, theirs)
    expected = stats.ttest_rel(list(ours.values()), list(theirs.values()))
    assert effect is not None
    assert effect.p_value == pytest.approx(expected.pvalue)
    assert effect.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))


@given(differences_lists)
def test_sign_flips_are_scipys_permutation_test(differences: list[float]) -> None:
    from scipy import stats

    result = stats.permutation_test(
        (np.array(differences),),
        np.mean,
        permutation_type="samples",
        n_resamples=np.inf,
        alternative="two-sided",
    )
    assert sign_flip_p_value(differences) == pytest.approx(result.pvalue)


@given(differences_lists)
def test_sign_flips_never_go_below_their_least_p(differences: list[float]) -> None:
    assert smallest_sign_flip_p(len(differences)) <= sign_flip_p_value(differences) <= 1


def test_sign_flips_of_many_pairs_agree_with_the_exact_ones() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, size=18)
    patterns = 1 - 2 * ((np.arange(2**18)[:, None] >> np.arange(18)) & 1)
    exact = float(np.mean(abs(patterns @ differences) >= abs(differences.sum()) - 1e-9))
    assert sign_flip_p_value(list(differences)) == pytest.approx(exact, abs=0.01)


def test_pairs_are_the_seeds_that_both_have() -> None:
    effect = paired_effect({0: 3.0, 1: 5.0, 7: 100.0}, {1: 4.0, 0: 1.0, 9: -100.0})
    assert effect is not None
    assert (effect.mean, effect.pairs) == (1.5, 2)
    assert paired_effect({0: 1.0}, {1: 1.0}) is None


def test_a_single_pair_claims_nothing_but_its_difference() -> None:
    effect = effect_of([2.5])
    assert effect is not None
    assert (effect.mean, effect.ci95, effect.p_value, effect.std) == (2.5, None, None, None)


@pytest.mark.parametrize(
    ("differences", "p_value"), [([1.0] * 3, 0.25), ([1.0] * 8, 2 / 2**8), ([0.0] * 5, 1.0)]
)
def test_without_spread_the_sign_flip_test_takes_over(
    differences: list[float], p_value: float
) -> None:
    effect = effect_of(differences)
    assert effect is not None
    assert effect.ci95 is None
    assert effect.p_value == pytest.approx(p_value)


def test_equal_values_up_to_rounding_have_no_spread() -> None:
    summary = summarise([0.1 + 0.2, 0.3, 0.3])
    assert summary is not None
    assert (summary.std, summary.ci95) == (0.0, None)


def test_holm_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_no_correction_and_bonferroni_and_keeps_the_order(
    p_values: list[float],
) -> None:
    adjusted = [p for p in holm(p_values) if p is not None]
    assert all(
        p <= q <= min(1.0, p * len(p_values)) + 1e-12
        for p, q in zip(p_values, adjusted, strict=True)
    )
    assert [x for _, x in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("index", range(6))
def test_a_thousand_sweeps_without_effects_give_at_most_the_nominal_rate_of_false_findings(
    index: int, seeds: int
) -> None:
    calibration = _calibration()
    noise = list(calibration.NOISES)[index]
    figures = calibration.calibrate(noise, seeds, 1000, np.random.default_rng(index))
    error = 3 * (LEVEL * (1 - LEVEL) / 1000) ** 0.5
    assert figures.false_findings <= LEVEL + error
    assert figures.coverage >= 1 - LEVEL - 3 * (LEVEL * (1 - LEVEL) / 8000) ** 0.5


@pytest.mark.parametrize(("start", "most"), [(3, 12), (5, 10), (3, 8)])
def test_adding_seeds_until_decided_keeps_the_error_rate_that_stopping_naively_breaks(
    start: int, most: int
) -> None:
    figures = _calibration().calibrate_adaptive(
        AdaptiveSchema(start=start, max=most), 1000, np.random.default_rng(start)
    )
    assert figures.false_findings <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / 1000) ** 0.5
    assert figures.uncorrected > figures.false_findings + 0.01
    assert figures.coverage >= 1 - LEVEL


def test_looking_again_is_paid_for_and_never_taken_back() -> None:
    first = {0: 1.0, 1: 1.1, 2: 1.2}
    looks = (3, 6)
    once, plain = sequential_effect(first, looks), effect_of(list(first.values()))
    assert once is not None
    assert plain is not None
    assert once.p_value == pytest.approx(2 * plain.p_value)  # type: ignore[operator]
    assert once.ci95[1] - once.ci95[0] > plain.ci95[1] - plain.ci95[0]  # type: ignore[index]
    twice = sequential_effect(first | {3: -9.0, 4: 9.0, 5: 0.0}, looks)
    assert twice is not None
    assert twice.p_value == once.p_value
    assert sequential_effect({0: 1.0}, looks).p_value is None  # type: ignore[union-attr]


def test_without_correction_a_quarter_of_such_sweeps_would_find_something() -> None:
    figures = _calibration().calibrate("normal", 5, 1000, np.random.default_rng(0))
    assert figures.uncorrected > 0.25


def test_the_simulation_would_notice_intervals_that_are_too_short() -> None:
    values = np.random.default_rng(0).normal(size=(4000, 5))
    assert np.mean(abs(values.mean(-1)) <= half_width(values, 0.90)) < 0.92


@pytest.mark.parametrize("values", [[3e-10, 3.3e-10, 2.9e-10], [3e-5, 3.1e-5, 2.8e-5]])
def test_small_numbers_have_a_spread_like_others(values: list[float]) -> None:
    """An absolute tolerance would call the residuals of a PDE all the same."""
    summary = summarise(values)
    assert summary is not None
    assert summary.std == pytest.approx(np.std(values, ddof=1))
    better = [value / 100 for value in values]
    effect = paired_effect(dict(enumerate(values)), dict(enumerate(better)))
    assert effect is not None
    assert effect.p_value < 0.01  # type: ignore[operator]


def test_what_rounding_leaves_of_large_equal_values_is_no_effect() -> None:
    here = {0: 1e9 + 0.1, 1: 1e9 + 0.3, 2: 1e9 + 0.7}
    there = {seed: value + 1e-7 * (seed - 1) for seed, value in here.items()}
    effect = paired_effect(here, there)
    assert effect is not None
    assert (effect.std, effect.p_value, effect.ci95) == (0.0, 1.0, None)


def test_the_sign_flip_interval_holds_the_shifts_that_the_test_does_not_reject() -> None:
    differences = [0.3, 1.2, -0.2, 0.9, 0.5, 1.6, 0.1]
    low, high = sign_flip_interval(differences)  # type: ignore[misc]

    def p_of(shift: float) -> float:
        return sign_flip_p_value([one - shift for one in differences])

    assert p_of(low + 1e-6) > LEVEL > p_of(low - 1e-6)
    assert p_of(high - 1e-6) > LEVEL > p_of(high + 1e-6)
    assert sign_flip_interval(differences[:5]) is None  # 2 / 2^5 is above 5 %


def test_signs_are_flipped_where_the_spec_says_so() -> None:
    differences = [0.3, 1.2, 0.2, 0.9, 0.5, 1.6, 0.1]
    effect = effect_of(differences, test=SIGN_FLIP)
    assert effect is not None
    assert effect.p_value == 2 / 2**7
    assert effect.ci95 == sign_flip_interval(differences)


def test_a_look_that_lost_its_last_seed_counts() -> None:
    """The interval is from eleven seeds, and so is one of the p-values."""
    values = [0.7, 1.9, 0.4, 1.6, 0.2, 1.1, 0.9, 1.4, 0.8, 1.3, 1.0]
    differences, looks = dict(enumerate(values)), (3, 6, 12)
    effect = sequential_effect(differences, looks, ended=range(12))
    assert effect is not None
    at = [effect_of(values[:count]) for count in (3, 6, 11)]
    assert effect.p_value == 3 * min(one.p_value for one in at)  # type: ignore[union-attr, type-var, operator]
    assert effect.p_value == 3 * at[2].p_value  # type: ignore[union-attr, operator]
    assert sequential_effect(differences, looks).p_value == effect.p_value  # type: ignore[union-attr]
    waiting = sequential_effect(differences, looks, ended=range(11))
    assert waiting.p_value == 3 * at[1].p_value  # type: ignore[union-attr, operator]


def test_the_correlation_over_seeds_is_pearsons() -> None:
    here, there = [71.2, 70.4, 73.0, 72.2], [70.1, 70.3, 71.0, 72.0]
    effect = paired_effect(dict(enumerate(here)), dict(enumerate(there)))
    assert effect is not None
    assert effect.correlation == pytest.approx(np.corrcoef(here, there)[0, 1])


def test_holm_over_many_sweeps_is_holm_of_each() -> None:
    p_values = np.random.default_rng(0).uniform(size=(5, 7))
    assert [holm(list(row)) for row in p_values] == [
        pytest.approx(list(row)) for row in holm_adjusted(p_values)
    ]
