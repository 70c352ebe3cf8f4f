"""Transfer: how well a network's features classify without training it further.

Features are what the last linear layer, the head, is given. Two classifiers are fitted on training
images and tested on held-out ones: k nearest neighbours by cosine similarity, and a linear probe
(logistic regression on standardised features). With `load` the images are another data set's: a
function `module:function` that returns train_images, train_labels, val_images and val_labels,
resized to the network's images. The paper fine-tunes instead (section 4.3, Table 9).
"""

from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

NUMERICS_VERSION = 1

_MOST_IMAGES = 5000
"""The most images of each part."""

QUANTITIES = {
    "linear_probe": Quantity("max", "%", 2, "accuracy of logistic regression on the features"),
    "neighbours": Quantity("max", "%", 2, "accuracy of k nearest neighbours"),
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
) -> Findings:
    """Accuracy of a linear probe and of nearest neighbours on the network's features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from illama.measures.passes import first_images

    if load:
        train, test = _loaded(load, data, device)
    else:
        train = first_images(data.training(), _MOST_IMAGES)
        test = first_images(data.held_out(), _MOST_IMAGES)
    fitted, labels = features(network, train[0]), train[1].cpu().numpy()
    tested, wanted = features(network, test[0]), test[1].cpu().numpy()
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    nearest = KNeighborsClassifier(min(neighbours, len(labels)), metric="cosine")
    return Findings(
        {
            "linear_probe": 100 * float(probe.fit(fitted, labels).score(tested, wanted)),
            "neighbours": 100 * float(nearest.fit(fitted, labels).score(tested, wanted)),
        }
    )


def features(network: Network, images: "Tensor") -> "npt.NDArray[np.float64]":
    """What the network's last linear layer is given of each image: (images, channels)."""
    import numpy as np
    import torch
    from torch import nn

    heads = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not heads:
        raise ValueError(
            "the network has no linear layer, so that nothing says what its features are"
        )
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
            f"{load} returned images of {found.shape[0]} channels, and the network takes {channels}"
        )

    def ready(name: str) -> "tuple[Tensor, Tensor]":
        pixels, labels = found.part(name)
        mean, std = (torch.from_numpy(x)[:, None, None] for x in (found.mean, found.std))
        images = (torch.from_numpy(pixels) - mean) / std
        resized = F.interpolate(images, size, mode="bilinear", antialias=True)
        resized = resized.expand(-1, channels, -1, -1)
        return resized.to(device), torch.from_numpy(labels)

    return ready("train"), ready("val")
