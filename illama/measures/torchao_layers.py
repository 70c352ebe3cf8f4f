"""Layers converted by torchao, which the measure `quantization` is asked for with `kernels`."""

import copy
from typing import Any, Literal

from torch import Tensor, nn

from illama.quantized import largest_inputs, layers_to_quantise, replace_layers

Scheme = Literal["dynamic", "static", "weights"]

_LARGEST = 127
"""Largest eight-bit number of torchao's symmetric grid."""


def converted(network: nn.Module, bits: int, scheme: Scheme, images: Tensor | None) -> nn.Module:
    """Copy of the network whose layers hold whole numbers.

    `images` (n, channels, height, width) are what `static` finds the scales by. Raises `ValueError`
    for bits that torchao has no such layers for, and `ModuleNotFoundError` without torchao.
    """
    if (bits, scheme) not in ((8, "dynamic"), (8, "static"), (8, "weights"), (4, "weights")):
        raise ValueError(
            f"kernels torchao does not support {bits} bits with scheme {scheme}: it supports 8 "
            "bits in every scheme, and 4 with scheme weights; kernels simulated supports any"
        )
    try:
        from torchao import quantization as torchao
    except ImportError as error:
        raise ModuleNotFoundError(
            "kernels torchao needs torchao: pip install 'ablation-orchestrator[measures]', "
            f"or use kernels simulated ({error})"
        ) from error
    scales = {}
    if images is not None:
        named = {layer: name for name, layer in layers_to_quantise(network)}
        largest = largest_inputs(network, list(named), images)
        scales = {named[layer]: value / _LARGEST for layer, value in largest.items()}
    copied = copy.deepcopy(network)
    for name, layer in layers_to_quantise(copied):
        plain = nn.Linear(
            layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta"
        )
        plain.weight, plain.bias = layer.weight, layer.bias
        torchao.quantize_(plain, _settings(torchao, bits, scheme, scales.get(name)))
        replace_layers(copied, [(name, plain)])
    return copied.eval()


def _settings(torchao: Any, bits: int, scheme: Scheme, scale: Tensor | None) -> Any:
    """Return torchao's settings for the conversion of one layer."""
    if bits == 4:
        import torch

        return torchao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            granularity=torchao.PerAxis(axis=0),
        )
    if scheme == "weights":
        return torchao.Int8WeightOnlyConfig(version=2, set_inductor_config=False)
    if scheme == "dynamic":
        return torchao.Int8DynamicActivationInt8WeightConfig(version=2, set_inductor_config=False)
    return torchao.Int8StaticActivationInt8WeightConfig(
        act_quant_scale=scale,
        granularity=[torchao.PerTensor(), torchao.PerRow()],
        set_inductor_config=False,
    )
