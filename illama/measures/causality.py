"""Causality: what a token can see, and which patches the answer depends on.

Under LLaMA's additive mask no patch can change a token before it, so `leak` is exactly 0. Under the
released code's multiplicative mask the softmax runs over all tokens before the mask takes some
away, and a later patch changes an earlier token through the denominator (paper, equation 2 and its
code).
"""

import numpy as np
import numpy.typing as npt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

NUMERICS_VERSION = 1

Floats = npt.NDArray[np.float64]

QUANTITIES = {
    "leak": Quantity(
        None, decimals=5, text="change of the first patch's token when the last patch changes"
    ),
    "first_half": Quantity(
        None, decimals=3, text="share of the gradient that goes to the upper half of the image"
    ),
    "logit_std": Quantity("max", "nats", 4, "standard deviation of the logits over images"),
}


@quantities(QUANTITIES)
def causality(
    network: Network, data: Data, device: Device, seed: int, *, images: int = 64
) -> Findings:
    """Leak through the mask, where gradients come from, and whether the output sees the image.

    `leak` is the root mean square change of the first patch's token, after the last block, over the
    root mean square of that token, when the last patch is exchanged for another image's; only of
    the built-in networks. Gradients are those of the largest logit for the pixels, as norms.
    """
    from illama.evaluation.accuracy import LogitSpread
    from illama.measures.passes import first_images
    from illama.measures.pictures import heat_map

    pictures, _ = first_images(data.held_out(), images)
    pictures = pictures.detach().clone().requires_grad_()
    logits = network(pictures)
    logits.amax(dim=1).sum().backward()
    assert pictures.grad is not None
    strength = pictures.grad.double().square().sum(dim=1).sqrt().mean(dim=0).cpu().numpy()
    spread = LogitSpread()
    spread.add(logits.detach().double())
    half = strength.shape[0] // 2
    total = float(strength.sum())
    values = {
        **_leak(network, pictures.detach()),
        "first_half": float(strength[:half].sum()) / total if total else 0.5,
        "logit_std": spread.std(),
    }
    network.zero_grad()
    drawing = heat_map(_coarse(strength), "gradient by place", "column", "row")
    return Findings(values, {"gradient": drawing})


def _leak(network: Network, images: object) -> dict[str, float]:
    import torch

    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer):
        return {}
    assert isinstance(images, torch.Tensor)
    size = network.config.patch_size
    changed = images.clone()
    changed[:, :, -size:, -size:] = images.roll(1, dims=0)[:, :, -size:, -size:]
    first = int(network.config.class_token == "first")
    with torch.no_grad():
        before = network.encode(images)[:, first].double()
        after = network.encode(changed)[:, first].double()
    size_of_token = before.square().mean().sqrt()
    return {"leak": float((after - before).square().mean().sqrt() / size_of_token)}


def _coarse(strength: Floats) -> Floats:
    """A coarser image: at most 16 x 16 means of neighbouring pixels."""
    rows, columns = (max(1, -(-side // 16)) for side in strength.shape)
    height, width = (strength.shape[0] // rows) * rows, (strength.shape[1] // columns) * columns
    cut = strength[:height, :width]
    blocks = cut.reshape(height // rows, rows, width // columns, columns)
    means: Floats = blocks.mean(axis=(1, 3))
    return means
