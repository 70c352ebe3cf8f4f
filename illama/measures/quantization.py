"""Quantization after training: what a network loses with whole-number weights and activations.

A simulation on floating-point numbers, of the linear layers inside the blocks, which is what the
paper quantises (section 4.4, W8A8, trained for it after Q-ViT; this is without training). Symmetric
uniform steps: weights with a scale for each output channel, the largest absolute value over
2^(bits - 1) - 1; activations with a scale for each token, `dynamic`, or one for the layer, the
largest absolute value over 256 training images, `static`; `weights` leaves activations as they are.
Accumulation is exact, as in int32. Times are not simulated.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from torch import Tensor, nn

NUMERICS_VERSION = 1

QUANTITIES = {
    "acc1": Quantity("max", "%", 2, "accuracy with quantised layers"),
    "drop": Quantity("min", "%", 2, "accuracy that this costs"),
    "agreement": Quantity("max", "%", 2, "images whose predicted class stays"),
    "logit_change": Quantity("min", "nats", 4, "root mean square change of the logits"),
    "size": Quantity("min", "MB", 4, "parameters, those of quantised layers at their bits"),
    "size_before": Quantity("min", "MB", 4, "parameters at 32 bits"),
}
_CALIBRATION_IMAGES = 256


@quantities(QUANTITIES)
def quantization(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    bits: Annotated[int, Field(ge=2, le=16)] = 8,
    scheme: Literal["dynamic", "static", "weights"] = "dynamic",
) -> Findings:
    """Accuracy, agreement and size with the layers of the blocks quantised."""
    from illama.measures.passes import first_images, outputs

    before, labels = outputs(network, data.held_out())
    layers = quantised_layers(network)
    size_before = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    saved = sum(layer.weight.numel() for layer in layers) * (32 - bits) / 8 / 1e6
    scales: dict[Any, Tensor] = {}
    if scheme == "static":
        images, _ = first_images(data.training(), _CALIBRATION_IMAGES)
        scales = _largest_inputs(network, layers, images)
    handles = [
        layer.register_forward_pre_hook(_rounding(bits, scales.get(layer)))
        for layer in layers
        if scheme != "weights"
    ]
    kept = [layer.weight.data for layer in layers]
    try:
        for layer in layers:
            layer.weight.data = rounded(layer.weight.data, bits, dim=1)
        after, _ = outputs(network, data.held_out())
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight.data = weight
        for handle in handles:
            handle.remove()
    right, right_before = after.argmax(1) == labels, before.argmax(1) == labels
    return Findings(
        {
            "acc1": 100 * float(right.mean()),
            "drop": 100 * float(right_before.mean() - right.mean()),
            "agreement": 100 * float((after.argmax(1) == before.argmax(1)).mean()),
            "logit_change": float(((after - before) ** 2).mean() ** 0.5),
            "size": size_before - saved,
            "size_before": size_before,
        }
    )


def rounded(
    values: "Tensor", bits: int, dim: int | None, largest: "Tensor | None" = None
) -> "Tensor":
    """Values on the grid of symmetric `bits`-bit numbers.

    The scale is the largest absolute value along `dim`, of all where that is None, or `largest`
    where it is given; what is larger is cut off.
    """
    steps = 2 ** (bits - 1) - 1
    if largest is None:
        largest = values.abs().amax() if dim is None else values.abs().amax(dim, keepdim=True)
    scale = largest.clamp(min=1e-12) / steps
    on_grid: Tensor = (values / scale).round().clamp(-steps, steps) * scale
    return on_grid


def quantised_layers(network: Network) -> "list[nn.Linear]":
    """Linear layers inside the blocks; of a network without blocks, all but the last one."""
    from torch import nn

    inside = getattr(network, "blocks", None)
    found = [layer for layer in (inside or network).modules() if isinstance(layer, nn.Linear)]
    return found if inside is not None else found[:-1]


def _rounding(bits: int, largest: "Tensor | None") -> Callable[[Any, Any], Any]:
    """Hook that rounds a layer's input: with a scale for each token, or with the layer's own."""

    def hook(layer: Any, inputs: Any) -> Any:
        return (rounded(inputs[0], bits, -1, largest), *inputs[1:])

    return hook


def _largest_inputs(network: Network, layers: Any, images: "Tensor") -> "dict[Any, Tensor]":
    import torch

    found: dict[Any, Tensor] = {}

    def look(layer: Any, inputs: Any) -> None:
        found[layer] = inputs[0].abs().amax()

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return found
