"""Patches of a network read by a linear layer on several of its blocks."""

from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.evaluation import adapted
from illama.model import VisionTransformer

_LAYERS = 4
_BATCH = 32


def layers_to_read(depth: int) -> list[int]:
    """Numbers of up to four blocks, evenly spread over the depth, the last one among them."""
    count = min(_LAYERS, depth)
    return [depth * (number + 1) // count - 1 for number in range(count)]


class PatchReader(nn.Module):
    """Network whose patches a linear layer reads, from up to four blocks evenly spread over the
    depth.

    Each block's tokens pass through a LayerNorm without weights.
    """

    def __init__(self, network: VisionTransformer, classes: int) -> None:
        super().__init__()
        self.network = network
        self.layers = layers_to_read(len(network.blocks))
        self.head = nn.Linear(len(self.layers) * network.config.embed_dim, classes)

    def features(self, images: Tensor) -> Tensor:
        """Patches of the blocks that are read, (B, P, layers * D), row by row."""
        found: list[Tensor] = []

        def keep(block: nn.Module, given: object, tokens: Tensor) -> None:
            found.append(tokens)

        blocks = [self.network.blocks[layer] for layer in self.layers]
        handles = [block.register_forward_hook(keep) for block in blocks]
        try:
            self.network.forward_features(images)
        finally:
            for handle in handles:
                handle.remove()
        back = self.network.order.argsort()  # from the order of the scan to rows
        patches = [tokens[:, self.network.config.place(0).patches][:, back] for tokens in found]
        return torch.cat([F.layer_norm(x, x.shape[-1:]) for x in patches], dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each patch, (B, P, classes)."""
        return cast(Tensor, self.head(self.features(images)))


def fit_head(
    reader: PatchReader, images: Tensor, labels: Tensor, *, steps: int, lr: float, seed: int
) -> None:
    """Train the linear layer alone; the network stays as it is. Arguments as for `fit`."""
    with torch.no_grad():
        batches = torch.split(images, 2 * _BATCH)
        features = torch.cat([reader.features(batch) for batch in batches])
    adapted.fit(reader.head, (features, labels), steps=steps, lr=lr, seed=seed, batch=_BATCH)


def fit(
    reader: PatchReader, images: Tensor, labels: Tensor, *, steps: int, lr: float, seed: int
) -> None:
    """Train network and linear layer by AdamW on cross-entropy, in batches of 32.

    images: (n, channels, height, width), labels: (n, P). The learning rate warms up to `lr` and
    decays by a cosine.
    """
    adapted.fit(reader, (images, labels), steps=steps, lr=lr, seed=seed, batch=_BATCH)


@torch.no_grad()
def predicted(reader: PatchReader, images: Tensor) -> npt.NDArray[np.int64]:
    """Class of each patch, (n, P)."""
    batches = torch.split(images, 2 * _BATCH)
    return torch.cat([reader(batch).argmax(dim=-1) for batch in batches]).cpu().numpy()
