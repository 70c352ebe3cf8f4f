"""Facts that a part of the network is told: once where it stands, and with each call what it must
look at.

Imports no torch, so that settings can be read without it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from illama.masks import Mask

ALL = slice(None)


@dataclass(frozen=True)
class Place:
    """Place of a part in the network, given to the function that makes it."""

    dim: int
    """D, the width of the residual stream."""
    heads: int
    """Attention heads; each is D / heads channels wide."""
    tokens: int
    """N: patches, class token and registers."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    class_token: str
    """`first`, `last` or `none`."""
    layer: int
    """Number of the block from 0; the last norm and the readout have `depth`."""
    depth: int
    """Number of blocks."""
    attention: str
    """Mask of the block: `bidirectional`, `causal` or `modified_causal`."""
    mask_form: str
    """`multiplicative` or `additive`."""
    registers: int = 0
    """Learned tokens beside the class token."""
    classes: int = 0
    """Outputs of the readout."""

    @property
    def patches(self) -> slice:
        """Tokens that are patches, in the order of the sequence."""
        count = self.grid[0] * self.grid[1]
        first = 0 if self.class_token == "last" else self.tokens - count
        return slice(first, first + count)


class Where(NamedTuple):
    """Inputs of a part beside the tokens, anew with each call."""

    rows: slice
    """R tokens that are asked for. A mixer returns these alone; a feed-forward is given these
    alone.
    """
    rotation: "Tensor | None"
    """Cosine and sine of the rotary position, (N, C / 2, 2) with C channels of a head; None without
    one.
    """
    mask: "Mask | None"
    """Mask of the block as it stands (`illama.masks.Mask`); None where every token sees every
    other.
    """
