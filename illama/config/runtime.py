"""Settings that say how a training runs and that never change what it computes."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from illama.config.settings import Settings


class RuntimeConfig(Settings):
    """Settings of the run, not of what it computes: none belongs to a trial's identity."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when the trial was given one."""
    num_threads: PositiveInt = 1
    """CPU threads of torch, in each process."""
    processes: PositiveInt = 1
    """Processes on one node that share each batch: one for each GPU, or several on the CPU."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Seconds between two checkpoints, or more where writing one takes long (5 % of the time at
    most); 0 saves after every iteration."""
    micro_batch_size: PositiveInt | None = None
    """Images that a device computes with at once; their gradients add up to those of
    `train.batch_size`. None: all its share."""
    data_dir: Path | None = None
    """Directory of the data sets' files. None: the environment variable ILLAMA_DATA, or `data`."""
    data_workers: int = Field(default=0, ge=0)
    """Processes that read and augment the images of a folder, for each that trains."""
    keep_every: PositiveInt | None = None
    """Epochs from one set of weights to the next that is kept beside the checkpoint, so that they
    can be measured. A sweep sets it for measures that have `every`. None: the last ones alone."""
    compile: bool = False
    """Compile the network with torch.compile: worth its minutes on a GPU, not for a training of
    seconds."""
    compared: str | None = None
    """Metric that must be finite in a training by a user's function; such values of others are left
    out. A sweep sets it to the metric that it compares. None: every metric must be finite."""


EPOCHS = "epochs"
"""Folder of the weights that were kept along a training, a folder for each epoch."""


def epoch_folder(directory: Path, epoch: int) -> Path:
    """Folder of the weights that a training in `directory` had after an epoch, if it kept them."""
    return directory / EPOCHS / str(epoch)


def data_directory(data_dir: Path | None) -> Path:
    """The folder of the data sets' files: `data_dir`, else the environment variable ILLAMA_DATA,
    else `data`.
    """
    return data_dir or Path(os.environ.get("ILLAMA_DATA", "data"))
