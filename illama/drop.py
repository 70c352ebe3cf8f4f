"""Stochastic depth and dropout: which branches and inputs of a batch are dropped at an iteration.

The draws belong to the batch as a whole, so that it does not matter how it is cut for the device;
they are the same on every one. Shapes: B images, N tokens, D channels.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from illama.config import Config, ModelConfig
from illama.randomness import derive, shuffler
from illama.schedules import drop_rate


class Drop(NamedTuple):
    """Draws of what is dropped of a batch."""

    paths: Tensor | None
    """Stochastic depth: factors that are 0, or 1 / (share that is kept), (depth, 2, B)."""
    inputs: tuple[Tensor, Tensor] | None
    """Dropout of what enters the first block: a key for each image, (B,), and the rate, 0-d. What
    is dropped is drawn where it is used (`drop_elements`): written down, it would be as large as
    what it is dropped from.
    """

    def of_block(self, index: int) -> Tensor | None:
        """Factors of a block's branches, (2, B); None where none is dropped."""
        if self.paths is None:
            return None
        return self.paths[index]


NO_DROP = Drop(None, None)
"""Nothing is dropped."""


def draw_drop(
    config: Config, iteration: int, iterations_per_epoch: int, device: torch.device
) -> Drop | None:
    """Draw what to drop of this iteration's batch; None where nothing is dropped."""
    train, model = config.train, config.model
    path_rate = drop_rate(train, train.drop_path, iteration, iterations_per_epoch)
    input_rate = drop_rate(train, train.dropout, iteration, iterations_per_epoch)
    paths = inputs = None
    if not path_rate and not input_rate:
        return None
    if path_rate:
        assert isinstance(model, ModelConfig)  # nothing else has parts that we could drop
        generator = torch.Generator().manual_seed(derive(config.seed, "drop", iteration))
        draws = torch.rand(model.depth, 2, train.batch_size, generator=generator)
        paths = _keep(draws, _rates(path_rate, model.depth)).to(device, non_blocking=True)
    if input_rate:
        random = shuffler(derive(config.seed, "dropout", iteration))
        keys = random.randint(-(2**63), 2**63 - 1, train.batch_size, dtype=np.int64) | 1
        inputs = (
            torch.from_numpy(keys).to(device, non_blocking=True),
            torch.full((), input_rate, device=device),
        )
    return Drop(paths, inputs)


def drop_paths(rate: float, depth: int, images: int, device: torch.device) -> Drop:
    """Stochastic depth of `images` images, drawn from torch's global generator.

    For users' training loops; `draw_drop` is that of the trainer. `rate` is of the last of
    `depth` blocks, the first is never dropped.
    """
    draws = torch.rand(depth, 2, images, device=device)
    return Drop(_keep(draws, _rates(rate, depth, device)), None)


def _rates(last: float, depth: int, device: torch.device | None = None) -> Tensor:
    """Share of each block's branches that is dropped, (depth, 1, 1): of the first block none."""
    return torch.linspace(0, last, depth, device=device)[:, None, None]


def part(drop: Drop | None, rows: slice | npt.NDArray[np.int64]) -> Drop | None:
    """The share of the images in `rows`."""
    if drop is None:
        return None
    paths, inputs = drop
    if paths is not None:
        paths = paths[:, :, rows]
    if inputs is not None:
        keys, rate = inputs
        inputs = keys[rows], rate
    return Drop(paths, inputs)


def drop_elements(x: Tensor, keys: Tensor, rate: Tensor) -> Tensor:
    """Dropout with a key for each image. x: (B, N, D); keys: odd, (B,), int64."""
    return x * _keep(_uniform(keys, x[0].numel()), rate).view_as(x)


def _keep(draws: Tensor, rates: Tensor) -> Tensor:
    """0 with probability `rates`, else 1 / (1 - rates): the mean stays 1."""
    return (draws >= rates) / (1 - rates)


def _uniform(keys: Tensor, count: int) -> Tensor:
    """`count` numbers from 0 to 1 for each key, (B, count), float32: the same bits on every device.

    Widynski's counter-based generator Squares (arXiv 2004.06278): whole numbers modulo 2^64 alone,
    with nothing carried from one number to the next, so that a compiler makes one kernel of it and
    of what it is used for.
    """
    z = keys[:, None]
    y = torch.arange(count, device=keys.device) * z
    z = y + z
    # in place from here on: where nothing is compiled, new tensors would cost more than the numbers
    # in them
    x = y.clone()
    for added in (y, z, y):
        x.mul_(x).add_(added)
        low = x << 32
        # the halves change places
        x.bitwise_right_shift_(32).bitwise_and_(0xFFFFFFFF).bitwise_or_(low)
    # as many as float32 holds exactly
    bits = x.mul_(x).add_(z).bitwise_right_shift_(40).bitwise_and_(0xFFFFFF)
    return bits * 2.0**-24
