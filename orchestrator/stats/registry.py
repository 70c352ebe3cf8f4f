"""Tests of a difference by the names of `metric.test`. Another is a file and a line here."""

from orchestrator.stats.effect_test import PAIRED, EffectTest
from orchestrator.stats.sign_flips import SIGN_FLIP
from orchestrator.stats.welch import WELCH

TESTS: dict[str, EffectTest] = {test.name: test for test in (PAIRED, WELCH, SIGN_FLIP)}
