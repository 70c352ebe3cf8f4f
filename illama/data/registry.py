"""Built-in data sets by name. Another one is a file with a `Source` and a line here.

Knows neither numpy nor torch, so that settings can be checked at no cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from illama.config import DataConfig, ModelConfig, UserModel
    from illama.dataset import Images, Labels

DATASETS: Mapping[str, str] = {
    "digits": "illama.data.digits:DIGITS",
    "synthetic": "illama.data.synthetic:SYNTHETIC",
    "cifar10": "illama.data.cifar:CIFAR10",
    "cifar100": "illama.data.cifar:CIFAR100",
    "image_folder": "illama.data.image_folder:IMAGE_FOLDER",
}
"""`module:object` by the names of `data.name`. Data sets of other packages are functions: see
`illama.config.functions`."""


@dataclass(frozen=True)
class Pool:
    """Images as they are published, before they are split."""

    images: "Images"
    """(n, channels, height, width)."""
    labels: "Labels"
    """(n,), from 0."""
    num_classes: int
    test: "tuple[Images, Labels] | None" = None
    """Published test images and their labels."""


@dataclass(frozen=True)
class Source:
    """Built-in data set: what a plan has to know of it, and how it is read."""

    digest: "Callable[[DataConfig, Path], str]"
    """Identity of the images in the directory of all data, without loading them."""
    read: "Callable[[DataConfig, ModelConfig | UserModel, Path], Pool] | None" = None
    """Reads all images, for the network that is to be trained. None for a folder of pictures, which
    are read as they are used."""
    published: Literal["whole", "test", "parts"] = "whole"
    """Parts that the publisher has split off: none, a test part, or a validation part and perhaps a
    test part."""
    shape: tuple[int, int, int] | None = None
    """The shape of one image: channels, height, width; None where the network decides."""
    num_classes: int | None = None


@cache
def source_of(name: str) -> Source:
    """The built-in data set of that name. Raises `KeyError` where there is none."""
    module, _, attribute = DATASETS[name].partition(":")
    found: Source = getattr(import_module(module), attribute)
    return found
