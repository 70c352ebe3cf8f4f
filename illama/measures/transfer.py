"""Transfer: how well a network classifies other images, with its features as they are and
fine-tuned.

Features are what the last linear layer, the head, is given. Two classifiers are fitted on training
images and tested on held-out ones: k nearest neighbours by cosine similarity, and a linear probe
(logistic regression on standardised features). With `load` the images are another data set's: a
function `module:function` that returns train_images, train_labels, val_images and val_labels,
resized to the network's images.

With `epochs` a copy of the network is fine-tuned as well, as the paper does (section 4.3, Tables 9
and 16): its head replaced by an untrained one for the classes that are there, for images of `side`
x `side` pixels where that is given, its positions interpolated; AdamW, a warmup and a cosine,
batches of 64, no augmentation. The control is the same network from its first values, trained as
long.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

NUMERICS_VERSION = 2

_MOST_IMAGES = 5000
"""The most images of each part."""
_BATCH = 64

QUANTITIES = {
    "linear_probe": Quantity("max", "%", 2, "accuracy of logistic regression on the features"),
    "neighbours": Quantity("max", "%", 2, "accuracy of k nearest neighbours"),
    "fine_tuned": Quantity("max", "%", 2, "accuracy of a fine-tuned copy with a new head"),
    "from_scratch": Quantity("max", "%", 2, "accuracy of the same trained from first values"),
}


@quantities(QUANTITIES)
def transfer(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    load: str = "",
    neighbours: PositiveInt = 20,
    epochs: NonNegativeInt = 0,
    lr: PositiveFloat = 1e-3,
    side: Annotated[int, Field(ge=0, le=10_000)] = 0,
) -> Findings:
    """Accuracy of a linear probe, of nearest neighbours, and with `epochs` of a fine-tuned copy."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from illama.measures.passes import first_images

    if side and not epochs:
        raise ValueError("side is the size of the images for fine-tuning: give epochs as well")
    if load:
        train, test = _loaded(load, data, device)
    else:
        train = first_images(data.training(), _MOST_IMAGES)
        test = first_images(data.held_out(), _MOST_IMAGES)
    fitted, labels = features(network, train[0]), train[1].cpu().numpy()
    tested, wanted = features(network, test[0]), test[1].cpu().numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    nearest = KNeighborsClassifier(min(neighbours, len(labels)), metric="cosine")
    tuned = {}
    if epochs:
        steps = epochs * max(1, len(labels) // _BATCH)
        tuned = _fine_tuned(network, (train, test), side, (steps, lr), seed)
    return Findings(
        {
            "linear_probe": 100 * float(probe.fit(fitted, labels).score(tested, wanted)),
            "neighbours": 100 * float(nearest.fit(fitted, labels).score(tested, wanted)),
            **tuned,
        }
    )


def _fine_tuned(
    network: Network,
    parts: "tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]",
    side: int,
    recipe: tuple[int, float],
    seed: int,
) -> dict[str, float]:
    """Accuracy of a fine-tuned copy, and of a network of the same form that knew nothing before;
    of users' networks, which have no first values here, of the copy alone.
    """
    from illama.data.augment import resized as wide
    from illama.evaluation.adapted import resized, same_grid, with_new_head
    from illama.model import VisionTransformer

    (images, labels), (held_out, wanted) = parts
    classes = 1 + int(max(labels.max(), wanted.max()))
    if not isinstance(network, VisionTransformer):
        if side:
            raise ValueError("side works only with built-in networks: others have a fixed size")
        copies = {"fine_tuned": with_new_head(network, classes, seed)}
    else:
        size = side or network.config.pixels[0]
        adapted = resized(network, size, classes, seed)
        blank = VisionTransformer(adapted.config, seed).to(images.device)
        copies = {"fine_tuned": adapted, "from_scratch": same_grid(blank, network)}
    train, test = (
        [(wide(pixels, side or None), named)]
        for pixels, named in ((images, labels), (held_out, wanted))
    )
    return {name: _trained(copy, train, test, recipe, seed) for name, copy in copies.items()}


def _trained(network: Any, train: Any, test: Any, recipe: tuple[int, float], seed: int) -> float:
    """Accuracy on the second part, in percent, after training on the first."""
    import torch

    from illama.evaluation.adapted import fit
    from illama.measures.passes import accuracy

    steps, lr = recipe
    torch.manual_seed(seed)  # a network of others may draw
    fit(network.train(), train[0], steps=steps, lr=lr, seed=seed, batch=_BATCH)
    images, labels = test[0]
    batches = zip(torch.split(images, 256), torch.split(labels, 256), strict=True)
    return accuracy(network.eval(), batches)


def features(network: Network, images: "Tensor") -> "npt.NDArray[np.float64]":
    """Return what the network's last linear layer is given of each image: (images, channels)."""
    import numpy as np
    import torch
    from torch import nn

    heads = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not heads:
        raise ValueError("the network has no linear layer, so its features cannot be identified")
    found: list[npt.NDArray[np.float64]] = []

    def keep(layer: Any, inputs: Any) -> None:
        found.append(inputs[0].detach().double().cpu().numpy())

    handle = heads[-1].register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            for batch in torch.split(images, 256):
                network(batch)
    finally:
        handle.remove()
    return np.concatenate(found)


def _loaded(load: str, data: Data, device: Device) -> Any:
    """Images and labels of the other data set, both parts, normalised and resized."""
    import torch
    import torch.nn.functional as F

    from illama.config.imports import function_of
    from illama.dataset import checked

    found = checked(function_of(load)())
    example, _ = next(iter(data.held_out()))
    channels, *size = example.shape[1:]
    if found.shape[0] not in (1, channels):
        raise ValueError(
            f"{load} returned images of {found.shape[0]} channels, but the network takes {channels}"
        )

    def ready(name: str) -> "tuple[Tensor, Tensor]":
        pixels, labels = found.part(name)
        mean, std = (torch.from_numpy(x)[:, None, None] for x in (found.mean, found.std))
        images = (torch.from_numpy(pixels) - mean) / std
        resized = F.interpolate(images, size, mode="bilinear", antialias=True)
        resized = resized.expand(-1, channels, -1, -1)
        return resized.to(device), torch.from_numpy(labels).to(device)

    return ready("train"), ready("val")
