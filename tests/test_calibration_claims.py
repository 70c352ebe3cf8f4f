"""The simulations of the report's claims run, and would notice a claim that does not hold."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "calibration_claims.py"
    specification = importlib.util.spec_from_file_location("calibration_claims", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["calibration_claims"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_seeds_that_are_added_by_hand_are_paid_for(simulations: ModuleType) -> None:
    figures = list(simulations.more_seeds(np.random.default_rng(0), 4000))
    paid = [one for one in figures if "not paid" not in one.setting]
    assert all(one.holds for one in paid)
    assert not any(one.holds for one in figures if one not in paid)


def test_what_is_told_to_be_detected_is_found(simulations: ModuleType) -> None:
    figures = list(simulations.power(np.random.default_rng(0), 1200))
    assert len(figures) == 9
    assert all(one.holds for one in figures)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["families", "missing", "equivalence", "needed_seeds"])
def test_the_other_claims_hold(simulations: ModuleType, name: str) -> None:
    figures = list(getattr(simulations, name)(np.random.default_rng(1), 1600))
    assert all(one.holds for one in figures)


def test_the_table_says_which_claims_hold(simulations: ModuleType) -> None:
    good = simulations.Claim("found", "here", 0.81, 0.8, "=", 1000)
    bad = simulations.Claim("any difference", "there", 0.2, 0.05, "≤", 1000)
    assert [one.holds for one in (good, bad)] == [True, False]
    text = simulations.to_markdown([good, bad])
    assert "| found | here | 81.0% | = 80.0% | 1,000 | yes |" in text
    assert "| any difference | there | 20.0% | ≤ 5.0% | 1,000 | no |" in text
