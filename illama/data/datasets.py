"""Datasets: where the images come from, how they are split, and a digest that says exactly which
they are.

Imports neither torch nor scikit-learn, so that a planner can ask for a digest at no cost.
"""

from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from illama.config import DataConfig, ModelConfig, UserData, UserModel
from illama.config import data_directory as data_directory
from illama.config.functions import load_images
from illama.data.registry import Pool
from illama.dataset import Dataset, Labels
from illama.randomness import derive, shuffler


def load(
    data: DataConfig | UserData, model: ModelConfig | UserModel, data_dir: Path | None = None
) -> Dataset:
    """The images of `data`, split: the split is the same for every seed.

    For all but `image_folder`, which is read as it is used. Raises `ValueError` when `model` does
    not take images of this shape or has another number of classes, or when a part has no images,
    and `FileNotFoundError` when the published files are not in `data_dir`.
    """
    directory = data_directory(data_dir)
    if isinstance(data, UserData):
        dataset = load_images(data, directory)
        shape = dataset.shape
    else:
        read = data.source.read
        assert read is not None
        dataset = _split(data, read(data, model, directory))
        shape = data.shape_of(dataset.shape)
    check_shape(data, model, shape, dataset.num_classes)
    return dataset


def _split(data: DataConfig, pool: Pool) -> Dataset:
    """The parts that `data` asks for. Published test images are the test part where one is asked
    for, and otherwise those of validation.
    """
    images, labels, num_classes = pool.images, pool.labels, pool.num_classes
    if pool.test and not data.has_test:
        return Dataset.of(images, labels, *pool.test, num_classes)
    val = _held_out(data, "val_fraction", labels)
    train, test = ~val, pool.test
    if data.has_test and test is None:
        last = _held_out(data, "test_fraction", labels, from_the_end=True)
        train, test = ~(val | last), (images[last], labels[last])
    dataset = Dataset.of(images[train], labels[train], images[val], labels[val], num_classes)
    return dataset.with_test(*test) if test else dataset


def dataset_digest(data: DataConfig | UserData | None, data_dir: Path | None = None) -> str:
    """Return what a trial's fingerprint says about its images, those of the test part included.

    The SHA-256 of the files they are read from; of an image folder, which may be large, that of the
    names and sizes of its files; of synthetic images the recipe they are made by; of images that
    somebody else loads, those themselves; of a user training nothing, for nobody knows what
    it reads. Raises `FileNotFoundError` when the files are not in `data_dir`.
    """
    if data is None:
        return ""
    if isinstance(data, UserData):
        return data.content
    return data.source.digest(data, data_directory(data_dir))


def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order in which `epoch` visits the training images: a permutation of `range(count)`."""
    return shuffler(derive(seed, "order", epoch)).permutation(count)


def check_shape(
    data: DataConfig | UserData,
    model: ModelConfig | UserModel,
    shape: tuple[int, ...],
    num_classes: int,
) -> None:
    """Raises `ValueError` unless `model` takes images of `shape`, (channels, height, width), in
    `num_classes` classes.

    Users' networks were tried with such images when the sweep was planned.
    """
    if isinstance(model, UserModel):
        return
    expected = (model.in_chans, *model.pixels)
    if shape != expected or num_classes != model.num_classes:
        raise ValueError(
            f"data {data.name} has images of {' x '.join(map(str, shape))} (channels x height x "
            f"width) in {num_classes} classes, but the model takes "
            f"{' x '.join(map(str, expected))} in {model.num_classes}; set model.in_chans, "
            "model.img_size "
            "and model.num_classes"
        )


def _held_out(
    data: DataConfig, setting: str, labels: Labels, *, from_the_end: bool = False
) -> npt.NDArray[np.bool_]:
    """Marks of the images that a fraction of `data` holds out: the same share of every class.

    The order within a class is that of a digest of the images' numbers. Validation images are its
    first ones and test images its last ones, so that neither depends on the share of the other.
    Raises `ValueError` where there would be none.
    """
    fraction = getattr(data, setting)
    held_out = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = sorted(
            np.flatnonzero(labels == label), key=lambda index: blake2b(b"%d" % index).digest()
        )
        if from_the_end:
            members.reverse()
        held_out[members[: round(fraction * len(members))]] = True
    if not held_out.any():
        raise ValueError(
            f"data.{setting} {fraction:g} of {data.name} holds out no image: it should be larger"
        )
    return held_out
