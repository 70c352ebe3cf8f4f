"""What is dropped is dropped as often as asked, when asked, and the mean stays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from illama.config import Config
from illama.drop import draw_drop, part
from illama.schedules import drop_rate

Build = Callable[..., Config]
CPU = torch.device("cpu")


def test_nothing_is_drawn_when_nothing_is_dropped(small_config: Build) -> None:
    assert draw_drop(small_config(), 0, 10, CPU) is None


def test_paths_are_dropped_more_often_the_deeper_they_are(small_config: Build) -> None:
    drop = draw_drop(small_config({"train.drop_path": 0.5, "train.batch_size": 4000, "model.depth": 3}), 0, 10, CPU)
    assert drop is not None
    assert drop.paths is not None
    assert drop.paths.shape == (3, 2, 4000)
    assert (drop.paths == 0).float().mean(dim=(1, 2)).tolist() == pytest.approx([0, 0.25, 0.5], abs=0.02)
    assert drop.paths.mean(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1], abs=0.05)


def test_inputs_are_dropped_one_by_one(small_config: Build) -> None:
    drop = draw_drop(small_config({"train.dropout": 0.25}), 0, 10, CPU)
    assert drop is not None
    assert drop.inputs is not None
    assert drop.inputs.shape == (32, 17, 16)
    assert drop.inputs.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (drop.inputs == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_iterations_differ_and_a_part_is_the_same_rows(small_config: Build) -> None:
    config = small_config({"train.drop_path": 0.5})
    first, again, other = (draw_drop(config, iteration, 10, CPU) for iteration in (4, 4, 5))
    assert first is not None
    assert first.paths is not None
    assert torch.equal(first.paths, again.paths)  # type: ignore[union-attr]
    assert not torch.equal(first.paths, other.paths)  # type: ignore[union-attr]
    assert torch.equal(part(first, slice(3, 7)).paths, first.paths[:, :, 3:7])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"train.drop_path": 0.3}, [0.3, 0.3, 0.3, 0.3]),
        ({"train.drop_path": 0.3, "train.drop_mode": "early", "train.cutoff_epoch": 1}, [0.3, 0.3, 0, 0]),
        ({"train.drop_path": 0.3, "train.drop_mode": "late", "train.cutoff_epoch": 1}, [0, 0, 0.3, 0.3]),
        (
            {"train.drop_path": 0.3, "train.drop_mode": "early", "train.cutoff_epoch": 2, "train.drop_schedule": "linear"},
            [0.3, 0.2, 0.1, 0],
        ),
    ],
)
def test_schedules(small_config: Build, changes: dict[str, Any], rates: list[float]) -> None:
    train = small_config(changes).train
    assert [drop_rate(train, train.drop_path, iteration, 2) for iteration in range(4)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.drop_path": 0.1, "train.dropout": 0.1}, "use only one"),
        ({"train.drop_mode": "early"}, "need a cutoff"),
        ({"train.drop_mode": "late", "train.cutoff_epoch": 1, "train.drop_schedule": "linear"}, "drop_mode early"),
        ({"train.aa": "strong"}, "rand-m9-mstd0.5-inc1"),
        ({"train.aa": "rand-m9-mstd0.5-inc1"}, "is for image folders"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(small_config: Build, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(changes)
