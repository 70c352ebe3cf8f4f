"""What is dropped is dropped as often as asked, when asked, and the mean stays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from illama.config import Config
from illama.drop import draw_drop, drop_elements, part
from illama.schedules import drop_rate

Build = Callable[..., Config]
CPU = torch.device("cpu")


def test_nothing_is_drawn_when_nothing_is_dropped(small_config: Build) -> None:
    assert draw_drop(small_config(), 0, 10, CPU) is None


def test_paths_are_dropped_more_often_the_deeper_they_are(small_config: Build) -> None:
    drop = draw_drop(
        small_config({"train.drop_path": 0.5, "train.batch_size": 4000, "model.depth": 3}),
        0,
        10,
        CPU,
    )
    assert drop is not None
    assert drop.paths is not None
    assert drop.paths.shape == (3, 2, 4000)
    assert (drop.paths == 0).float().mean(dim=(1, 2)).tolist() == pytest.approx(
        [0, 0.25, 0.5], abs=0.02
    )
    assert drop.paths.mean(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1], abs=0.05)


def test_inputs_are_dropped_one_by_one(small_config: Build) -> None:
    drop = draw_drop(small_config({"train.dropout": 0.25}), 0, 10, CPU)
    assert drop is not None
    assert drop.inputs is not None
    kept = drop_elements(torch.ones(32, 17, 16), *drop.inputs)
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    for axes in (
        (0, 1, 2),
        (1, 2),
        (0, 2),
        (0, 1),
    ):  # overall, and for each image, token and channel
        share = (kept == 0).float().mean(dim=axes)
        spread = (0.25 * 0.75 / (kept.numel() / share.numel())) ** 0.5
        assert (share - 0.25).abs().max() < 5 * spread
    assert len({image.numpy().tobytes() for image in kept}) == 32


def test_dropout_draws_from_the_published_generator() -> None:
    def squares(counter: int, key: int) -> int:
        """Squares as in arXiv 2004.06278, in Python's own whole numbers."""
        x = y = counter * key % 2**64
        z = (y + key) % 2**64
        for added in (y, z, y):
            x = (x * x + added) % 2**64
            x = (x >> 32) | (x << 32) % 2**64
        return ((x * x + z) % 2**64) >> 32

    keys = [0xC58EFD154CE32F6D, 2**63 + 1, 1]
    signed = torch.tensor([key - 2**64 if key >= 2**63 else key for key in keys])
    ones = torch.ones(3, 5, 400)
    for rate in (0.1, 0.5):
        expected = [
            [squares(counter, key) >> 8 >= rate * 2**24 for counter in range(2000)] for key in keys
        ]
        dropped = drop_elements(ones, signed, torch.tensor(rate))
        assert ((dropped > 0).reshape(3, -1) == torch.tensor(expected)).all()


def test_a_compiler_sees_dropout_as_one_graph() -> None:
    whole = torch.compile(drop_elements, fullgraph=True, backend="eager")
    x, keys = torch.ones(2, 3, 4), torch.tensor([3, 5])
    assert torch.equal(whole(x, keys, torch.tensor(0.5)), drop_elements(x, keys, torch.tensor(0.5)))


def test_cutting_a_batch_does_not_change_what_is_dropped(small_config: Build) -> None:
    drop = draw_drop(small_config({"train.dropout": 0.25}), 3, 10, CPU)
    assert drop is not None
    cut = part(drop, slice(5, 9))
    assert cut is not None
    assert drop.inputs is not None
    assert cut.inputs is not None
    whole, piece = (
        drop_elements(torch.ones(count, 17, 16), *d.inputs) for count, d in ((32, drop), (4, cut))
    )
    assert torch.equal(whole[5:9], piece)


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
        (
            {"train.drop_path": 0.3, "train.drop_mode": "early", "train.cutoff_epoch": 1},
            [0.3, 0.3, 0, 0],
        ),
        (
            {"train.drop_path": 0.3, "train.drop_mode": "late", "train.cutoff_epoch": 1},
            [0, 0, 0.3, 0.3],
        ),
        (
            {
                "train.drop_path": 0.3,
                "train.drop_mode": "early",
                "train.cutoff_epoch": 2,
                "train.drop_schedule": "linear",
            },
            [0.3, 0.2, 0.1, 0],
        ),
    ],
)
def test_schedules(small_config: Build, changes: dict[str, Any], rates: list[float]) -> None:
    train = small_config(changes).train
    assert [
        drop_rate(train, train.drop_path, iteration, 2) for iteration in range(4)
    ] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.drop_path": 0.1, "train.dropout": 0.1}, "use only one"),
        ({"train.drop_mode": "early"}, "need a cutoff"),
        (
            {"train.drop_mode": "late", "train.cutoff_epoch": 1, "train.drop_schedule": "linear"},
            "drop_mode early",
        ),
        ({"train.aa": "strong"}, "rand-m9-mstd0.5-inc1"),
        ({"train.aa": "rand-m9-mstd0.5-inc1"}, "is for image folders"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(
    small_config: Build, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_config(changes)
