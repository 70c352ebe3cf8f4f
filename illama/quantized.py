"""Layers on whole-number grids: rounding, and layers that train as if they were quantised.

Symmetric uniform steps: weights with a scale for each output channel, activations with one for each
token. The gradient passes through the rounding as if it were not there (Bengio et al., arXiv
1308.3432). The paper trains so after Q-ViT (section 4.4, Table 7), whose step sizes are learned;
here they are the largest absolute value, as when a network is quantised after training.
"""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.config import Config, QuantizeConfig
from illama.model import make_network

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

SMALLEST = 1e-12
"""Least absolute value that a scale goes by, so that a row of zeros has one."""


def largest_code(bits: int) -> int:
    """Largest whole number of the symmetric grid of `bits` bits; its negative is the smallest."""
    return int(2 ** (bits - 1) - 1)


def rounded(values: Tensor, bits: int, dim: int | None, largest: Tensor | None = None) -> Tensor:
    """Values on the grid of symmetric `bits`-bit numbers.

    The scale is the largest absolute value along `dim`, of all where that is None, or `largest`
    where it is given; what is larger is cut off.
    """
    steps = largest_code(bits)
    if largest is None:
        largest = values.abs().amax() if dim is None else values.abs().amax(dim, keepdim=True)
    scale = largest.clamp(min=SMALLEST) / steps
    on_grid: Tensor = (values / scale).round().clamp(-steps, steps) * scale
    return on_grid


def straight_through(values: Tensor, bits: int) -> Tensor:
    """Values rounded with a scale for each row of the last dimension; the gradient is that of the
    values themselves.
    """
    values = values.float()  # autocast gives rounded numbers, too coarse to find a grid by
    change = rounded(values.detach(), bits, -1) - values.detach()
    return values + change


class QuantisedLinear(nn.Linear):
    """Linear layer whose weights, and where asked its inputs, are rounded in every forward pass.

    Parameters are those of the layer that it replaces, by the same names and in full precision.
    """

    settings: QuantizeConfig

    @classmethod
    def of(cls, layer: nn.Linear, settings: QuantizeConfig) -> Self:
        """Layer with the parameters of `layer`, shared and not copied."""
        made = cls(
            layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta"
        )
        made.weight, made.bias, made.settings = layer.weight, layer.bias, settings
        return made.train(layer.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: (..., in_features); returns (..., out_features)."""
        if self.settings.activations is not None:
            inputs = straight_through(inputs, self.settings.activations)
        weight = straight_through(self.weight, self.settings.weights)
        return F.linear(inputs, weight, self.bias)


def layers_to_quantise(network: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Linear layers inside the blocks with their names; of a network without blocks, all but the
    last one.
    """
    found = [(n, layer) for n, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if getattr(network, "blocks", None) is None:
        return found[:-1]
    return [(name, layer) for name, layer in found if name.startswith("blocks.")]


def network_of(config: Config) -> nn.Module:
    """Network that a training trains, its first values drawn from the training's seed."""
    return quantise(make_network(config.model, config.seed), config.train.quantize)


def quantise(network: AnyNetwork, settings: QuantizeConfig | None) -> AnyNetwork:
    """Make `network` compute on the grid of `settings`, in training and after; returns the network.

    Names and values of its parameters stay. Nothing happens without settings. Raises `ValueError`
    where no layer would be quantised.
    """
    if settings is None:
        return network
    layers = layers_to_quantise(network)
    if not layers:
        raise ValueError("train.quantize finds no linear layer in the network")
    replace_layers(network, [(name, QuantisedLinear.of(layer, settings)) for name, layer in layers])
    return network


def replace_layers(network: nn.Module, layers: Sequence[tuple[str, nn.Module]]) -> None:
    """Put modules into the places of those that have their names."""
    for name, layer in layers:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)


def largest_inputs(
    network: nn.Module, layers: Sequence[nn.Linear], images: Tensor
) -> dict[nn.Linear, Tensor]:
    """Largest absolute value that each layer is given, with as many dimensions as its input has."""
    found: dict[nn.Linear, Tensor] = {}

    def look(layer: Any, inputs: Any) -> None:
        found[layer] = inputs[0].abs().amax().reshape((1,) * inputs[0].ndim)

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return found
