"""The way from an image file to a training or validation picture, with Pillow and numpy.

The training picture: a random resized crop, a mirror image with probability `hflip`, RandAugment.
RandAugment follows timm's `rand-m<magnitude>-n<count>-mstd<deviation>-inc1`, with or without
`inc1`, in its set of operations, their ranges, the probability 1/2 of each, and its numbers'
distributions; the draws themselves are our own, so pictures are equal in distribution and not one
by one.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from illama.config.train import TrainConfig, parse_rand_augment

try:
    from PIL import Image, ImageEnhance, ImageOps, UnidentifiedImageError
except (ImportError, RuntimeError) as error:  # a broken build raises RuntimeError
    raise ImportError(f"image folders need Pillow: pip install pillow ({error})") from error

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MEAN_COLOUR = tuple(round(255 * mean) for mean in IMAGENET_MEAN)

Picture = Image.Image
Random = np.random.RandomState


def read_image(path: Path) -> Picture:
    """The picture in `path`, in RGB, as the paper's code sees it.

    What is transparent has the colour that lies below, and a camera's note how to turn a picture is
    not read. Of 16 bits the upper 8 are kept. Raises `ValueError` naming the file when it is
    damaged or of pixels that have no colour.
    """
    try:
        with Image.open(path) as image:
            return _in_colours(image)
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{path} cannot be read as an image: {error}; repair or remove it"
        ) from error


def _in_colours(image: Picture) -> Picture:
    if image.mode.startswith("I;16"):  # Pillow would make white of all above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit numbers (mode {image.mode}) of unknown range")
    if image.mode == "P":
        # by way of RGBA: a palette with transparent colours is warned of otherwise
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_array(image: Picture) -> npt.NDArray[np.float32]:
    """(3, height, width), normalised with ImageNet's mean and deviation."""
    pixels = np.asarray(image, dtype=np.float32) / 255  # (H, W, 3)
    normalised = (pixels - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def for_validation(image: Picture, size: int) -> Picture:
    """The shorter side to size * 256 / 224, then the centre; from 384 on the whole picture, warped
    to a square.

    Rounded as the paper's code does it, with torchvision's Resize and CenterCrop.
    """
    if size >= 384:
        return image.resize((size, size), Image.Resampling.BICUBIC)
    short = size * 256 // 224
    width, height = (short * side // min(image.size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def for_training(image: Picture, size: int, train: TrainConfig, random: Random) -> Picture:
    """One random view of a picture, as `train` asks for it."""
    if train.random_resized_crop:
        cut = image.crop(
            _crop_box(*image.size, random)
        )  # first: resize(box=...) looks at the pixels around the box as well
        image = cut.resize((size, size), Image.Resampling.BICUBIC)
    else:
        image = for_validation(image, size)
    if random.random_sample() < train.hflip:
        image = ImageOps.mirror(image)
    return rand_augment(image, train.aa, random) if train.aa else image


def rand_augment(image: Picture, policy: str, random: Random) -> Picture:
    """A few operations drawn with replacement, each applied with probability 1/2 at a magnitude
    between 0 and 10.
    """
    wanted = parse_rand_augment(policy)
    operations = OPERATIONS if wanted.increasing else NOT_INCREASING
    for choice in random.randint(len(operations), size=wanted.operations):
        drawn = (
            random.uniform(0, wanted.magnitude)
            if wanted.is_uniform
            else random.normal(wanted.magnitude, wanted.deviation)
        )
        level = float(np.clip(drawn, 0, 10)) / 10
        sign = 1 if random.random_sample() < 0.5 else -1
        if random.random_sample() < 0.5:
            image = operations[choice](image, level, sign)
    return image


def _crop_box(width: int, height: int, random: Random) -> tuple[int, int, int, int]:
    """8 to 100 % of the area, 3/4 to 4/3 as wide as high; after ten that do not fit, the largest
    allowed centre.
    """
    for _ in range(10):
        area = random.uniform(0.08, 1) * width * height
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(width - w + 1), random.randint(height - h + 1)
            return left, top, left + w, top + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _affine(matrix: Callable[[Picture, float], tuple[float, ...]]) -> "Operation":
    def apply(image: Picture, level: float, sign: int) -> Picture:
        coefficients = matrix(image, sign * level)
        return image.transform(
            image.size,
            Image.Transform.AFFINE,
            coefficients,
            Image.Resampling.BICUBIC,
            fillcolor=MEAN_COLOUR,
        )

    return apply


Operation = Callable[[Picture, float, int], Picture]
"""(picture, magnitude 0 to 1, sign) to picture."""


def _enhance(kind: type) -> Operation:
    return lambda image, level, sign: kind(image).enhance(max(0.1, 1 + sign * 0.9 * level))


def _enhance_to(kind: type) -> Operation:
    return lambda image, level, sign: kind(image).enhance(0.1 + 1.8 * level)


def _rotate(image: Picture, level: float, sign: int) -> Picture:
    return image.rotate(sign * 30 * level, Image.Resampling.BICUBIC, fillcolor=MEAN_COLOUR)


def posterize(image: Picture, bits: int) -> Picture:
    """Keep so many bits of every colour; none, at the largest magnitude, is black. (Pillow refuses
    that since version 13.)
    """
    kept = (0xFF00 >> bits) & 0xFF
    return image.point([value & kept for value in range(256)] * 3)


def _solarize_add(image: Picture, level: float, sign: int) -> Picture:
    added = min(128, int(110 * level))
    return image.point(
        [min(255, value + added) if value < 128 else value for value in range(256)] * 3
    )


OPERATIONS: tuple[Operation, ...] = (
    lambda image, level, sign: ImageOps.autocontrast(image),
    lambda image, level, sign: ImageOps.equalize(image),
    lambda image, level, sign: ImageOps.invert(image),
    _rotate,
    lambda image, level, sign: posterize(image, 4 - int(4 * level)),
    lambda image, level, sign: ImageOps.solarize(image, 256 - int(256 * level)),
    _solarize_add,
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    _affine(lambda image, level: (1, 0.3 * level, 0, 0, 1, 0)),  # shear in x
    _affine(lambda image, level: (1, 0, 0, 0.3 * level, 1, 0)),  # shear in y
    _affine(lambda image, level: (1, 0, 0.45 * level * image.width, 0, 1, 0)),  # shift in x
    _affine(lambda image, level: (1, 0, 0, 0, 1, 0.45 * level * image.height)),  # shift in y
)
"""The operations of timm's increasing RandAugment: a larger magnitude changes more."""

NOT_INCREASING: tuple[Operation, ...] = (
    *OPERATIONS[:4],
    lambda image, level, sign: posterize(image, int(4 * level)),
    lambda image, level, sign: ImageOps.solarize(image, min(256, int(256 * level))),
    _solarize_add,
    _enhance_to(ImageEnhance.Color),
    _enhance_to(ImageEnhance.Contrast),
    _enhance_to(ImageEnhance.Brightness),
    _enhance_to(ImageEnhance.Sharpness),
    *OPERATIONS[11:],
)
"""The operations of timm's RandAugment without `inc1`: a larger magnitude posterizes and solarizes
less, and goes from less to more colour, contrast, brightness and sharpness than the picture has.
"""
