"""Settings of the built-in data sets: which images, and how they are split."""

from typing import Literal, Self

from pydantic import Field, model_validator

from illama.config.settings import Settings


class DataConfig(Settings):
    """Which images, and how they are split. Where their files lie is `RuntimeConfig.data_dir`."""

    name: Literal["digits", "synthetic", "cifar10", "cifar100", "image_folder"]
    """`digits`: the 1,797 handwritten digits (8x8, 10 classes) that ship inside scikit-learn. `synthetic`: noisy class templates.
    `cifar10`, `cifar100`: the published files. `image_folder`: ImageNet's layout, a folder per class under `train` and `val`."""
    val_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of the images held out for validation, drawn once, the same for every seed. Data sets that are published with a
    validation or test part use that."""
    folder: str = "imagenet"
    """Of `image_folder`: the folder's name inside `RuntimeConfig.data_dir`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        published = self.name in ("cifar10", "cifar100", "image_folder")
        if published and self.val_fraction != DataConfig.model_fields["val_fraction"].default:
            raise ValueError(
                f"data {self.name} has a validation part of its own: leave out val_fraction"
            )
        return self
