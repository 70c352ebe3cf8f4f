"""Handwritten digits: 1,797 images of 8 x 8 pixels in 10 classes, which ship inside
scikit-learn.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from illama.data.files import file_digest
from illama.data.registry import Pool, Source

if TYPE_CHECKING:
    from illama.config import DataConfig, ModelConfig, UserModel


def _file() -> Path:
    """File inside scikit-learn. Found without importing it, which would take a second."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the digits ship inside scikit-learn, which is not installed: pip install scikit-learn"
        )
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _read(data: "DataConfig", model: "ModelConfig | UserModel", directory: Path) -> Pool:
    # a row has 64 pixels of 0 to 16, and the class: (1797, 65)
    table = np.loadtxt(_file(), delimiter=",", dtype=np.int64)
    images = table[:, :-1].reshape(-1, 1, 8, 8).astype(np.float32)
    return Pool(images, table[:, -1], 10)


def _digest(data: "DataConfig", directory: Path) -> str:
    return f"sha256:{file_digest(_file())}"


DIGITS = Source(_digest, _read, shape=(1, 8, 8), num_classes=10)
