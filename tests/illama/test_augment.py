"""Augmentation does what its name says, and every draw belongs to one image or one iteration."""

import numpy as np
import pytest
import torch
from torch import Tensor

from illama.config import TrainConfig
from illama.data.augment import Mixed, erase, flip_and_crop, loss, mix
from illama.training.distributed import Ranks


def recipe(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "batch_size": 8, "lr": 1e-3, **settings})


def images(count: int = 8) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


INDICES = np.arange(100, 108)


def test_off_means_untouched() -> None:
    batch = images()
    assert flip_and_crop(batch, recipe(), 0, 0, INDICES) is batch
    assert erase(batch, 0.0, 0, 0, INDICES) is batch
    assert mix(batch, torch.arange(8), recipe(), 0, 0).images is batch


def test_a_certain_flip_mirrors_every_image() -> None:
    assert torch.equal(flip_and_crop(images(), recipe(hflip=1.0), 0, 0, INDICES), images().flip(3))


def test_a_crop_is_a_shift_with_zeros_around() -> None:
    cropped = flip_and_crop(images(), recipe(random_crop=2), 0, 0, INDICES)
    for before, after in zip(images(), cropped, strict=True):
        padded = torch.nn.functional.pad(before, [2] * 4)
        windows = [padded[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)]
        assert any(torch.equal(window, after) for window in windows)
    assert not torch.equal(cropped, images())


@pytest.mark.parametrize(
    "settings", [{"hflip": 0.5}, {"random_crop": 2}, {"hflip": 0.5, "random_crop": 1}]
)
def test_an_image_is_changed_alike_in_whatever_batch_it_comes(settings: dict[str, float]) -> None:
    together = flip_and_crop(images(), recipe(**settings), 3, 7, INDICES)
    apart = [
        flip_and_crop(images()[i : i + 1], recipe(**settings), 3, 7, INDICES[i : i + 1])
        for i in range(8)
    ]
    assert torch.equal(torch.cat(apart), together)
    erased = [erase(images()[i : i + 1], 0.5, 3, 7, INDICES[i : i + 1]) for i in range(8)]
    assert torch.equal(torch.cat(erased), erase(images(), 0.5, 3, 7, INDICES))
    assert not torch.equal(flip_and_crop(images(), recipe(**settings), 3, 8, INDICES), together)


def test_erasing_replaces_one_rectangle_of_up_to_a_third() -> None:
    before, after = images(), erase(images(), 1.0, 0, 0, INDICES)
    for image, erased in zip(before, after, strict=True):
        changed = (image != erased).all(dim=0)
        assert 0 < changed.sum() <= 64 / 3 + 8
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        assert changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_mixup_blends_each_image_with_its_mirror_place() -> None:
    labels = torch.arange(8)
    mixed = mix(images(), labels, recipe(mixup=0.8), 0, 5)
    assert 0 < mixed.share < 1
    torch.testing.assert_close(
        mixed.images, mixed.share * images() + (1 - mixed.share) * images().flip(0)
    )
    assert torch.equal(mixed.others, labels.flip(0))


def test_cutmix_counts_labels_by_the_area_that_is_left() -> None:
    for iteration in range(20):
        mixed = mix(images(), torch.arange(8), recipe(cutmix=1.0), 0, iteration)
        own = (mixed.images == images()).all(dim=1).float().mean(dim=(1, 2))
        torch.testing.assert_close(own, torch.full((8,), mixed.share))


def test_with_both_on_either_is_picked_about_half_of_the_time() -> None:
    cut = 0
    for iteration in range(200):
        mixed = mix(images(), torch.arange(8), recipe(mixup=1.0, cutmix=1.0), 0, iteration)
        cut += bool(((mixed.images == images()) | (mixed.images == images().flip(0))).all())
    assert 70 < cut < 130


@pytest.mark.parametrize(
    "settings", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}]
)
def test_each_group_of_pairs_has_a_draw_of_its_own(settings: dict[str, float]) -> None:
    labels = torch.arange(8)
    mixed = mix(images(), labels, recipe(mix_group=4, **settings), 0, 3)
    assert isinstance(mixed.share, Tensor)
    shares = mixed.share.tolist()
    assert shares == shares[::-1], "each image and its mirror place"
    assert [shares[0], shares[2]] == [shares[1], shares[3]]
    assert shares[0] != shares[2]
    assert torch.equal(mixed.others, labels.flip(0))
    assert not torch.equal(mixed.images[[0, 1, 6, 7]], images()[[0, 1, 6, 7]])


def test_processes_that_share_a_batch_mix_what_one_would() -> None:
    labels, settings = torch.arange(16), recipe(batch_size=16, mix_group=8, mixup=0.8, cutmix=1.0)
    whole = mix(images(16), labels, settings, 0, 3)
    for rank in range(3):
        rows = Ranks(rank, 3).rows(16)
        share = mix(images(16)[rows], labels[rows], settings, 0, 3, rows)
        for mine, everybodys in zip(share, whole, strict=True):
            assert isinstance(mine, Tensor)
            assert isinstance(everybodys, Tensor)
            assert torch.equal(mine, everybodys[rows])


def test_the_loss_of_groups_counts_each_image_with_its_share() -> None:
    logits, labels = torch.randn(8, 10, generator=torch.Generator().manual_seed(1)), torch.arange(8)
    shares = torch.tensor([0.3, 0.3, 0.9, 0.9, 0.9, 0.9, 0.3, 0.3])
    batch = Mixed(images(), labels, labels.flip(0), shares)
    alone = [
        loss(logits[i : i + 1], batch.part(slice(i, i + 1))._replace(share=shares[i].item()), 0.1)
        for i in range(8)
    ]
    torch.testing.assert_close(loss(logits, batch, 0.1), torch.stack(alone).mean())


@pytest.mark.parametrize("group", [3, 6, 16])
def test_groups_that_do_not_cut_the_batch_into_pairs_are_refused(group: int) -> None:
    with pytest.raises(ValueError, match="does not divide batch_size 8 into groups of whole pairs"):
        recipe(mix_group=group, mixup=0.1)


def test_the_loss_of_a_blend_is_the_cross_entropy_with_soft_targets() -> None:
    logits = torch.randn(8, 10, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8)
    one_hot = torch.nn.functional.one_hot(labels, 10)
    target = 0.3 * one_hot + 0.7 * one_hot.flip(0)
    smooth = 0.9 * target + 0.1 / 10
    expected = -(smooth * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(
        loss(logits, Mixed(images(), labels, labels.flip(0), 0.3), 0.1), expected
    )
