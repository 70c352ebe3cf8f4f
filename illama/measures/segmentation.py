"""Segmentation: how well a class for each patch can be told, frozen and fine-tuned.

A stand-in for the paper's Table 10 (ADE20K, UPerNet): boards of the network's own data set,
`places` images wide and high, a quarter of the places empty. A patch's label is its image's class,
and one more for an empty place. With one place a board is an image; with more the network's learned
positions are interpolated to it. A linear layer reads each patch from up to four blocks, evenly
spread over the depth, after a LayerNorm each; it is trained alone, `frozen`, and from there
together with the network. Boards for training are made of training images and those for testing of
held-out ones. Under a causal mask a patch cannot see what comes after it, which the picture shows
by the patch's place in its image.
"""

from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from illama.measures.base import OWN_BLOCKS, Data, Device, Findings, Network, Quantity, quantities

if TYPE_CHECKING:
    from torch import Tensor

NUMERICS_VERSION = 1

QUANTITIES = {
    "miou": Quantity("max", "%", 2, "mean intersection over union, fine-tuned"),
    "accuracy": Quantity("max", "%", 2, "patches given their class, fine-tuned"),
    "first_patch": Quantity("max", "%", 2, "accuracy of images' top left patches, fine-tuned"),
    "last_patch": Quantity("max", "%", 2, "accuracy of images' bottom right patches, fine-tuned"),
    "frozen_miou": Quantity("max", "%", 2, "mean intersection over union, the head alone trained"),
    "frozen_accuracy": Quantity("max", "%", 2, "patches given their class, the head alone trained"),
}
_BOARDS = 1000
"""Number of boards of each part."""
_LR = 1e-3
_HEAD_STEPS, _HEAD_LR = 600, 1e-2
_MOST_IMAGES = 5000
_FILLED = 0.75


@quantities(QUANTITIES, needs=[OWN_BLOCKS])
def segmentation(
    network: Network,
    data: Data,
    device: Device,
    seed: int,
    *,
    places: PositiveInt = 1,
    steps: PositiveInt = 150,
) -> Findings:
    """Mean intersection over union and accuracy of patches on boards of images."""
    import torch

    from illama.evaluation.adapted import resized
    from illama.evaluation.patches import PatchReader, fit, fit_head, predicted
    from illama.evaluation.segmentation import confusion, mean_iou, pixel_accuracy
    from illama.measures.pictures import heat_map
    from illama.model import VisionTransformer

    if not isinstance(network, VisionTransformer):
        raise ValueError("segmentation needs a built-in network, because it reads its blocks")
    if len(set(network.config.pixels)) > 1:
        raise ValueError(f"boards need square images, found {network.config.img_size}")
    made, tested, classes = _made(data, network.config.patch_size, places, seed)
    counted = (tested[1] < classes).cpu().numpy()
    torch.manual_seed(seed)
    wide = resized(network, network.config.pixels[0] * places)
    reader = PatchReader(wide, classes + 1).to(device)
    values: dict[str, float] = {}
    pictures: dict[str, str] = {}
    for kind, prefix in (("frozen", "frozen_"), ("fine-tuned", "")):
        if kind == "frozen":
            fit_head(reader, *made, steps=_HEAD_STEPS, lr=_HEAD_LR, seed=seed)
        else:
            fit(reader, *made, steps=steps, lr=_LR, seed=seed)
        found, truth = predicted(reader, tested[0]), tested[1].cpu().numpy()
        counts = confusion(found, truth, classes + 1)
        values[f"{prefix}miou"] = mean_iou(counts)
        values[f"{prefix}accuracy"] = pixel_accuracy(counts)
        right = places_in_image(found == truth, counted, places)
        title = f"{kind}: right patches, %, by place in the image"
        pictures[kind] = heat_map(right.round(1), title, "column", "row")
    values["first_patch"], values["last_patch"] = float(right[0, 0]), float(right[-1, -1])
    return Findings({name: values[name] for name in QUANTITIES}, pictures)


def _made(data: Data, patch_size: int, places: int, seed: int) -> Any:
    """Boards and labels of their patches, for training and for testing, and the number of
    classes.
    """
    from illama.measures.passes import first_images

    parts = [first_images(part, _MOST_IMAGES) for part in (data.training(), data.held_out())]
    classes = 1 + int(max(labels.max() for _, labels in parts))
    mean, std = data.normalisation()
    empty = -(mean / std).to(parts[0][0])  # pixels of 0
    side = parts[0][0].shape[-1] // patch_size
    made = []
    for number, (images, labels) in enumerate(parts):
        board, named = boards_of((images, labels), empty, places, _BOARDS, seed + number)
        made.append((board, patch_labels(named, side, classes)))
    return *made, classes


def boards_of(
    pool: "tuple[Tensor, Tensor]", empty: "Tensor", places: int, count: int, seed: int
) -> "tuple[Tensor, Tensor]":
    """Boards of images drawn with replacement, and the class of each place.

    pool: images (n, channels, side, side) and labels (n,); empty: (channels, 1, 1); returns
    (count, channels, places * side, places * side) and (count, places, places), -1 where empty.
    """
    import torch

    images, labels = pool
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(labels), (count, places, places), generator=draw)
    filled = torch.rand(count, places, places, generator=draw) < _FILLED
    chosen, filled = chosen.to(labels.device), filled.to(labels.device)
    cells = images[chosen]  # (count, places, places, channels, side, side)
    cells = torch.where(filled[..., None, None, None], cells, empty)
    wide = cells.permute(0, 3, 1, 4, 2, 5)  # (count, channels, places, side, places, side)
    side = images.shape[-1]
    board = wide.reshape(count, images.shape[1], places * side, places * side)
    return board, torch.where(filled, labels[chosen], -1)


def patch_labels(classes: "Tensor", side: int, empty: int) -> "Tensor":
    """Class of each patch of a board, row by row; `empty` for an empty place.

    classes: (B, places, places), -1 where empty; an image has `side` x `side` patches; returns
    (B, places * side * places * side).
    """
    import torch

    named = torch.where(classes < 0, empty, classes)
    return named.repeat_interleave(side, 1).repeat_interleave(side, 2).flatten(1)


def places_in_image(right: Any, counted: Any, places: int) -> Any:
    """Share of right patches in percent by row and column in their image.

    right, counted: (B, places * side * places * side), whether a patch is right, and whether it
    counts; returns (side, side).
    """
    side = round(right.shape[1] ** 0.5) // places
    by_place = (len(right), places, side, places, side)
    hits = (right & counted).reshape(by_place).sum(axis=(0, 1, 3))
    return 100 * hits / counted.reshape(by_place).sum(axis=(0, 1, 3))
