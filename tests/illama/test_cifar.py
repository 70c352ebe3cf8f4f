"""CIFAR is read from files in the published format, whole or not at all."""

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from illama.__main__ import main as illama_command
from illama.config import Config, DataConfig, ModelConfig, RuntimeConfig, with_preset
from illama.data import cifar
from illama.data.datasets import dataset_digest, load
from illama.training.trainer import train

Build = Callable[..., Config]
CIFAR_MODEL = {"img_size": 32, "patch_size": 8, "num_classes": 10}


def batch(count: int, classes: int, key: bytes, seed: int) -> bytes:
    """Images of a class share a colour, so that they can be learned."""
    random = np.random.RandomState(seed)
    labels = random.randint(classes, size=count)
    colours = np.random.RandomState(0).randint(256, size=(classes, 3, 1))
    pixels = (
        np.clip(colours[labels] + random.randint(-30, 30, size=(count, 3, 1024)), 0, 255)
        .astype(np.uint8)
        .reshape(count, 3072)
    )
    return pickle.dumps(
        {b"data": pixels, key: labels.tolist(), b"batch_label": b"made for a test"}, protocol=2
    )


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        (folder / name).write_bytes(batch(20, 10, b"labels", seed))
    return tmp_path


def test_folder_and_archive_hold_the_same(cifar10: Path, tmp_path: Path) -> None:
    images, labels, test_images, test_labels = cifar.read("cifar10", cifar10)
    assert images.shape == (100, 3, 32, 32)
    assert test_images.shape == (20, 3, 32, 32)
    archived = tmp_path / "archived"
    archived.mkdir()
    with tarfile.open(archived / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(cifar10 / "cifar-10-batches-py", "cifar-10-batches-py")
    for left, right in zip(
        cifar.read("cifar10", archived), (images, labels, test_images, test_labels), strict=True
    ):
        assert (left == right).all()


def test_cifar100_uses_the_fine_labels(tmp_path: Path) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    for name in ("train", "test"):
        (tmp_path / "cifar-100-python" / name).write_bytes(batch(50, 100, b"fine_labels", 0))
    _, labels, _, _ = cifar.read("cifar100", tmp_path)
    assert labels.max() > 20


@pytest.mark.slow
def test_cifar_trains_end_to_end_with_augmentation(cifar10: Path, small_config: Build) -> None:
    config = small_config(
        {
            "data": {"name": "cifar10"},
            "model.img_size": 32,
            "model.patch_size": 8,
            "model.in_chans": 3,
            "train.batch_size": 20,
            "train.epochs": 15,
            "train.hflip": 0.5,
            "train.random_crop": 4,
        }
    )
    runtime = RuntimeConfig(device="cpu", data_dir=cifar10)
    result = train(config, runtime=runtime, log_metrics=lambda metrics, iteration: None)
    assert result.final["val/acc1"] > 50


@pytest.mark.slow
def test_the_commands_train_on_cifar(
    cifar10: Path,
    cli: Callable[..., Any],
    write_spec: Callable[..., Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = {
        "name": "vit_digits",
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "img_size": 32,
        "patch_size": 8,
        "in_chans": 3,
    }
    recipe = {"epochs": 15, "batch_size": 20, "lr": 3e-3, "hflip": 0.5, "random_crop": 4}
    settings = {"model": model, "data": {"name": "cifar10"}, "train": recipe}
    (cifar10 / "recipe.yaml").write_text(json.dumps(settings))
    command = [
        "train",
        str(cifar10 / "recipe.yaml"),
        f"runtime.data_dir={cifar10}",
        "--device",
        "cpu",
    ]
    assert illama_command([*command, "--output", str(cifar10 / "out")]) == 0
    last = json.loads(capfd.readouterr().out.splitlines()[-2])
    assert last["val/acc1"] > 50

    spec = write_spec(baseline=settings, runtime={"device": "cpu", "data_dir": str(cifar10)})
    assert (
        cli("run", spec, "--store", cifar10 / "runs", "--executor", "local", "--no-tracking").code
        == 0
    )
    [step] = cli("report", spec, "--store", cifar10 / "runs", "--format", "json").json["steps"]
    assert (step["outcomes"], step["mean"]) == ({"finished": 1}, last["val/acc1"])


def test_the_digest_follows_the_content(cifar10: Path) -> None:
    before = dataset_digest(DataConfig(name="cifar10"), cifar10)
    other = cifar10 / "other"
    (cifar10 / "cifar-10-batches-py").rename(other)
    moved = cifar10 / "moved"
    moved.mkdir()
    other.rename(moved / "cifar-10-batches-py")
    assert dataset_digest(DataConfig(name="cifar10"), moved) == before
    changed = moved / "cifar-10-batches-py" / "data_batch_2"
    third = cifar10 / "third" / "cifar-10-batches-py"
    third.mkdir(parents=True)
    for path in changed.parent.iterdir():
        (third / path.name).write_bytes(
            path.read_bytes() if path != changed else batch(20, 10, b"labels", 99)
        )
    assert dataset_digest(DataConfig(name="cifar10"), third.parent) != before


def test_missing_files_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"cifar-10-python\.tar\.gz or the folder cifar-10-batches-py; download",
    ):
        cifar.read("cifar10", tmp_path)


def test_an_incomplete_folder_names_what_is_missing(cifar10: Path) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_4").unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_4 missing"):
        cifar.read("cifar10", cifar10)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps({b"data": np.zeros((2, 7))}), pickle.dumps([1, 2])]
)
def test_a_damaged_file_is_named(cifar10: Path, content: bytes) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(ValueError, match="data_batch_3 is not a CIFAR file, or a damaged one"):
        cifar.read("cifar10", cifar10)


def test_a_class_that_there_is_not_is_named(cifar10: Path) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_3").write_bytes(batch(200, 11, b"labels", 0))
    with pytest.raises(
        ValueError,
        match=r"data_batch_3 has an image of class 10; the classes of cifar10 are 0 to 9",
    ):
        cifar.read("cifar10", cifar10)


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("echo harm",)


def test_a_file_that_wants_to_run_a_program_is_refused(cifar10: Path) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ValueError, match="which is not allowed"):
        cifar.read("cifar10", cifar10)


def test_a_split_of_ones_own_is_refused() -> None:
    with pytest.raises(ValueError, match=r"official validation part.*or add `test: official`"):
        DataConfig(name="cifar10", val_fraction=0.5)


def test_the_published_test_images_can_be_left_to_the_report(cifar10: Path) -> None:
    images, labels, test_images, test_labels = cifar.read("cifar10", cifar10)
    model = ModelConfig(**with_preset({"name": "vit_tiny", **CIFAR_MODEL}))
    published = load(DataConfig(name="cifar10"), model, cifar10)
    assert np.array_equal(published.val_images, test_images)
    assert not published.has_test
    apart = load(DataConfig(name="cifar10", val_fraction=0.2, test="official"), model, cifar10)
    assert np.array_equal(apart.part("test")[0], test_images)
    assert np.array_equal(apart.part("test")[1], test_labels)
    assert len(apart.train_labels) + len(apart.val_labels) == len(labels)
    together = np.concatenate([apart.train_images, apart.val_images])
    assert sorted(image.tobytes() for image in together) == sorted(
        image.tobytes() for image in images
    )
