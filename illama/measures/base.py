"""Form of a measure: what it takes, what it returns, and what is known of its numbers before.

    @quantities({"ece": Quantity("min", decimals=4)})
    def calibration(network, data, device, seed, *, bins: int = 15) -> Findings:

The first four arguments are given, the keyword-only ones are options that a spec may set.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from illama.config import Config

    Network = nn.Module
    Device = torch.device
else:  # signatures of measures are read without torch
    Network = Device = object


@dataclass(frozen=True)
class Quantity:
    """Number that a measure returns under a name."""

    mode: Literal["max", "min"] | None = None
    """Direction that is better; None where neither is."""
    unit: str = ""
    """Such as `%`, `ms` or `nats`; empty for a plain number."""
    decimals: int | None = None
    """Decimals that people are shown; None for as many as its size and spread need."""
    text: str = ""
    """Description of the number in a few words."""


@dataclass(frozen=True)
class Findings:
    """Findings of a measure about one network."""

    values: Mapping[str, float]
    """Finite numbers by name."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """SVG files as text, by name."""


class Data(Protocol):
    """Images of the data set that the network was trained on, as a measure gets them.

    All are (B, channels, height, width), normalised, on the device, with labels (B,), in order and
    without augmentation.
    """

    config: "Config"
    """Settings that the network was trained with."""
    part: str
    """Held-out part that the report reads: `test`, or `val` where there is none."""
    directory: "Path"
    """Folder of all data (`runtime.data_dir`), which further files are looked for in."""

    def held_out(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """Batches of that part."""

    def training(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """Batches of the training images."""

    def normalisation(self) -> "tuple[Tensor, Tensor]":
        """Mean and standard deviation that images are normalised with, (channels, 1, 1)."""

    def curve(self) -> Sequence[Mapping[str, float]]:
        """Metrics of each epoch of the training, in order; none if they were not kept."""


OWN_BLOCKS = "own blocks"
"""Needed by a measure that reads the blocks of this package's own networks."""

AnyMeasure = TypeVar("AnyMeasure", bound=Callable[..., Any])


Look = Callable[["Path", Mapping[str, Any]], object]
"""Takes the folder of all data and a measure's options; raises `OSError` or `ValueError` where
files that it reads are not there.
"""


def quantities(
    known: Mapping[str, Quantity], *, needs: Sequence[str] = (), reads: Look | None = None
) -> Callable[[AnyMeasure], AnyMeasure]:
    """Attach to a measure what is known of its numbers, and the methods that a network must have.

    `needs` names methods of the network, such as `attention_maps`, or is `OWN_BLOCKS`; a plan
    refuses the measure for a network without them. `reads` looks for further files of data, so that
    a plan can warn that they are not there.
    """

    def attach(function: AnyMeasure) -> AnyMeasure:
        vars(function).update(quantities=dict(known), needs=tuple(needs), reads=reads)
        return function

    return attach
