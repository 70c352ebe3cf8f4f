"""Two digits filled with two photographed textures: cues that agree in training, and that conflict.

The textures are cut from the two photographs that ship with scikit-learn: tiled roofs, and petals.
"""

from typing import Any

import numpy as np

_SHAPES = (0, 1)
_PLACES = ((230, 400, 0, 300), (120, 320, 200, 480))
"""Rows and columns of a photograph that hold one texture: roofs of china.jpg, petals of
flower.jpg.
"""
_SIDE = 24


def agreeing() -> tuple[Any, ...]:
    """Images whose shape and texture name the same class: 600 for training, 200 for validation."""
    train, shapes, _ = _made(600, "train", conflict=False)
    val, of_val, _ = _made(200, "val", conflict=False)
    return train, shapes, val, of_val


def conflicting() -> tuple[Any, ...]:
    """200 images (200, 1, 24, 24) whose shape and texture disagree, shapes and textures (200,)."""
    return _made(200, "val", conflict=True)


def _made(count: int, part: str, *, conflict: bool) -> tuple[Any, ...]:
    """Images, shapes and textures, half of each class."""
    from sklearn.datasets import load_digits

    draw = np.random.RandomState(0 if part == "train" else 1)
    digits, textures = load_digits(), _textures()
    images, shapes = [], np.arange(count) % 2
    filled = 1 - shapes if conflict else shapes
    for shape, texture in zip(shapes, filled, strict=True):
        pool = digits.images[digits.target == _SHAPES[shape]] / 16
        pool = pool[: len(pool) // 2] if part == "train" else pool[len(pool) // 2 :]
        mask = np.kron(pool[draw.randint(len(pool))], np.ones((3, 3)))  # (24, 24)
        surface = textures[texture]
        row, column = (draw.randint(size - _SIDE) for size in surface.shape)
        images.append(mask * surface[row : row + _SIDE, column : column + _SIDE])
    return np.array(images, np.float32)[:, None], shapes, filled


def _textures() -> list[Any]:
    """Both textures, in shades of grey with mean 0 and deviation 1, so that neither is brighter."""
    from sklearn.datasets import load_sample_image

    found = []
    for name, (top, bottom, left, right) in zip(("china.jpg", "flower.jpg"), _PLACES, strict=True):
        grey = load_sample_image(name)[top:bottom, left:right].mean(axis=2)
        found.append((grey - grey.mean()) / grey.std())
    return found
