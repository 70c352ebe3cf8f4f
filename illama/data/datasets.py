"""Datasets: where the images come from, how they are split, and a digest that says exactly which they are.

Imports neither torch nor scikit-learn, so that a planner can ask for a digest at no cost.
"""

from functools import cache
from hashlib import blake2b, sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from illama.config import DataConfig, ModelConfig, UserData, UserModel
from illama.config import data_directory as data_directory
from illama.config.functions import load_images
from illama.data import cifar, image_folder
from illama.dataset import Dataset, Images, Labels
from illama.randomness import derive, shuffler

SYNTHETIC_IMAGES = 1024
SYNTHETIC_NOISE = 2.0
"""Standard deviation of the noise over that of the templates."""


def load(
    data: DataConfig | UserData, model: ModelConfig | UserModel, data_dir: Path | None = None
) -> Dataset:
    """The images of `data`, split: the split is the same for every seed.

    For all but `image_folder`, which is read as it is used. Raises `ValueError` when `model` does
    not take images of this shape or has another number of classes, or when a part has no images,
    and `FileNotFoundError` when the published files are not in `data_dir`.
    """
    if isinstance(data, UserData):
        dataset = load_images(data, data_directory(data_dir))
    elif data.name.startswith("cifar"):
        dataset = _cifar(data, data_directory(data_dir))
    else:
        dataset = _one_pool(data, model)
    check_shape(data, model, dataset.shape, dataset.num_classes)
    return dataset


def _cifar(data: DataConfig, directory: Path) -> Dataset:
    """The published test images are those of the test part where one is asked for, and otherwise
    those of validation.
    """
    images, labels, test_images, test_labels = cifar.read(data.name, directory)
    num_classes = cifar.NUM_CLASSES[data.name]
    if not data.has_test:
        return Dataset.of(images, labels, test_images, test_labels, num_classes)
    val = _held_out(data, "val_fraction", labels)
    dataset = Dataset.of(images[~val], labels[~val], images[val], labels[val], num_classes)
    return dataset.with_test(test_images, test_labels)


def _one_pool(data: DataConfig, model: ModelConfig | UserModel) -> Dataset:
    """Images that come in one piece, split by us."""
    images, labels, num_classes = _digits() if data.name == "digits" else _synthetic(model)
    val = _held_out(data, "val_fraction", labels)
    if not data.has_test:
        return Dataset.of(images[~val], labels[~val], images[val], labels[val], num_classes)
    test = _held_out(data, "test_fraction", labels, from_the_end=True)
    train = ~(val | test)
    dataset = Dataset.of(images[train], labels[train], images[val], labels[val], num_classes)
    return dataset.with_test(images[test], labels[test])


def dataset_digest(data: DataConfig | UserData | None, data_dir: Path | None = None) -> str:
    """What a trial's fingerprint says about its images, those of the test part included.

    The SHA-256 of the files they are read from; of an image folder, which may be large, that of the
    names and sizes of its files; of synthetic images the recipe they are made by; of images that
    somebody else loads, those themselves; of somebody's own training nothing, for nobody knows what
    it reads. Raises `FileNotFoundError` when the files are not in `data_dir`.
    """
    if data is None:
        return ""
    if isinstance(data, UserData):
        return data.content
    if data.name == "digits":
        return f"sha256:{_file_digest(_digits_file())}"
    if data.name == "synthetic":
        return f"synthetic:{SYNTHETIC_IMAGES} images, noise {SYNTHETIC_NOISE}"
    if data.name == "image_folder":
        folder = data_directory(data_dir) / data.folder
        return f"names-and-sizes:{image_folder.digest(folder, test=data.has_test)}"
    digests = [_file_digest(path) for path in cifar.files(data.name, data_directory(data_dir))]
    return f"sha256:{sha256(''.join(digests).encode()).hexdigest()}"


def epoch_order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order in which `epoch` visits the training images: a permutation of `range(count)`."""
    return shuffler(derive(seed, "order", epoch)).permutation(count)


def check_shape(
    data: DataConfig | UserData,
    model: ModelConfig | UserModel,
    shape: tuple[int, ...],
    num_classes: int,
) -> None:
    """Raises `ValueError` unless `model` takes images of `shape`, (channels, height, width), in `num_classes` classes.

    Other people's networks were tried with such images when the sweep was planned.
    """
    if isinstance(model, UserModel):
        return
    expected = (model.in_chans, model.img_size, model.img_size)
    if shape != expected or num_classes != model.num_classes:
        raise ValueError(
            f"data {data.name} has images of {' x '.join(map(str, shape))} (channels x height x width) in {num_classes} classes, "
            f"but the model takes {' x '.join(map(str, expected))} in {model.num_classes}; set model.in_chans, model.img_size "
            "and model.num_classes"
        )


def _digits_file() -> Path:
    """The digits inside scikit-learn. Found without importing it, which would take a second."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the digits ship inside scikit-learn, which is not installed: pip install scikit-learn"
        )
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


@cache
def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _digits() -> tuple[Images, Labels, int]:
    table = np.loadtxt(
        _digits_file(), delimiter=",", dtype=np.int64
    )  # (1797, 64 pixels of 0 to 16 and the class)
    return table[:, :-1].reshape(-1, 1, 8, 8).astype(np.float32), table[:, -1], 10


def _synthetic(model: ModelConfig | UserModel) -> tuple[Images, Labels, int]:
    """A random template per class under noise, in whatever shape the model takes: data for tests and timings."""
    assert isinstance(
        model, ModelConfig
    )  # other people's say nothing of their shape, and are refused with such data
    random = shuffler(derive(0, "synthetic"))
    shape = (model.in_chans, model.img_size, model.img_size)
    templates = random.standard_normal((model.num_classes, *shape))
    labels = np.arange(SYNTHETIC_IMAGES, dtype=np.int64) % model.num_classes
    noise = random.standard_normal((SYNTHETIC_IMAGES, *shape)) * SYNTHETIC_NOISE
    return (templates[labels] + noise).astype(np.float32), labels, model.num_classes


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
