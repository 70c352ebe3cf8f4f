"""Quantization after training with scales that are moved into the weights (RepQ-ViT, arXiv
2212.08254; RepQuant, arXiv 2402.05628), a simulation on floating-point numbers.

Uniform quantisers have a scale s and a zero point z, q = clip(round(x / s) + z). What a norm puts
out varies between channels, so it gets s and z for each channel, and then one pair for all of them,
s' and z' their means: with r = s / s' and t = z - z' for each channel,

    gamma' = gamma / r,   beta' = (beta + s t) / r,   W' = W r,   b' = b - W (s t),

the layer computes what it did, and one scale for all of x' rounds as the scales for each channel
did for x. What the softmax puts out is rounded to powers of the root of 2 of its largest value m:

    q = round(-2 log2(a / m)),    a' = m 2^(-q / 2),    0 from 2^bits on

Weights have s and z for each output channel, all else (queries, keys, values, inputs of the second
linears) for the layer. Ranges are minima and maxima over 256 training images. As in the measure
`quantization`, the linears inside the blocks are quantised, and here their attention, too. An
RMSNorm has no shift that could take a zero point up, so behind one z is the same for all channels.

The root of 2 steps by 41 % however many bits there are, so where attention has no long tail (few
tokens) and bits are many, a uniform quantiser is finer: `acc1_plain` shows it.

Left out: the search for ranges among percentiles, of RepQuant its pruning of outliers between
channels, and its reconstruction of the weights after rounding.
"""

import copy
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from illama.measures.base import OWN_BLOCKS, Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from illama.model import VisionTransformer

NUMERICS_VERSION = 1

QUANTITIES = {
    "acc1": Quantity("max", "%", 2, "accuracy with quantised blocks"),
    "drop": Quantity("min", "%", 2, "accuracy that this costs"),
    "agreement": Quantity("max", "%", 2, "images whose predicted class stays"),
    "logit_change": Quantity("min", "nats", 4, "root mean square change of the logits"),
    "acc1_plain": Quantity("max", "%", 2, "accuracy with one scale for each layer, softmax too"),
}
_CALIBRATION_IMAGES = 256


@quantities(QUANTITIES, needs=[OWN_BLOCKS])
def repq(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    bits: Annotated[int, Field(ge=2, le=16)] = 4,
) -> Findings:
    """Accuracy and agreement with weights, activations and attention at `bits`, and beside it
    without the two ideas. Raises `ValueError` where a block has parts.
    """
    from illama.evaluation.repq import quantised
    from illama.measures.passes import first_images, outputs

    known = _checked(network)
    images, _ = first_images(data.training(), _CALIBRATION_IMAGES)
    before, labels = outputs(known, data.held_out())
    after, plain = (
        outputs(quantised(copy.deepcopy(known), images, bits, plain=is_plain), data.held_out())[0]
        for is_plain in (False, True)
    )
    right, right_before = after.argmax(1) == labels, before.argmax(1) == labels
    return Findings(
        {
            "acc1": 100 * float(right.mean()),
            "drop": 100 * float(right_before.mean() - right.mean()),
            "agreement": 100 * float((after.argmax(1) == before.argmax(1)).mean()),
            "logit_change": float(((after - before) ** 2).mean() ** 0.5),
            "acc1_plain": 100 * float((plain.argmax(1) == labels).mean()),
        }
    )


def _checked(network: Network) -> "VisionTransformer":
    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer):
        raise ValueError("repq needs a built-in network, because it changes its blocks")
    config = network.config
    kinds = ("mixer", "feed_forward", "norm")
    chosen = [choice for kind in kinds for choice in config.of_blocks(kind)]
    parts = {choice.name for choice in chosen if not isinstance(choice, str)}
    if parts or config.low_rank:
        found = ", ".join(sorted(parts)) or "low_rank"
        raise ValueError(f"repq moves scales of built-in blocks with whole linears, found {found}")
    return network
