"""Shape or texture: which cue decides where the two disagree (paper, Table 8 and Figure 8).

`load` names a function `module:function` that returns images (n, channels, height, width), their
shape's class and their texture's class, both (n,), in the pixels' own range; in training the cues
must have agreed. For a network of ImageNet's 1,000 classes, `folder` names, in the folder of all
data, the 1,280 published images instead, and must also hold `human_categories.py`; the class is
then the one of 16 whose ImageNet classes have the highest mean probability. As in Geirhos et al.
(ICLR 2019), images whose cues agree are left out, and the share is that of shape decisions among
those that are right by either cue.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Decisions: TypeAlias = tuple[
        npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]
    ]

NUMERICS_VERSION = 1

QUANTITIES = {
    "shape_share": Quantity("max", "%", 2, "decisions for the shape among those for either cue"),
    "by_shape": Quantity(None, "%", 2, "images decided by their shape"),
    "by_texture": Quantity(None, "%", 2, "images decided by their texture"),
}


def _look(directory: "Path", options: "Mapping[str, Any]") -> None:
    from illama.data.cue_conflict import imagenet_classes, read

    if options["folder"]:
        read(directory / options["folder"])
        imagenet_classes(directory / options["folder"] / "human_categories.py")


@quantities(QUANTITIES, reads=_look)
def shape_texture(
    network: Network, data: Data, device: Device, seed: int, *, load: str = "", folder: str = ""
) -> Findings:
    """Share of shape decisions on images whose cues conflict."""
    if bool(load) == bool(folder):
        raise ValueError(
            "shape_texture needs images with conflicting cues, from one source: name a function "
            "that returns images, shape classes and texture classes, as in {name: "
            "shape_texture, load: "
            "'cue:conflict'}, or with 'folder' the published cue-conflict images"
        )
    decide = _by_function if load else _by_folder
    return Findings(shape_share(*decide(network, data, device, load or folder)))


def _by_function(network: Network, data: Data, device: Device, load: str) -> "Decisions":
    """Decisions, shapes and textures of the images that a function returns, all (n,)."""
    import numpy as np
    import torch

    from illama.config.imports import function_of
    from illama.measures.passes import outputs

    pixels, shapes, textures = (np.asarray(array) for array in function_of(load)())
    example, _ = next(iter(data.held_out()))
    if pixels.shape[1:] != tuple(example.shape[1:]):
        raise ValueError(
            f"{load} returned images of {pixels.shape[1:]}, but the network takes "
            f"{tuple(example.shape[1:])}"
        )
    mean, std = data.normalisation()
    images = (torch.from_numpy(pixels.astype(np.float32)) - mean) / std
    logits, _ = outputs(network, [(images.to(device), torch.from_numpy(shapes))])
    return logits.argmax(axis=1), shapes, textures


def _by_folder(network: Network, data: Data, device: Device, folder: str) -> "Decisions":
    """Decisions among the 16 classes, shapes and textures of the published images, all (n,)."""
    import numpy as np
    import torch

    from illama.data.cue_conflict import imagenet_classes, read
    from illama.data.transforms import for_validation, read_image, to_array

    pictures = read(data.directory / folder)
    classes = imagenet_classes(data.directory / folder / "human_categories.py")
    size = next(iter(data.held_out()))[0].shape[-1]
    chosen = []
    for picture in pictures:
        pixels = to_array(for_validation(read_image(picture.path), size))
        with torch.no_grad():
            logits = network(torch.from_numpy(pixels)[None].to(device))
        chosen.append(decision(logits[0].double().softmax(dim=0).cpu().numpy(), classes))
    shapes = np.array([picture.shape for picture in pictures])
    textures = np.array([picture.texture for picture in pictures])
    return np.array(chosen), shapes, textures


def decision(probabilities: "npt.NDArray[np.float64]", classes: "Sequence[Sequence[int]]") -> int:
    """Class whose ImageNet classes have the highest mean probability. probabilities: (1000,).

    Raises `ValueError` for another number of classes.
    """
    if probabilities.shape != (1000,):
        raise ValueError(
            f"the 16 classes of cue-conflict images are groups of ImageNet's 1000, but the network "
            f"has {len(probabilities)}; use 'load' with images of its own classes"
        )
    means = [float(probabilities[list(numbers)].mean()) for numbers in classes]
    return means.index(max(means))


def shape_share(predicted: object, shapes: object, textures: object) -> dict[str, float]:
    """Shares in percent, of images whose cues differ. All (n,)."""
    import numpy as np

    predicted, shapes, textures = (np.asarray(x) for x in (predicted, shapes, textures))
    conflict = shapes != textures
    if not conflict.any():
        raise ValueError("the cues agree in every image, so there is nothing to measure")
    by_shape = float((predicted == shapes)[conflict].mean())
    by_texture = float((predicted == textures)[conflict].mean())
    either = by_shape + by_texture
    share = {"shape_share": 100 * by_shape / either} if either else {}
    return {**share, "by_shape": 100 * by_shape, "by_texture": 100 * by_texture}
