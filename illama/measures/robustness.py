"""Robustness: error on corrupted images (after Hendrycks and Dietterich 2019, ImageNet-C).

Four corruptions at five strengths each: Gaussian noise, Gaussian blur, loss of contrast, JPEG.
Images are scaled so that the smallest and largest value of the measured images are 0 and 1,
corrupted, cut to that range, and scaled back. `mce` is the plain mean of the errors, in percent; it
is not divided by another network's, as the published benchmark does.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from torch import Tensor

NUMERICS_VERSION = 1

Pixels = npt.NDArray[np.float32]

STRENGTHS = {
    "noise": (0.04, 0.06, 0.08, 0.12, 0.18),
    "blur": (0.4, 0.6, 0.8, 1.0, 1.5),
    "contrast": (0.6, 0.45, 0.3, 0.2, 0.1),
    "jpeg": (50, 35, 25, 15, 8),
}
"""Standard deviation of the range; standard deviation in pixels of an image of at most 64 (in
proportion above); factor on the distance to the image's mean; JPEG's quality."""
QUANTITIES = {
    "mce": Quantity("min", "%", 2, "mean error over four corruptions at five strengths"),
    "clean": Quantity("min", "%", 2, "error on the images as they are"),
    **{
        name: Quantity("min", "%", 2, f"mean error under {name} at five strengths")
        for name in STRENGTHS
    },
}


@quantities(QUANTITIES)
def robustness(
    network: Network, data: Data, device: Device, seed: int, *, images: int = 2000
) -> Findings:
    """Errors of the first held-out images under each corruption."""
    import torch

    from illama.measures.passes import accuracy, first_images
    from illama.measures.pictures import lines

    pictures, labels = first_images(data.held_out(), images)
    low, high = pictures.min(), pictures.max()
    plain = ((pictures - low) / (high - low)).cpu()
    batches = list(zip(torch.split(pictures, 256), torch.split(labels, 256), strict=True))
    clean = 100 - accuracy(network, batches)
    errors: dict[str, list[float]] = {}
    for name, strengths in STRENGTHS.items():
        for strength in strengths:
            spoiled = corrupted(name, plain, strength, seed).clamp(0, 1).to(pictures)
            back = torch.split(spoiled * (high - low) + low, 256)
            error = 100 - accuracy(network, zip(back, torch.split(labels, 256), strict=True))
            errors.setdefault(name, []).append(error)
    means = {name: float(np.mean(of_each)) for name, of_each in errors.items()}
    values = {"mce": float(np.mean(list(means.values()))), "clean": clean, **means}
    series = {name: (list(range(6)), [clean, *of_each]) for name, of_each in errors.items()}
    drawing = lines(series, f"mean corruption error {values['mce']:.1f} %", "strength", "error, %")
    return Findings(values, {"error by strength": drawing})


def corrupted(name: str, images: "Tensor", strength: float, seed: int) -> "Tensor":
    """Images (B, channels, height, width) between 0 and 1, corrupted; not cut to that range."""
    kinds: dict[str, Callable[[Tensor, float, int], Tensor]] = {
        "noise": _noise,
        "blur": _blur,
        "contrast": _contrast,
        "jpeg": _jpeg,
    }
    return kinds[name](images, strength, seed)


def _noise(images: "Tensor", deviation: float, seed: int) -> "Tensor":
    import torch

    generator = torch.Generator().manual_seed(seed)
    return images + deviation * torch.randn(images.shape, generator=generator)


def _blur(images: "Tensor", deviation: float, seed: int) -> "Tensor":
    import torch
    from scipy.ndimage import gaussian_filter

    pixels = deviation * max(1.0, images.shape[-1] / 64)
    blurred = gaussian_filter(images.numpy(), (0, 0, pixels, pixels), mode="nearest")
    return torch.from_numpy(blurred)


def _contrast(images: "Tensor", factor: float, seed: int) -> "Tensor":
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + factor * (images - mean)


def _jpeg(images: "Tensor", quality: float, seed: int) -> "Tensor":
    import torch
    from PIL import Image

    def through(picture: Pixels) -> Pixels:
        file = io.BytesIO()
        pixels = np.round(picture * 255).astype(np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
        with Image.open(file) as opened:
            return np.asarray(opened, np.float32) / np.float32(255)

    if images.shape[1] == 3:
        found = [through(one.transpose(1, 2, 0)).transpose(2, 0, 1) for one in images.numpy()]
    else:  # each channel as a grey picture
        found = [np.stack([through(channel) for channel in one]) for one in images.numpy()]
    return torch.from_numpy(np.stack(found))
