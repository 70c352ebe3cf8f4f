"""Scenes as a network of one size sees them: crops for training, and windows that slide for
scoring.

As is usual on ADE20K: the shorter side is brought to the crop's, in training times a factor from
1/2 to 2; windows overlap by a third, and their logits are averaged; with several scales and
mirrored pictures the probabilities are.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from illama.data.ade20k import Scene, classes_of
from illama.evaluation.segmentation import IGNORED

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Factors of the image's size in the usual scores at several scales."""
_FACTORS = (0.5, 2.0)
_MOST_OF_ONE_CLASS = 0.75
_TRIES = 10

Classes = npt.NDArray[np.int64]


def pixels_of(scene: Scene) -> Tensor:
    """Picture, (3, height, width), from 0 to 255. Raises `ValueError` for a file that is none."""
    from illama.data.transforms import read_image

    image = np.asarray(read_image(scene.picture).convert("RGB"), np.float32)
    return torch.from_numpy(image.transpose(2, 0, 1))


def crops(
    scenes: Sequence[Scene], side: int, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches for training without end: pixels (batch, 3, side, side) from 0 to 255, and classes.

    A scene is drawn, scaled, cut and mirrored at random; what lies beyond a small one has pixels of
    0 and no class. Colours stay.
    """
    draw = np.random.RandomState(seed)
    while True:
        chosen = [scenes[draw.randint(len(scenes))] for _ in range(batch)]
        made = [_crop(scene, side, draw) for scene in chosen]
        yield torch.stack([pixels for pixels, _ in made]), torch.stack([named for _, named in made])


def _crop(scene: Scene, side: int, draw: np.random.RandomState) -> tuple[Tensor, Tensor]:
    pixels, named = pixels_of(scene), torch.from_numpy(classes_of(scene.annotation))
    size = _scaled(pixels.shape[-2:], side * draw.uniform(*_FACTORS))
    pixels = F.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    named = F.interpolate(named[None, None].float(), size, mode="nearest-exact")[0, 0].long()
    pixels, named = _padded(pixels, side, 0.0), _padded(named[None], side, IGNORED)[0]
    for _ in range(_TRIES):
        top, left = (draw.randint(extent - side + 1) for extent in named.shape)
        cut = named[top : top + side, left : left + side]
        if not _is_of_one_class(cut):
            break
    window = pixels[:, top : top + side, left : left + side]
    if draw.uniform() < 0.5:
        window, cut = window.flip(-1), cut.flip(-1)
    return window, cut


def _is_of_one_class(named: Tensor) -> bool:
    """Tell whether one class has most of the pixels that have one, or none has any."""
    counts = torch.bincount(named[named != IGNORED])
    return not len(counts) or bool(counts.max() >= _MOST_OF_ONE_CLASS * counts.sum())


def predicted(
    network: Callable[[Tensor], Tensor],
    pixels: Tensor,
    size: tuple[int, int],
    side: int,
    scales: Sequence[float] = (1.0,),
    mirrored: bool = False,
) -> Classes:
    """Class of each pixel, of `size` (height, width).

    pixels: (3, height, width), normalised. The network takes (1, 3, side, side) and returns logits
    (1, classes, side, side).
    """
    total: Tensor | None = None
    for scale in scales:
        wanted = _scaled(pixels.shape[-2:], side * scale)
        image = F.interpolate(pixels[None], wanted, mode="bilinear", antialias=True)
        for flip in (False, True) if mirrored else (False,):
            logits = windows(network, image.flip(-1) if flip else image, side)
            logits = logits.flip(-1) if flip else logits
            whole = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            share = whole.softmax(dim=1)
            total = share if total is None else total + share
    assert total is not None
    found: Classes = total.argmax(dim=1)[0].cpu().numpy()
    return found


def windows(network: Callable[[Tensor], Tensor], image: Tensor, side: int) -> Tensor:
    """Mean of the logits of all windows that see a pixel. image: (1, 3, height, width); returns
    (1, classes, height, width).
    """
    height, width = image.shape[-2:]
    padded = _padded(image[0], side, 0.0)[None]
    rows, columns = (_starts(extent, side) for extent in padded.shape[-2:])
    places = [
        (..., slice(top, top + side), slice(left, left + side)) for top in rows for left in columns
    ]
    found = [network(padded[place]) for place in places]
    total = found[0].new_zeros(1, found[0].shape[1], *padded.shape[-2:])
    count = torch.zeros_like(total[:, :1])
    for place, logits in zip(places, found, strict=True):
        total[place] += logits
        count[place] += 1
    return (total / count)[..., :height, :width]


def _starts(extent: int, side: int) -> list[int]:
    """Return where windows begin: two thirds of a side apart, the last one at the end."""
    stride = max(1, side * 2 // 3)
    return sorted({min(start, extent - side) for start in range(0, extent, stride)})


def _scaled(size: Sequence[int], shorter: float) -> tuple[int, int]:
    """Height and width with the shorter side brought to `shorter`."""
    factor = shorter / min(size)
    height, width = (max(1, round(extent * factor)) for extent in size)
    return height, width


def _padded(values: Tensor, side: int, value: float) -> Tensor:
    """Values (channels, height, width) with as much behind and below as a window needs."""
    height, width = values.shape[-2:]
    missing = (0, max(0, side - width), 0, max(0, side - height))
    return F.pad(values, missing, value=value)
