"""The split is fixed and fair, the digest cheap and true."""

import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import resources
from typing import Any

import numpy as np
import pytest
import torch

from illama.config import Config, DataConfig, ModelConfig, RuntimeConfig, with_preset
from illama.data.datasets import dataset_digest, epoch_order, load
from illama.dataset import Dataset
from illama.training.loader import make_loader

DIGITS = ModelConfig.model_validate(with_preset({"name": "vit_digits"}))


def test_the_digits_are_those_of_scikit_learn_split_with_no_image_lost() -> None:
    from sklearn.datasets import load_digits

    data = load(DataConfig(name="digits"), DIGITS)
    assert data.train_images.shape == (1347, 1, 8, 8)
    assert data.val_images.shape == (450, 1, 8, 8)
    pixels = np.concatenate([data.train_images, data.val_images]).reshape(1797, 64)
    labels = np.concatenate([data.train_labels, data.val_labels])
    original = load_digits()
    ours = sorted(zip(pixels.astype(int).tolist(), labels.tolist(), strict=True))
    assert ours == sorted(
        zip(original.data.astype(int).tolist(), original.target.tolist(), strict=True)
    )


def test_every_class_has_its_share_in_validation() -> None:
    data = load(DataConfig(name="digits", val_fraction=0.25), DIGITS)
    shares = np.bincount(data.val_labels) / (
        np.bincount(data.val_labels) + np.bincount(data.train_labels)
    )
    assert shares == pytest.approx(np.full(10, 0.25), abs=0.01)


def pixels_of(images: Any) -> set[bytes]:
    return {image.tobytes() for image in images}


def _all_labels(data: Dataset) -> Any:
    return np.concatenate([data.part(part)[1] for part in ("train", "val", "test")])


def test_a_test_part_is_taken_from_the_training_images_and_leaves_validation_alone() -> None:
    without, small, large = (
        load(DataConfig(name="digits", val_fraction=0.3, test_fraction=fraction), DIGITS)
        for fraction in (0.0, 0.1, 0.2)
    )
    assert not without.has_test
    assert small.has_test
    for data in (small, large):
        assert np.array_equal(data.val_images, without.val_images)
        assert np.array_equal(data.val_labels, without.val_labels)
        images, labels = data.part("test")
        assert len(data.train_labels) + len(labels) == len(without.train_labels)
        parts = pixels_of(images) | pixels_of(data.train_images)
        assert parts == pixels_of(without.train_images)
    assert pixels_of(small.part("test")[0]) < pixels_of(large.part("test")[0])
    shares = np.bincount(large.part("test")[1]) / np.bincount(_all_labels(large))
    assert shares == pytest.approx(np.full(10, 0.2), abs=0.01)


def test_the_test_images_do_not_depend_on_the_share_for_validation() -> None:
    one, other = (
        load(DataConfig(name="digits", val_fraction=share, test_fraction=0.2), DIGITS)
        for share in (0.1, 0.7)
    )
    assert one.digest_of("test") == other.digest_of("test")
    assert one.digest_of("val") != other.digest_of("val")
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "digits", "test": "official"}, "hold one out with test_fraction"),
        ({"name": "cifar10", "test_fraction": 0.1}, "write `test: official`"),
        ({"name": "image_folder", "test": "official", "val_fraction": 0.1}, "leave out val_frac"),
        ({"name": "digits", "val_fraction": 0.6, "test_fraction": 0.4}, "nothing to train on"),
    ],
)
def test_splits_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


@pytest.mark.parametrize("setting", ["val_fraction", "test_fraction"])
def test_a_share_without_any_image_is_refused(setting: str) -> None:
    data = DataConfig(name="digits", **{setting: 1e-4})
    with pytest.raises(ValueError, match=rf"data.{setting} 0.0001 of digits holds out no image"):
        load(data, DIGITS)


def test_mean_and_deviation_are_of_the_training_images_alone() -> None:
    data = load(DataConfig(name="digits"), DIGITS)
    assert data.mean.tolist() == pytest.approx([data.train_images.mean()], rel=1e-5)
    assert data.std.tolist() == pytest.approx([data.train_images.std()], rel=1e-5)


def test_a_channel_of_one_value_is_not_divided_by_zero() -> None:
    images = np.random.RandomState(0).normal(size=(4, 2, 3, 3)).astype(np.float32)
    images[:, 1] = 7
    data = Dataset.of(images, np.arange(4), images, np.arange(4), 4)
    assert data.std[0] == pytest.approx(images[:, 0].std())
    assert data.std[1] == 1


@pytest.mark.parametrize(("micro_batch_size", "largest"), [(None, 128), (8, 32), (100, 128)])
def test_where_memory_is_short_few_images_are_measured_at_once(
    small_config: Callable[..., Config], micro_batch_size: int | None, largest: int
) -> None:
    config = small_config({"data.val_fraction": 0.25})
    loader = make_loader(
        config, RuntimeConfig(micro_batch_size=micro_batch_size), torch.device("cpu")
    )
    sizes = [len(labels) for _, labels in loader.held_out("val")]
    assert max(sizes) == largest
    assert sum(sizes) == 450


def test_the_order_visits_every_image_once_and_differs_by_epoch_and_seed() -> None:
    orders = [epoch_order(seed, epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert epoch_order(0, 1, 50).tolist() == orders[1]


def test_the_digest_names_the_very_file() -> None:
    file = resources.files("sklearn.datasets.data") / "digits.csv.gz"
    assert (
        dataset_digest(DataConfig(name="digits"))
        == f"sha256:{sha256(file.read_bytes()).hexdigest()}"
    )


@pytest.mark.slow
def test_a_digest_imports_neither_torch_nor_scikit_learn() -> None:
    program = (
        "import sys; from illama.config import DataConfig; from illama.data.datasets import "
        "dataset_digest; import illama;dataset_digest(DataConfig(name='digits'));"
        "print(sorted({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"1 x 8 x 8 .* in 10 classes, but the model takes 1 x 8 x 8 in 7"
    ):
        load(DataConfig(name="digits"), DIGITS.model_copy(update={"num_classes": 7}))


def test_synthetic_images_take_the_shape_of_the_model() -> None:
    model = DIGITS.model_copy(update={"img_size": 12, "in_chans": 3, "num_classes": 4})
    data = load(DataConfig(name="synthetic"), model)
    assert data.train_images.shape[1:] == (3, 12, 12)
    assert set(data.val_labels) == {0, 1, 2, 3}


def test_images_are_resized_as_they_are_used(small_config: Callable[..., Config]) -> None:
    config = small_config(
        {"data": {"name": "digits", "resize": 16}, "model.img_size": 16, "model.embed_dim": 8}
    )
    loader = make_loader(config, RuntimeConfig(), torch.device("cpu"))
    images, _ = next(loader.batches(0, 0))
    assert images.shape[1:] == (1, 16, 16)
    shown, _ = next(iter(loader.held_out("val")))
    small, _ = next(
        iter(
            make_loader(
                small_config({"data": {"name": "digits"}}), RuntimeConfig(), shown.device
            ).held_out("val")
        )
    )
    averaged = torch.nn.functional.avg_pool2d(shown, 2)
    assert (averaged - small).abs().mean() < 0.15 * small.std(), "the same pictures, larger"
    with pytest.raises(ValueError, match="the model takes 1 x 8 x 8"):
        load(DataConfig(name="digits", resize=16), DIGITS)
    with pytest.raises(ValueError, match="leave out resize"):
        DataConfig(name="image_folder", resize=16)
    assert DataConfig(name="digits").shape_of((1, 8, 8)) == (1, 8, 8)
