"""Settings of the built-in data sets: which images, and how they are split."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from illama.config.settings import Settings, one_of
from illama.data.registry import DATASETS, Source, source_of


class DataConfig(Settings):
    """The images, and how they are split. Where their files lie is `RuntimeConfig.data_dir`.

    Every split is drawn once from the images' numbers, class by class, and is the same for every
    seed. Training sees the training part; whatever is chosen (settings that a search finds, the
    best epoch, how many seeds) is chosen on the validation part; a test part, where there is one,
    is for the report alone.
    """

    name: Annotated[str, one_of(DATASETS)]
    """`digits`: the 1,797 handwritten digits (8x8, 10 classes) that ship inside scikit-learn.
    `synthetic`: noisy class templates. `cifar10`, `cifar100`: the published files.
    `image_folder`: ImageNet's layout, a folder per class under `train` and `val`."""
    val_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of the images held out for validation: of `digits` and `synthetic` of all images, of
    `cifar10` and `cifar100` with `test: official` of the published training images. Without that,
    data sets that are published with a validation or test part use it for validation."""
    test_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of all images of `digits` or `synthetic` held out for the report. They are taken from
    the training part: the validation images stay those that they are without, and the test images
    are the same whatever `val_fraction` is."""
    test: Literal["none", "official"] = "none"
    """`official`: the published test images of `cifar10` and `cifar100` are the test part, and
    validation images are split off the training images; of `image_folder` the folder `test`."""
    resize: Annotated[PositiveInt, Field(le=10_000)] | None = None
    """Height and width that images in memory are resized to as they are used, by cubic
    interpolation; none: they stay as they are. An image folder's are cut to `model.img_size`."""
    folder: str = "imagenet"
    """The folder of `image_folder`: its name inside `RuntimeConfig.data_dir`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.resize is not None and not self.in_memory:
            raise ValueError(
                f"images of data {self.name} are cropped to model.img_size: leave out resize"
            )
        if self.source.published != "whole":
            self._refuse_fractions()
        elif self.test == "official":
            raise ValueError(
                f"data {self.name} has no official test part: hold one out with test_fraction"
            )
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"val_fraction {self.val_fraction:g} and test_fraction {self.test_fraction:g} "
                "leave nothing to train on: their sum should be below 1"
            )
        return self

    def _refuse_fractions(self) -> None:
        """Raises `ValueError` for a share of what the publisher has split already."""
        if self.test_fraction:
            raise ValueError(
                f"data {self.name} has an official test part: write `test: official` "
                "instead of test_fraction"
            )
        has_only_test = self.source.published == "test"
        splits_training = has_only_test and self.test == "official"
        if self.changes("val_fraction") and not splits_training:
            hint = ", or add `test: official`" if has_only_test else ""
            raise ValueError(
                f"data {self.name} has an official validation part: leave out val_fraction{hint}"
            )

    @property
    def has_test(self) -> bool:
        """True if there is a part for the report alone."""
        return self.test == "official" or self.test_fraction > 0

    @property
    def source(self) -> Source:
        """The data set behind the name."""
        return source_of(self.name)

    def shape_of(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Channels, height and width of an image as a network gets it, of one that has `shape`."""
        if self.resize is None:
            return shape
        channels, *_ = shape
        return channels, self.resize, self.resize

    @property
    def in_memory(self) -> bool:
        """False for a folder of pictures, which are read as they are used."""
        return self.source.read is not None
