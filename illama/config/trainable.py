"""Choice of the tensors that a training changes: `train.trainable`, patterns of their names."""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from pkgutil import resolve_name

from illama.config.functions import UserModel
from illama.config.imports import UserCodeError
from illama.config.model import ModelConfig

_NETWORKS = "illama.model:make_network"
"""Looked up when it is needed: the networks know the settings, and not the other way round."""

Patterns = tuple[str, ...] | None


def is_trained(name: str, patterns: Patterns) -> bool:
    """Tell whether a tensor is trained: all are where there are no patterns."""
    return patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns)


def trained_count(network: ModelConfig | UserModel, patterns: Patterns) -> int | None:
    """Numbers that training changes; None where that is all of them.

    Raises `ValueError` for a pattern that no tensor's name fits.
    """
    if patterns is None:
        return None
    sizes = _sizes(type(network), network.model_dump_json())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in sizes):
            raise ValueError(_unknown(pattern, list(sizes)))
    return sum(size for name, size in sizes.items() if is_trained(name, patterns))


def _unknown(pattern: str, names: list[str]) -> str:
    nearest = get_close_matches(pattern.strip("*."), names, 1, cutoff=0.4) or names[-1:]
    return (
        f"train.trainable: no tensor of the network has a name like {pattern!r}; there is "
        f"{nearest[0]}, for instance, and * stands for anything"
    )


@cache
def _sizes(kind: type[ModelConfig] | type[UserModel], described: str) -> Mapping[str, int]:
    """Numbers in each tensor by its name, of a network without memory where that is possible."""
    import torch

    make_network = resolve_name(_NETWORKS)
    network = kind.model_validate(json.loads(described))
    try:
        with torch.device("meta"):
            made = make_network(network, seed=0)
    except (UserCodeError, RuntimeError, NotImplementedError):  # many need numbers to be made
        made = make_network(network, seed=0)
    return {name: parameter.numel() for name, parameter in made.named_parameters()}
