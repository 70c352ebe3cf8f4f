"""Shape or texture: which cue decides where the two disagree (paper, Table 8 and Figure 8).

`load` names a function `module:function` that returns images (n, channels, height, width), their
shape's class and their texture's class, both (n,), in the pixels' own range; in training the cues
must have agreed. As in Geirhos et al. 2019, images whose cues agree are left out, and the share is
that of shape decisions among those that are right by either cue.
"""

from illama.measures.base import Data, Device, Findings, Network, Quantity, quantities

NUMERICS_VERSION = 1

QUANTITIES = {
    "shape_share": Quantity("max", "%", 2, "decisions for the shape among those for either cue"),
    "by_shape": Quantity(None, "%", 2, "images decided by their shape"),
    "by_texture": Quantity(None, "%", 2, "images decided by their texture"),
}


@quantities(QUANTITIES)
def shape_texture(
    network: Network, data: Data, device: Device, seed: int, *, load: str = ""
) -> Findings:
    """Share of shape decisions on images whose cues conflict."""
    import numpy as np
    import torch

    from illama.config.imports import function_of
    from illama.measures.passes import outputs

    if not load:
        raise ValueError(
            "shape_texture needs images whose cues conflict: name a function that returns images, "
            "shape classes and texture classes, as in {name: shape_texture, load: 'cue:conflict'}"
        )
    pixels, shapes, textures = (np.asarray(array) for array in function_of(load)())
    example, _ = next(iter(data.held_out()))
    if pixels.shape[1:] != tuple(example.shape[1:]):
        raise ValueError(
            f"{load} returned images of {pixels.shape[1:]}; the network takes {tuple(example.shape[1:])}"
        )
    mean, std = data.normalisation()
    images = (torch.from_numpy(pixels.astype(np.float32)) - mean) / std
    logits, _ = outputs(network, [(images.to(device), torch.from_numpy(shapes))])
    return Findings(shape_share(logits.argmax(axis=1), shapes, textures))


def shape_share(predicted: object, shapes: object, textures: object) -> dict[str, float]:
    """Shares in percent, of images whose cues differ. All (n,)."""
    import numpy as np

    predicted, shapes, textures = (np.asarray(x) for x in (predicted, shapes, textures))
    conflict = shapes != textures
    if not conflict.any():
        raise ValueError("the cues agree in every image, so that nothing can be told")
    by_shape = float((predicted == shapes)[conflict].mean())
    by_texture = float((predicted == textures)[conflict].mean())
    either = by_shape + by_texture
    share = {"shape_share": 100 * by_shape / either} if either else {}
    return {**share, "by_shape": 100 * by_shape, "by_texture": 100 * by_texture}
