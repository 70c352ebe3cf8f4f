"""Rank of attention maps: how many directions a map needs (paper, section 3.7, Figures 4 and 11).

The singular values of a map, largest first, are divided by their sum and summed up; the rank is the
first index, counted from 1, at which that reaches `threshold` (0.8). It is taken for each image,
layer and head, and averaged over images; the paper does not say in which order it averages, nor
whether its maps are those before or after the mask.

The mask alone moves this number: a triangular map of random scores has another rank than a full
one. So each number stands beside its controls: the same network untrained, and maps of random
scores (normal, variance 1) under the same mask.
"""

from typing import cast

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

NUMERICS_VERSION = 1

Floats = npt.NDArray[np.float64]

_OF = "index, mean over images, layers and heads"
QUANTITIES = {
    "rank": Quantity("max", decimals=2, text=f"of the maps after the mask: {_OF}"),
    "rank_unmasked": Quantity("max", decimals=2, text="of the maps before the mask"),
    "untrained": Quantity(None, decimals=2, text="rank of the same network before training"),
    "untrained_unmasked": Quantity(None, decimals=2, text="before the mask, before training"),
    "random": Quantity(None, decimals=2, text="rank of random scores under the same mask"),
    "first_layer": Quantity("max", decimals=2, text="rank in the first layer"),
    "last_layer": Quantity("max", decimals=2, text="rank in the last layer"),
}


@quantities(QUANTITIES, needs=["attention_maps"])
def attention_rank(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    images: PositiveInt = 30,
    threshold: float = 0.8,
) -> Findings:
    """Ranks of the first held-out images' maps, with an untrained and a random control."""
    from illama.measures.passes import first_images
    from illama.measures.pictures import heat_map
    from illama.quantized import network_of

    pictures, _ = first_images(data.held_out(), images)
    before, after = _ranks(network, pictures, threshold)  # each (layers, heads)
    blank = network_of(data.config).to(device).eval()
    blank_before, blank_after = _ranks(blank, pictures, threshold)
    values = {
        "rank": float(after.mean()),
        "rank_unmasked": float(before.mean()),
        "untrained": float(blank_after.mean()),
        "untrained_unmasked": float(blank_before.mean()),
        **_random_control(network, pictures, seed, threshold),
        "first_layer": float(after[0].mean()),
        "last_layer": float(after[-1].mean()),
    }
    drawing = heat_map(after, f"rank after the mask, {values['rank']:.2f}", "head", "layer")
    return Findings(values, {"by layer and head": drawing})


def rank_index(maps: npt.NDArray[np.floating], threshold: float = 0.8) -> npt.NDArray[np.int64]:
    """First index, from 1, at which normalised cumulative singular values reach `threshold`.

    maps: (..., N, N); returns (...).
    """
    values = np.linalg.svd(np.asarray(maps, np.float64), compute_uv=False)
    share = values.cumsum(axis=-1) / values.sum(axis=-1, keepdims=True)
    found: npt.NDArray[np.int64] = (share < threshold - 1e-12).sum(axis=-1) + 1
    return found


def _ranks(network: Network, images: object, threshold: float) -> tuple[Floats, Floats]:
    """Return the ranks before and after the mask, mean over images, each (layers, heads)."""
    import torch

    with torch.no_grad():
        maps = cast("object", network).attention_maps(images)  # type: ignore[attr-defined]
    found = [
        np.stack([rank_index(of_layer[form].cpu().numpy(), threshold).mean(0) for of_layer in maps])
        for form in (0, 1)
    ]
    return found[0], found[1]


def _random_control(
    network: Network, images: object, seed: int, threshold: float
) -> dict[str, float]:
    """Rank of maps of random scores under the masks of the network; nothing of a user's network."""
    import torch

    from illama.cost import tokens
    from illama.masks import Mask, masked_weights
    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer):
        return {}
    generator = torch.Generator().manual_seed(seed)
    count = tokens(network.config)
    ranks = []
    for kind in network.config.attentions:
        scores = torch.randn(30, count, count, generator=generator)
        if kind == "bidirectional":
            weights = scores.softmax(dim=-1)
        else:
            mask = cast(Mask, network.masks[kind])
            weights = masked_weights(scores, mask.matrix.cpu(), mask.additive)
        ranks.append(rank_index(weights.numpy(), threshold).mean())
    return {"random": float(np.mean(ranks))}
