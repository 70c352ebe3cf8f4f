"""Attention masks and the soft mask: who sees whom.

A mask is a matrix S over (query i, key j) of the N tokens of an image. It enters attention in one
of two ways, which are different models (see `illama.attention`): multiplied onto the softmax's
output, or as log S added to the softmax's input.

A kind of mask is one line of `KINDS`, and its name in `illama.config.model.AttentionKind`,
which settings are checked against without torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

Visible = Callable[[Tensor, Tensor], Tensor]
"""Takes the numbers of queries (N, 1) and keys (1, N); returns who sees whom, (N, N)."""


@dataclass(frozen=True)
class MaskKind:
    """One kind of attention: who sees whom."""

    visible: Visible
    open_rows: int | None = None
    """The open rows of a mask that is causal but for this many first rows (0 or 1), which see all:
    attention under it needs no N x N matrix. None for any other shape, which always has its matrix.
    """


KINDS: Mapping[str, MaskKind] = {
    "bidirectional": MaskKind(lambda query, key: (query == query) & (key == key)),
    "causal": MaskKind(lambda query, key: key <= query, open_rows=0),
    "modified_causal": MaskKind(lambda query, key: (key <= query) | (query == 0), open_rows=1),
}
"""The masks by the names of `model.attention`. `modified_causal` is causal with the first row open
(paper, section 3.3, Figure 2).
"""


def kind_of(attention: str) -> MaskKind:
    """The kind of mask that `attention` names. Raises `ValueError` for another name."""
    if attention not in KINDS:
        raise ValueError(f"there is no attention mask {attention!r}; allowed: {', '.join(KINDS)}")
    return KINDS[attention]


def visible(attention: str, tokens: int) -> Tensor:
    """The keys that each query may see. Returns bool, (tokens, tokens), True where key j is visible
    to query i.

    Raises `ValueError` for a name that is not in `KINDS`.
    """
    numbers = torch.arange(tokens)
    return kind_of(attention).visible(numbers[:, None], numbers[None, :])


def rates_of_blocks(
    alpha: float | Sequence[float], depth: int, *, masked: bool
) -> tuple[float, ...]:
    """alpha of each of `depth` blocks, from one number for all or one for each.

    Raises `ValueError` for another count of numbers, for one outside 0 to 1, and for one above 0
    where no block is `masked`.
    """
    rates = (alpha,) * depth if isinstance(alpha, int | float) else tuple(alpha)
    rates = tuple(map(float, rates))
    if len(rates) != depth:
        raise ValueError(f"{len(rates)} soft_mask_rates, and {depth} blocks")
    for rate in rates:
        if not 0 <= rate <= 1:
            raise ValueError(
                f"soft_mask_rate is {rate:g}; it must be between 0 (the mask as it is) and 1 "
                "(bidirectional)"
            )
    if not masked and max(rates) > 0:
        raise ValueError(
            "soft_mask_rate softens a mask, but attention is bidirectional; leave it at 0"
        )
    return rates


def soften(visible: Tensor, alpha: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """S = alpha * B + (1 - alpha) * C with B all ones and C the mask (paper, equation 2).

    alpha 1 is bidirectional attention, alpha 0 the mask itself.
    """
    return alpha + (1 - alpha) * visible.to(dtype)


class Mask(nn.Module):
    """The mask of one kind of attention as it stands at this moment of training."""

    matrix: Tensor
    """S, or log S where it is added in front of the softmax: (tokens, tokens)."""
    visible: Tensor
    rate: Tensor
    """alpha, without dimensions; float64, so that 1 - alpha is rounded once."""

    def __init__(self, attention: str, mask_form: str, tokens: int) -> None:
        super().__init__()
        self.attention, self.tokens = attention, tokens
        self.open_rows = kind_of(attention).open_rows
        self.additive = mask_form == "additive"
        self.alpha = 0.0
        device = torch.get_default_device()
        self._compute(device, torch.float32)

    @property
    def kind(self) -> str:
        """Name of the mask, as `model.attention` has it."""
        return self.attention

    @property
    def form(self) -> str:
        """`additive` or `multiplicative`."""
        return "additive" if self.additive else "multiplicative"

    @property
    def seen(self) -> Tensor:
        """S in either form: how much each token sees of every other, (tokens, tokens)."""
        if self.additive:
            return self.matrix.exp()
        return self.matrix

    @property
    def has_two_runs(self) -> bool:
        """True if `illama.attention.multiplicative_attention` can do it, without its matrix."""
        return not self.additive and self.open_rows is not None

    def _compute(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make the buffers afresh."""
        with torch.device("cpu"):
            seen = visible(self.attention, self.tokens)
        self.register_buffer("visible", seen.to(device), persistent=False)
        shape = self.tokens, self.tokens
        matrix = torch.empty(shape, dtype=dtype, device=device)
        self.register_buffer("matrix", matrix, persistent=False)
        rate = torch.zeros((), dtype=torch.float64, device=device)
        self.register_buffer("rate", rate, persistent=False)
        self.set_alpha(self.alpha)

    def set_alpha(self, alpha: float) -> None:
        """Blend the mask with full attention, in place: a compiled network sees the same tensor
        with other values.
        """
        self.alpha, self.soft = alpha, alpha > 0
        self.rate.fill_(alpha)
        # on the mask's device: with one from the CPU, a GPU would be waited for each time
        soft = soften(self.visible, alpha, self.matrix.dtype)
        if self.additive:
            soft = soft.log()
        self.matrix.copy_(soft)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow a module to another device; of other types only to float64, for alpha must not be
        rounded with the weights.
        """
        moved = fn(self.matrix)
        self._compute(moved.device, exact(moved.dtype))
        return self


def masked_weights(scores: Tensor, matrix: Tensor, additive: bool) -> Tensor:
    """Weights of the values under a mask: in front of the softmax, or behind it without another
    normalisation. scores: (..., R, N); matrix: log S where it is added, else S.
    """
    if additive:
        return (scores + matrix).softmax(dim=-1)
    return scores.softmax(dim=-1) * matrix


def exact(dtype: torch.dtype) -> torch.dtype:
    """The type of constants beside weights of `dtype`: never coarser than float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
