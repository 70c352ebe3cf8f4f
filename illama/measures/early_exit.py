"""Early exit: what each head of a network reads out, what it costs to get there, and what is saved
when easy images leave early (BranchyNet, arXiv 1709.01686, section 3).

An image leaves at the first exit whose largest class probability is at least `threshold`, else at
the end; on its way it has paid for every exit that it did not take. Operations are those of
`illama.cost.macs`: all tokens of every block that was passed.
"""

from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from illama.measures.base import OWN_BLOCKS, Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from illama.measures.passes import Floats

NUMERICS_VERSION = 1
_MOST_BLOCKS = 48

QUANTITIES = {
    "acc1": Quantity("max", "%", 2, "accuracy with images leaving at the threshold"),
    "macs": Quantity("min", "M", 3, "multiply-accumulates of an image, its mean"),
    "acc1_end": Quantity("max", "%", 2, "accuracy of the last head"),
    "macs_end": Quantity("min", "M", 3, "multiply-accumulates to the last head alone"),
}
for _block in range(1, _MOST_BLOCKS):
    QUANTITIES |= {
        f"acc1_block{_block}": Quantity("max", "%", 2, f"accuracy behind block {_block}"),
        f"macs_block{_block}": Quantity("min", "M", 3, f"operations up to block {_block}"),
        f"share_block{_block}": Quantity(None, "%", 1, f"images that leave at block {_block}"),
    }


@quantities(QUANTITIES, needs=[OWN_BLOCKS])
def early_exit(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.9,
) -> Findings:
    """Accuracy and operations at each exit, and of images that leave at `threshold`. Raises
    `ValueError` for a network without exits.
    """
    from illama.measures.passes import outputs
    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer) or not network.config.exits:
        raise ValueError("early_exit needs the heads of model.exits, but this network has none")
    logits, labels = outputs(
        lambda images: network(images, with_exits=True).transpose(0, 1), data.held_out()
    )  # (images, exits + 1, classes)
    blocks = [*network.config.exits, network.config.depth]
    alone, paid = costs(network.config)
    right = logits.argmax(2) == labels[:, None]  # (images, exits + 1)
    left = leaving(logits, threshold)
    values = {
        "acc1": 100 * float(right[np.arange(len(left)), left].mean()),
        "macs": float(np.array(paid)[left].mean()) / 1e6,
        "acc1_end": 100 * float(right[:, -1].mean()),
        "macs_end": alone[-1] / 1e6,
    }
    for index, block in enumerate(blocks[:-1]):
        values[f"acc1_block{block}"] = 100 * float(right[:, index].mean())
        values[f"macs_block{block}"] = alone[index] / 1e6
        values[f"share_block{block}"] = 100 * float((left == index).mean())
    return Findings(values)


def leaving(logits: "Floats", threshold: float) -> npt.NDArray[np.int64]:
    """Number of the head that each image leaves at, from logits (images, heads, classes)."""
    shifted = np.exp(logits - logits.max(2, keepdims=True))
    sure = (shifted / shifted.sum(2, keepdims=True)).max(2) >= threshold
    sure[:, -1] = True
    first: npt.NDArray[np.int64] = sure.argmax(1)
    return first


def costs(config: object) -> tuple[list[int], list[int]]:
    """Multiply-accumulates at each exit and the end: with that head alone, and with all heads in
    front of it.
    """
    from illama.config import ModelConfig
    from illama.cost import attention_macs, feed_forward_macs, macs

    assert isinstance(config, ModelConfig)
    count, head = config.tokens, config.embed_dim * config.num_classes
    kinds = config.of_blocks("feed_forward")
    later = [attention_macs(config, count) + feed_forward_macs(config, k, count) for k in kinds]
    whole = macs(config)
    blocks = [*config.exits, config.depth]
    alone = [whole - sum(later[block:]) for block in blocks]
    return alone, [cost + index * head for index, cost in enumerate(alone)]
