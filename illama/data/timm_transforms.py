"""The paper's own training pictures, by the library that it used: for `train.transforms: timm`.
Needs timm and torchvision.
"""

from functools import cache
from typing import Any

from torch import Tensor

from illama.config.train import TrainConfig
from illama.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Picture, posterize
from illama.randomness import generators_kept

try:
    from timm.data import auto_augment, create_transform
except (
    ImportError,
    RuntimeError,
) as error:  # torchvision raises RuntimeError when it was built for another torch
    raise ImportError(
        f"train.transforms timm needs timm and torchvision: pip install timm torchvision ({error})"
    ) from error

# Its own calls Pillow, which since version 13 refuses to keep no bit: one picture in 650 would end
# the paper's training.
for _name in ("Posterize", "PosterizeIncreasing"):
    auto_augment.NAME_TO_OP[_name] = lambda image, bits_to_keep, **_: posterize(image, bits_to_keep)


def view(image: Picture, size: int, train: TrainConfig, seed: int) -> Tensor:
    """A random view, (3, size, size), normalised: timm's `create_transform` with the arguments of
    the released training code.
    """
    with generators_kept(seed):  # timm draws from all of them
        tensor: Tensor = _pipeline(size, train.aa, train.hflip)(image)
        return tensor


@cache
def _pipeline(size: int, aa: str | None, hflip: float) -> Any:
    return create_transform(
        size,
        is_training=True,
        color_jitter=None,  # the released 0.4 does nothing beside RandAugment, which it always has
        auto_augment=aa,
        hflip=hflip,
        interpolation="bicubic",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
