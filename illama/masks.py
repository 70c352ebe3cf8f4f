"""Who sees whom: attention masks and the soft mask.

A mask is a matrix S over (query i, key j) of the N tokens of an image. It enters attention in one of two ways, which are
different models (see `illama.attention`): multiplied onto the softmax's output, or as log S added to the softmax's input.
"""

import torch
from torch import Tensor, nn


def visible(attention: str, tokens: int) -> Tensor:
    """Which keys each query may see. Returns bool, (tokens, tokens), True where key j is visible to query i.

    `bidirectional`: all. `causal`: j <= i. `modified_causal`: causal with the first row open (paper, section 3.3, Figure 2).
    """
    if attention == "bidirectional":
        return torch.ones(tokens, tokens, dtype=torch.bool)
    mask = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    if attention == "modified_causal":
        mask[0] = True
    return mask


def soften(visible: Tensor, alpha: float) -> Tensor:
    """S = alpha * B + (1 - alpha) * C with B all ones and C the mask (paper, equation 2). Returns float32, same shape.

    alpha 1 is bidirectional attention, alpha 0 the mask itself.
    """
    return alpha + (1 - alpha) * visible.to(torch.float32)


class Mask(nn.Module):
    """The mask of one kind of attention as it stands at this moment of training."""

    matrix: Tensor
    """S, or log S where it is added in front of the softmax: (tokens, tokens)."""
    visible: Tensor
    rate: Tensor
    """alpha, without dimensions; float64, so that 1 - alpha is rounded once."""

    def __init__(self, attention: str, mask_form: str, tokens: int) -> None:
        super().__init__()
        self.attention = attention
        self.additive = mask_form == "additive"
        self.register_buffer("matrix", torch.empty(tokens, tokens), persistent=False)
        self.register_buffer("visible", visible(attention, tokens), persistent=False)
        self.register_buffer("rate", torch.zeros((), dtype=torch.float64), persistent=False)
        self.set_alpha(0.0)

    def set_alpha(self, alpha: float) -> None:
        """Blend the mask with full attention, in place: a compiled network sees the same tensor with other values."""
        self.soft = alpha > 0
        self.rate.fill_(alpha)
        soft = soften(
            self.visible, alpha
        )  # on the mask's device: with one from the CPU, a GPU would be waited for each time
        self.matrix.copy_(soft.log() if self.additive else soft)
