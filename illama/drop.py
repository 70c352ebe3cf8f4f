"""Stochastic depth and dropout: which branches and inputs of a batch are dropped at an iteration."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from illama.config import Config, ModelConfig
from illama.cost import tokens
from illama.model import Drop
from illama.randomness import derive
from illama.schedules import drop_rate


def draw_drop(config: Config, iteration: int, iterations_per_epoch: int, device: torch.device) -> Drop | None:
    """What to multiply the branches and inputs of this iteration's batch with, or None where nothing is dropped.

    Drawn for the batch as a whole, so that it does not matter how it is cut for the device.
    """
    train, model = config.train, config.model
    path_rate = drop_rate(train, train.drop_path, iteration, iterations_per_epoch)
    input_rate = drop_rate(train, train.dropout, iteration, iterations_per_epoch)
    if not path_rate and not input_rate:
        return None
    assert isinstance(model, ModelConfig)  # nothing else has parts that we could drop
    generator = torch.Generator().manual_seed(derive(config.seed, "drop", iteration))
    paths = inputs = None
    if path_rate:
        rates = torch.linspace(0, path_rate, model.depth)[:, None, None]  # the first block is never dropped
        paths = _keep(torch.rand(model.depth, 2, train.batch_size, generator=generator), rates).to(device, non_blocking=True)
    if input_rate:
        shape = train.batch_size, tokens(model), model.embed_dim
        inputs = _keep(torch.rand(shape, generator=generator), torch.tensor(input_rate)).to(device, non_blocking=True)
    return Drop(paths, inputs)


def part(drop: Drop | None, rows: slice | npt.NDArray[np.int64]) -> Drop | None:
    """The share of the images in `rows`."""
    if drop is None:
        return None
    paths = None if drop.paths is None else drop.paths[:, :, rows]
    return Drop(paths, None if drop.inputs is None else drop.inputs[rows])


def _keep(draws: Tensor, rates: Tensor) -> Tensor:
    """0 with probability `rates`, else 1 / (1 - rates): the mean stays 1."""
    return (draws >= rates) / (1 - rates)
