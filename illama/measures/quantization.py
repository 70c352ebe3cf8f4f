"""Quantization after training: what a network loses with whole-number weights and activations.

Of the linear layers inside the blocks, which is what the paper quantises (section 4.4, W8A8,
trained for it after Q-ViT). `weights` leaves activations as they are; `dynamic` gives them a scale
for each token, `static` one for the layer, from 256 training images. A network that was trained
with `train.quantize` computes on its own grid before and after.

`kernels: simulated` rounds floating-point numbers: symmetric uniform steps, of weights with a scale
for each output channel, the largest absolute value over 2^(bits - 1) - 1. Accumulation is exact, as
in int32. Times are not simulated. `kernels: torchao` converts the layers with torchao, whole
numbers in memory and eight-bit matrix products, and takes the time as well: eight bits in each
scheme, four with `weights`. It needs `pip install 'ablation-orchestrator[measures]'`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

NUMERICS_VERSION = 2

QUANTITIES = {
    "acc1": Quantity("max", "%", 2, "accuracy with quantised layers"),
    "drop": Quantity("min", "%", 2, "accuracy that this costs"),
    "agreement": Quantity("max", "%", 2, "images whose predicted class stays"),
    "logit_change": Quantity("min", "nats", 4, "root mean square change of the logits"),
    "size": Quantity("min", "MB", 4, "parameters, those of quantised layers at their bits"),
    "size_before": Quantity("min", "MB", 4, "parameters at 32 bits"),
    "latency": Quantity("min", "ms", 3, "one image through the converted network, median"),
    "latency_before": Quantity("min", "ms", 3, "one image through the network as it was, median"),
}
_CALIBRATION_IMAGES = 256
_REPEATS = 30

Scheme = Literal["dynamic", "static", "weights"]


@quantities(QUANTITIES)
def quantization(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    bits: Annotated[int, Field(ge=2, le=16)] = 8,
    scheme: Scheme = "dynamic",
    kernels: Literal["simulated", "torchao"] = "simulated",
) -> Findings:
    """Accuracy, agreement, size and with torchao the time, with the blocks' layers quantised."""
    from illama.measures.passes import first_images, median_seconds, outputs
    from illama.quantized import layers_to_quantise

    before, labels = outputs(network, data.held_out())
    weights = sum(layer.weight.numel() for _, layer in layers_to_quantise(network))
    size_before = sum(parameter.numel() for parameter in network.parameters()) * 4 / 1e6
    size = size_before - weights * (32 - bits) / 8 / 1e6
    images = None
    if scheme == "static":
        images, _ = first_images(data.training(), _CALIBRATION_IMAGES)
    times = {}
    if kernels == "torchao":
        from illama.measures.torchao_layers import converted

        made = converted(network, bits, scheme, images)
        after, _ = outputs(made, data.held_out())
        one = next(iter(data.held_out()))[0][:1]
        times["latency"] = 1e3 * median_seconds(made, one, _REPEATS)
        times["latency_before"] = 1e3 * median_seconds(network, one, _REPEATS)
    else:
        after = _simulated(network, data, bits, scheme, images)
    right, right_before = after.argmax(1) == labels, before.argmax(1) == labels
    return Findings(
        {
            "acc1": 100 * float(right.mean()),
            "drop": 100 * float(right_before.mean() - right.mean()),
            "agreement": 100 * float((after.argmax(1) == before.argmax(1)).mean()),
            "logit_change": float(((after - before) ** 2).mean() ** 0.5),
            "size": size,
            "size_before": size_before,
            **times,
        }
    )


def _simulated(
    network: Network, data: Data, bits: int, scheme: Scheme, images: "Tensor | None"
) -> "np.ndarray[Any, Any]":
    """Logits of the held-out images with the layers rounded; the network stays as it was."""
    from illama.measures.passes import outputs
    from illama.quantized import largest_inputs, layers_to_quantise, rounded

    layers = [layer for _, layer in layers_to_quantise(network)]
    scales = {} if images is None else largest_inputs(network, layers, images)
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
    return after


def _rounding(bits: int, largest: "Tensor | None") -> Callable[[Any, Any], Any]:
    """Hook that rounds a layer's input: with a scale for each token, or with the layer's own."""
    from illama.quantized import rounded

    def hook(layer: Any, inputs: Any) -> Any:
        return (rounded(inputs[0], bits, -1, largest), *inputs[1:])

    return hook
