"""Synthetic images: a random template for each class under noise, for tests and timings."""

from pathlib import Path

import numpy as np

from illama.config import DataConfig, ModelConfig, UserModel
from illama.data.registry import Pool, Source
from illama.randomness import derive, shuffler

IMAGES = 1024
NOISE = 2.0
"""Standard deviation of the noise over that of the templates."""


def _read(data: DataConfig, model: ModelConfig | UserModel, directory: Path) -> Pool:
    """Images of the shape that a built-in network takes; users' networks were refused before."""
    assert isinstance(model, ModelConfig)
    random = shuffler(derive(0, "synthetic"))
    shape = (model.in_chans, *model.pixels)
    templates = random.standard_normal((model.num_classes, *shape))
    labels = np.arange(IMAGES, dtype=np.int64) % model.num_classes
    noise = random.standard_normal((IMAGES, *shape)) * NOISE
    return Pool((templates[labels] + noise).astype(np.float32), labels, model.num_classes)


def _digest(data: DataConfig, directory: Path) -> str:
    """The recipe that the images are made by."""
    return f"synthetic:{IMAGES} images, noise {NOISE}"


SYNTHETIC = Source(_digest, _read)
