"""Attention with learned prompts behind a gate that starts at zero (LLaMA-Adapter, arXiv
2303.16199, section 3.2).

    O = attention(Q, K, V) + tanh(g) softmax(Q P_k^T / sqrt(C)) P_v,    (P_k, P_v) = W_k P, W_v P

P are `prompts` learned vectors of the block, which go through its own key and value linears, and g
is a number for each head, 0 at first: the network then computes what it did without them. The two
softmaxes are apart, so no token loses weight to a prompt. Prompts are no tokens of the image: every
token sees them under any mask, and no rotary position turns them. The inner attention obeys its
mask as it does without them.

Meant for a trained network whose other tensors are frozen: `train.init` fills them, and
`train.trainable` names what is trained, such as ["*.prompts", "*.gate", "norm.*", "head.*"]. The
paper has prompts in the upper blocks alone: `mixer: [attention, attention, llama_adapter]`.

Left out: the picture that the paper's multi-modal form adds to the prompts.
"""

import torch
from torch import Tensor, nn

from illama.attention import attend, dense_attention
from illama.parts.place import Place, Where
from illama.parts.projections import ALL_MASKS, Projections

NUMERICS_VERSION = 1


class LlamaAdapter(Projections):
    """Multi-head attention with gated prompts."""

    masks = ALL_MASKS
    adds = ("prompts", "gate")

    def __init__(self, place: Place, prompts: int) -> None:
        super().__init__(place)
        self.prompts = nn.Parameter(torch.randn(prompts, place.dim))
        self.gate = nn.Parameter(torch.zeros(place.heads, 1, 1))

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        out = attend(q, k, v, where.mask, where.rows)
        _, keys, values = self.qkv(self.prompts).unflatten(-1, (3, self.heads, -1)).unbind(1)
        keys, values = keys.transpose(0, 1), values.transpose(0, 1)  # each (H, prompts, C)
        prompted = dense_attention(q[:, :, where.rows], keys, values)
        return self.joined(out + self.gate.tanh() * prompted)

    def no_weight_decay(self) -> set[str]:
        """The gates do not decay."""
        return {"gate"}


def llama_adapter(place: Place, *, prompts: int = 10) -> nn.Module:
    """Attention with so many `prompts` in the block."""
    return LlamaAdapter(place, prompts)
