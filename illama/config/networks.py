"""Networks that a user's function builds: once to see what they are, and for each
training.

Imports torch only where a network is built.
"""

import json
from collections.abc import Mapping
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

from illama.config.functions import UserModel, arguments_of
from illama.config.imports import (
    UserCodeError,
    blaming,
    function_of,
    identity_of,
    refuse_other_code,
)

if TYPE_CHECKING:
    from torch import nn

NO_DECAY = frozenset({"pos_embed", "cls_token"})
"""Names of parameters that weight decay leaves alone, anywhere in a network (paper, Table 12)."""
OFFERED = ("attention_maps", "forward_features", "forward_intermediates")
"""Methods beside `forward` that a measure may need."""
WITHOUT_MEMORY, QUICKLY = "meta", "cpu"
"""Devices on which a network or part is tried: torch's device without memory, which loads torch's
compiler, a second; or, if it is small, where numbers are computed.
"""
_SMALL_IMAGE = 2**12
_BATCH = 2
"""Images that a network is tried with: one alone would be too few for a batch normalisation."""


def described_model(
    name: str,
    function: str,
    options: Mapping[str, Any],
    shape: tuple[int, int, int],
    num_classes: int | None,
) -> UserModel:
    """Build the network once, without memory where it can be, and see what a batch of images
    becomes.

    Raises `UserCodeError`.
    """
    code = identity_of(function)
    measured = _measured(function, code, json.dumps(options), shape, num_classes)
    return UserModel(name=name, function=function, code=code, options=dict(options), **measured)


@cache
def _measured(
    function: str, code: str, options: str, shape: tuple[int, int, int], num_classes: int | None
) -> Mapping[str, Any]:
    import torch

    quickly = is_ours(function) and prod(shape) <= _SMALL_IMAGE
    try:
        with torch.device(QUICKLY if quickly else WITHOUT_MEMORY), blaming(function):
            return _tried(function, json.loads(options), shape, num_classes)
    except UserCodeError:
        # many a network cannot be built without numbers; what is wrong with it shows with them too
        with blaming(function):
            return _tried(function, json.loads(options), shape, num_classes)


def is_ours(function: str) -> bool:
    """Tell whether a function comes with this package."""
    return function.startswith("illama.")


def _tried(
    function: str, options: Mapping[str, Any], shape: tuple[int, int, int], num_classes: int | None
) -> Mapping[str, Any]:
    """Try a network out and return the fields of `UserModel` that are measured.

    Ours say their `macs_per_image` themselves.
    """
    import torch

    from illama.flop_count import counted
    from illama.randomness import generators_kept

    with generators_kept(seed=0):
        network = _network(function, options).eval()
        with counted(ours=is_ours(function)) as counter:
            logits = network(torch.zeros(_BATCH, *shape))
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if (
        not isinstance(found, tuple)
        or len(found) != 2
        or found[0] != _BATCH
        or num_classes not in (None, found[1])
    ):
        wanted = f"logits of shape ({_BATCH}, {num_classes or 'classes'})"
        raise UserCodeError(
            f"{function} maps {_BATCH} images of {shape} to {found}; expected {wanted}"
        )
    return {
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "macs": getattr(network, "macs_per_image", counter.get_total_flops() // (2 * _BATCH)),
        "masked": hasattr(network, "set_soft_mask_rate"),
        "undecayed": _undecayed(network),
        "offers": tuple(name for name in OFFERED if callable(getattr(network, name, None))),
    }


def kept_from_decay(network: "nn.Module") -> frozenset[str]:
    """Parameters that weight decay leaves alone by name: those called as in `NO_DECAY`, and what
    `no_weight_decay()` returns. That method is timm's, of the whole network or of any module
    inside of it, whose names are its own.
    """
    names = {name for name, _ in network.named_parameters() if name.rpartition(".")[2] in NO_DECAY}
    for path, module in network.named_modules():
        listed = getattr(module, "no_weight_decay", None)
        if callable(listed):
            names |= {f"{path}.{name}" if path else name for name in listed()}
    return frozenset(names)


def _undecayed(network: "nn.Module") -> tuple[str, ...]:
    """The parameters that decayed before numerics version 4: it looked at the names in `NO_DECAY`
    alone, and at those of the outermost module.
    """
    kept = kept_from_decay(network) - NO_DECAY
    return tuple(
        name
        for name, parameter in network.named_parameters()
        if name in kept and parameter.ndim > 1 and not name.endswith("bias")
    )


def build(model: UserModel, seed: int) -> "nn.Module":
    """The network, its first values drawn from the global generators under `seed`.

    Raises `UserCodeError` where the code is not that of the plan; what the function raises passes
    through.
    """
    import torch  # noqa: F401  so that its generator is seeded, too

    from illama.randomness import derive, generators_kept

    refuse_other_code(model.function, model.code)
    with generators_kept(derive(seed, "init")):
        return _network(model.function, model.options)


def _network(function: str, options: Mapping[str, Any]) -> "nn.Module":
    from torch import nn

    network = function_of(function)(**arguments_of("model", function, options))
    if not isinstance(network, nn.Module):
        raise UserCodeError(
            f"{function} returned {type(network).__name__}; expected a torch.nn.Module"
        )
    return network
