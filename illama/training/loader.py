"""Batches on the device: of images in memory, or of files read by worker processes. Any batch of
any epoch can come first.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from illama.config import Config, DataConfig, RuntimeConfig, TrainConfig
from illama.data import image_folder
from illama.data.augment import erase, flip_and_crop, resized
from illama.data.datasets import check_shape, data_directory, epoch_order, load
from illama.dataset import Images, Labels
from illama.randomness import derive, shuffler
from illama.training.distributed import Ranks

EVALUATION_BATCH = {"cpu": 128, "cuda": 512}
"""Images that are measured at once; the CPU's caches prefer few. Where memory is short, four times
as many as are trained on at once: measuring keeps no block's results for a way back.
"""
FOLDER_CHUNK = 128
"""Images that a worker process hands over at once."""

Indices = npt.NDArray[np.int64]


class Loader(Protocol):
    """The trainer's source of images; all are (B, channels, height, width), normalised, on the
    device, with labels (B,).

    Of several processes each gets its share: of every training batch its rows, of the held-out
    images a run of them.
    """

    count: int
    """Training images, of all processes."""
    parts: Sequence[str]
    """Held-out images: `val`, and behind it `test` where there are images for the report alone. The
    last one is what a report reads."""
    images_digest: str
    """Digest of the images and labels of the last part."""

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training batches of `epoch` from number `first` on; images left over at the end of an
        epoch are dropped.
        """

    def held_out(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        """All images of a part, in order and without augmentation; those of `train`, too."""

    def normalisation(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that pixels are normalised with, (channels, 1, 1), on the
        CPU.
        """


def make_loader(
    config: Config, runtime: RuntimeConfig, device: torch.device, ranks: Ranks | None = None
) -> Loader:
    """The loader for `config.data`. Raises `ValueError` and `FileNotFoundError` as
    `illama.data.datasets.load` does.
    """
    ranks, size = ranks or Ranks(), config.train.batch_size
    if size < 2 * ranks.size - 1:
        raise ValueError(
            f"train.batch_size {size} has no pair of images for each of {ranks.size} processes: "
            "use fewer processes"
        )
    kind = MemoryLoader if config.data.in_memory else FolderLoader
    loader: Loader = kind(config, runtime, device, ranks)
    if loader.count < size:
        raise ValueError(f"train.batch_size {size} is more than the {loader.count} training images")
    return loader


def _batch_indices(
    config: Config, ranks: Ranks, epoch: int, count: int, first: int
) -> Iterator[Indices]:
    order, size = epoch_order(config.seed, epoch, count), config.train.batch_size
    rows = ranks.rows(size)
    for start in range(first * size, count - size + 1, size):
        yield order[start : start + size][rows]


class MemoryLoader:
    """Images that fit in memory, kept on the device as they came."""

    def __init__(
        self, config: Config, runtime: RuntimeConfig, device: torch.device, ranks: Ranks
    ) -> None:
        data = load(config.data, config.model, runtime.data_dir)
        self.config, self.runtime, self.device, self.ranks = config, runtime, device, ranks
        self.images, self.labels = self._place(data.train_images), self._place(data.train_labels)
        self.parts: Sequence[str] = ("val", "test") if data.has_test else ("val",)
        self.images_digest = data.digest_of(self.parts[-1])
        self._held_out = {part: self._place_share(*data.part(part)) for part in self.parts}
        self.mean, self.std = (
            self._place(values)[:, None, None] for values in (data.mean, data.std)
        )
        self.side = config.data.resize
        self.count = len(data.train_labels)

    def _place(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _place_share(self, images: Images, labels: Labels) -> tuple[Tensor, Tensor]:
        """Place this process's images and labels of a part."""
        rows = self.ranks.part(len(labels))
        return self._place(images[rows]), self._place(labels[rows])

    def _normalise(self, images: Tensor) -> Tensor:
        return resized((images - self.mean) / self.std, self.side)

    def normalisation(self) -> tuple[Tensor, Tensor]:
        """See `Loader`."""
        return self.mean.cpu(), self.std.cpu()

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Loader`."""
        seed, train = self.config.seed, self.config.train
        for indices in _batch_indices(self.config, self.ranks, epoch, self.count, first):
            index = self._place(indices)
            images = flip_and_crop(self._normalise(self.images[index]), train, seed, epoch, indices)
            yield erase(images, train.reprob, seed, epoch, indices), self.labels[index]

    def held_out(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Loader`."""
        known = self._held_out | {"train": (self.images, self.labels)}
        images, labels = known[part]
        size = _measured_at_once(self.runtime, self.device)
        for start in range(0, len(labels), size):
            rows = slice(start, start + size)
            yield self._normalise(images[rows]), labels[rows]


class FolderLoader:
    """Images in folders, read and augmented by `runtime.data_workers` processes."""

    def __init__(
        self, config: Config, runtime: RuntimeConfig, device: torch.device, ranks: Ranks
    ) -> None:
        assert isinstance(config.data, DataConfig)
        folder = data_directory(runtime.data_dir) / config.data.folder
        found = image_folder.read(folder, test=config.data.has_test)
        size = image_folder.side_of(config.model)
        check_shape(config.data, config.model, (3, size, size), len(found.classes))
        self.train = found.parts["train"]
        self._held_out = {part: found.parts[part] for part in found.parts if part != "train"}
        self.parts: Sequence[str] = tuple(self._held_out)
        self.images_digest = self._held_out[self.parts[-1]].digest
        self.config, self.runtime, self.device, self.ranks = config, runtime, device, ranks
        self.count = len(self.train)

    def normalisation(self) -> tuple[Tensor, Tensor]:
        """See `Loader`; of pixels from 0 to 255."""
        from illama.data.transforms import IMAGENET_MEAN, IMAGENET_STD  # needs Pillow

        mean, std = (
            torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD)
        )
        return 255 * mean, 255 * std

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Loader`."""
        batches = list(_batch_indices(self.config, self.ranks, epoch, self.count, first))
        views = _Views(
            self.train,
            image_folder.side_of(self.config.model),
            self.config.train,
            self.config.seed,
            epoch,
        )
        chunks = self._read(views, [chunk for batch in batches for chunk in _chunks(batch)])
        for batch in batches:
            images, labels = zip(*(next(chunks) for _ in _chunks(batch)), strict=True)
            yield torch.cat(images), torch.cat(labels)

    def held_out(self, part: str) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Loader`."""
        listing = self.train if part == "train" else self._held_out[part]
        views = _Views(listing, image_folder.side_of(self.config.model), None, 0, 0)
        indices = np.arange(len(listing))
        size = min(FOLDER_CHUNK, _measured_at_once(self.runtime, self.device))
        yield from self._read(views, _chunks(indices[self.ranks.part(len(indices))], size))

    def _read(self, views: "_Views", chunks: list[Indices]) -> Iterator[tuple[Tensor, Tensor]]:
        loaded: DataLoader[Any] = DataLoader(
            views,
            batch_size=None,  # each of the chunks is one already
            sampler=chunks,
            num_workers=self.runtime.data_workers,
            # of its own: a loader otherwise draws from the process's random state
            generator=torch.Generator(),
            pin_memory=self.device.type == "cuda",
        )
        for chunk in loaded:
            if isinstance(chunk, ValueError):
                raise chunk
            images, labels = chunk
            yield (
                images.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


def _chunks(indices: Indices, size: int = FOLDER_CHUNK) -> list[Indices]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _measured_at_once(runtime: RuntimeConfig, device: torch.device) -> int:
    return min(
        EVALUATION_BATCH[device.type],
        4 * (runtime.micro_batch_size or EVALUATION_BATCH[device.type]),
    )


class _Views(Dataset[tuple[Tensor, Tensor] | ValueError]):
    """Pictures of one part of an image folder, seen as an epoch sees them. Without `train`, as
    validation does.
    """

    def __init__(
        self,
        listing: image_folder.Listing,
        size: int,
        train: TrainConfig | None,
        seed: int,
        epoch: int,
    ) -> None:
        self.listing, self.size, self.train, self.seed, self.epoch = (
            listing,
            size,
            train,
            seed,
            epoch,
        )

    def __getitem__(self, indices: Indices) -> tuple[Tensor, Tensor] | ValueError:
        """Pictures (B, channels, height, width) and labels (B,), or what is wrong with one of the
        files.

        Raised in a worker process, that would arrive with tracebacks for a text.
        """
        try:
            images = torch.stack([self._view(int(index)) for index in indices])
        except ValueError as error:
            return error
        return images, torch.from_numpy(self.listing.labels[indices])

    def _view(self, index: int) -> Tensor:
        from illama.data.transforms import (
            for_training,
            for_validation,
            read_image,
            to_array,
        )  # only image folders need Pillow

        image = read_image(self.listing.path(index))
        if self.train is None:
            return torch.from_numpy(to_array(for_validation(image, self.size)))
        seed = derive(self.seed, "view", self.epoch, index)
        if self.train.transforms == "timm":
            from illama.data.timm_transforms import view

            picture = view(image, self.size, self.train, seed)
        else:
            picture = torch.from_numpy(
                to_array(for_training(image, self.size, self.train, shuffler(seed)))
            )
        return erase(picture[None], self.train.reprob, self.seed, self.epoch, np.array([index]))[0]
