"""Small settings shared by the tests of the network and its training."""

from typing import Any

import pytest
import torch

from illama.config import Config, resolve

torch.set_num_threads(1)  # the networks of these tests are too small to share between cores

SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.fixture(scope="session")
def small_config() -> Any:
    """A function that builds a training of seconds: `small_config({"model.norm": "rmsnorm",
    "seed": 1})`.
    """

    def build(changes: dict[str, Any] | None = None) -> Config:
        settings: dict[str, Any] = {
            "model": {"name": "illama_digits", **SMALL},
            "data": {"name": "digits", "val_fraction": 0.9},
            "train": {"epochs": 3, "batch_size": 32, "lr": 3e-3},
        }
        for path, value in (changes or {}).items():
            *sections, key = path.split(".")
            group = settings
            for section in sections:
                group = group[section]
            group[key] = value
        config = resolve(settings)
        assert isinstance(config, Config)
        return config

    return build


@pytest.fixture(autouse=True)
def _skip_without_a_gpu(request: pytest.FixtureRequest) -> None:
    """What is marked `cuda`."""
    if request.node.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
