"""Schedules equal the released training logs, and have the ends they promise."""

import csv
from pathlib import Path
from typing import Any

import pytest

from illama.config import SoftMaskConfig, TrainConfig
from illama.schedules import learning_rate, soft_mask_rate

REFERENCE = Path(__file__).parent / "reference"
ITERATIONS_PER_EPOCH = 312
RECIPE = TrainConfig(epochs=300, batch_size=4096, lr=4e-3, warmup_epochs=5)


@pytest.mark.parametrize(("size", "schedule"), [("tiny", "constant"), ("small", "linear")])
def test_epoch_means_equal_the_released_logs(size: str, schedule: str) -> None:
    soft_mask = SoftMaskConfig.model_validate({"schedule": schedule, "epochs": 50})
    with (REFERENCE / f"schedule_illama_{size}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    for row in rows:
        first = int(row["epoch"]) * ITERATIONS_PER_EPOCH
        iterations = range(first, first + ITERATIONS_PER_EPOCH)
        rates = [learning_rate(RECIPE, i, ITERATIONS_PER_EPOCH) for i in iterations]
        alphas = [soft_mask_rate(soft_mask, i, ITERATIONS_PER_EPOCH) for i in iterations]
        assert sum(rates) / len(rates) == pytest.approx(float(row["train_lr"]), rel=1e-9)
        assert sum(alphas) / len(alphas) == pytest.approx(
            float(row["train_soft_mask_rate"]), rel=1e-9
        )


def test_warmup_starts_at_zero_and_ends_at_the_peak() -> None:
    assert learning_rate(RECIPE, 0, 10) == 0
    assert learning_rate(RECIPE, 49, 10) == RECIPE.lr
    assert learning_rate(RECIPE, 50, 10) == RECIPE.lr


def test_without_warmup_the_cosine_starts_at_the_peak_and_falls() -> None:
    recipe = TrainConfig(epochs=4, batch_size=1, lr=1.0, min_lr=0.5)
    rates = [learning_rate(recipe, i, 5) for i in range(20)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert 0.5 < rates[-1] < 0.51


def test_the_linear_soft_mask_reaches_zero_at_its_last_iteration() -> None:
    soft_mask = SoftMaskConfig(schedule="linear", epochs=2, rate=0.8)
    alphas = [soft_mask_rate(soft_mask, i, 3) for i in range(7)]
    assert alphas == pytest.approx([0.8, 0.64, 0.48, 0.32, 0.16, 0, 0])


def test_the_constant_soft_mask_is_a_hard_switch() -> None:
    soft_mask = SoftMaskConfig(schedule="constant", epochs=2)
    assert [soft_mask_rate(soft_mask, i, 3) for i in range(7)] == [1, 1, 1, 1, 1, 1, 0]


def test_no_soft_mask_is_alpha_zero() -> None:
    assert soft_mask_rate(None, 0, 10) == 0


def test_a_soft_mask_never_falls_below_its_floor() -> None:
    plain = SoftMaskConfig(schedule="linear", epochs=2, rate=0.8)
    floored = SoftMaskConfig(schedule="linear", epochs=2, rate=0.8, floor=0.3)
    expected = [max(0.3, soft_mask_rate(plain, i, 5)) for i in range(20)]
    assert [soft_mask_rate(floored, i, 5) for i in range(20)] == expected
    assert expected[-1] == 0.3
    with pytest.raises(ValueError, match=r"floor 0\.8 must be below rate 0\.8"):
        SoftMaskConfig(schedule="linear", epochs=2, rate=0.8, floor=0.8)


def test_step_line_and_constant_after_the_warmup() -> None:
    def rates(**settings: Any) -> list[float]:
        recipe = TrainConfig(epochs=4, batch_size=1, lr=1.0, min_lr=0.2, **settings)
        return [learning_rate(recipe, iteration, 2) for iteration in range(8)]

    step = {"lr_schedule": "step", "lr_milestones": [1, 3], "lr_gamma": 0.5}
    assert rates(**step) == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(lr_schedule="constant", warmup_epochs=1) == [0.0, 1.0, *[1.0] * 6]
    line = rates(lr_schedule="linear")
    assert line == pytest.approx([1.0 - 0.1 * iteration for iteration in range(8)])
