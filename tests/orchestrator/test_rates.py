"""How many trials trained, against scipy."""

import pytest

from orchestrator.stats.rates import Rate, Rates

TABLES = [(2, 6, 0, 6), (0, 6, 6, 6), (3, 3, 0, 3), (1, 5, 1, 5), (4, 12, 1, 11), (0, 4, 0, 6)]


@pytest.mark.parametrize(("bad", "of", "other_bad", "other_of"), TABLES)
def test_the_p_value_is_fishers(bad: int, of: int, other_bad: int, other_of: int) -> None:
    from scipy import stats

    table = [[bad, of - bad], [other_bad, other_of - other_bad]]
    found = Rates(Rate(bad, of), Rate(other_bad, other_of)).p_value
    assert found == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-12)


def test_by_hand() -> None:
    """All six against none of six: two of the 924 ways to choose six of twelve."""
    assert Rates(Rate(6, 6), Rate(0, 6)).p_value == 2 / 924


@pytest.mark.parametrize(("bad", "of"), [(0, 6), (2, 6), (6, 6), (1, 12)])
def test_the_interval_is_clopper_and_pearsons(bad: int, of: int) -> None:
    from scipy import stats

    expected = stats.binomtest(bad, of).proportion_ci(0.95, method="exact")
    assert Rate(bad, of).ci95 == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_words() -> None:
    rates = Rates(Rate(2, 6, "diverged"), Rate(0, 6))
    assert rates.text == "2 of 6 diverged against 0 of 6"
    assert (rates.here.share, Rate(0, 0).share) == (1 / 3, 0.0)
