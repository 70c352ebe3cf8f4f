"""Loss landscape: the training loss on a plane around the trained weights (paper, appendix J).

Two random directions, each filter of which is scaled to the norm of the network's own (Li et al.
2018, "filter normalisation"); vectors, such as biases and norms, stay as they are. The loss is the
mean cross-entropy of 256 training images without augmentation.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from torch import Tensor

NUMERICS_VERSION = 1

_IMAGES = 256

QUANTITIES = {
    "rise": Quantity("min", "nats", 4, "mean loss on the plane's rim minus that in its centre"),
    "centre": Quantity("min", "nats", 4, "loss of the trained network"),
}


@quantities(QUANTITIES)
def landscape(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    points: PositiveInt = 9,
    half_width: PositiveFloat = 0.5,
) -> Findings:
    """Loss on `points` x `points` places, up to `half_width` times the weights in each
    direction.
    """
    import torch
    import torch.nn.functional as F

    from illama.measures.passes import first_images
    from illama.measures.pictures import surface

    pictures, labels = first_images(data.training(), _IMAGES)
    centre = [parameter.detach().clone() for parameter in network.parameters()]
    first, second = (directions(centre, seed + index) for index in (0, 1))
    places = np.linspace(-half_width, half_width, points)
    losses = np.zeros((points, points))
    try:
        with torch.no_grad():
            for row, up in enumerate(places):
                for column, across in enumerate(places):
                    for parameter, start, one, two in zip(
                        network.parameters(), centre, first, second, strict=True
                    ):
                        parameter.copy_(start + across * one + up * two)
                    losses[row, column] = F.cross_entropy(network(pictures).float(), labels).item()
    finally:
        with torch.no_grad():
            for parameter, start in zip(network.parameters(), centre, strict=True):
                parameter.copy_(start)
    with torch.no_grad():
        middle = F.cross_entropy(network(pictures).float(), labels).item()
    rim = np.concatenate([losses[0], losses[-1], losses[1:-1, 0], losses[1:-1, -1]])
    values = {"rise": float(rim.mean()) - middle, "centre": middle}
    return Findings(values, {"plane": surface(losses, half_width, f"rise {values['rise']:.3f}")})


def directions(weights: "list[Tensor]", seed: int) -> "list[Tensor]":
    """A random direction for each tensor: each of its filters as long as that of the weights.

    A filter is what one output is computed from: all but the first dimension. Vectors get 0.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    found = []
    for weight in weights:
        drawn = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.ndim < 2:
            found.append(torch.zeros_like(weight))
            continue
        inner = tuple(range(1, weight.ndim))
        own = weight.square().sum(inner, keepdim=True).sqrt()
        length = drawn.square().sum(inner, keepdim=True).sqrt().clamp(min=1e-12)
        found.append(drawn * own / length)
    return found
