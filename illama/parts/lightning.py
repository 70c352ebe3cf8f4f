"""Lightning attention: linear attention without a denominator, in blocks, with a decay (arXiv
2405.17381; 2401.04658, section 3).

    O_i = norm( sum_j S_ij lambda^|i - j| (q_i . k_j) v_j ),     q = silu(W_q x),  k = silu(W_k x)

S is the mask, soft or not; there is no softmax, so its two forms are one. Head h of H, from 1, in
layer l of L, from 0, decays by lambda = exp(-2^(-8 h / H) * (1 - l / (L - 1))): the slopes of the
authors' code (OpenNLPLab/lightning-attention) and of the models trained with it. The text of
TransNormerLLM (arXiv 2307.14995) prints exp(-8 h / H * (1 - l / L)), with which most heads see no
further than the next token. What comes from earlier blocks of `block` tokens is one matrix for each
head, that of the same block a small dense product; what comes from later tokens is the same,
backwards.

Ours: slopes of a number of heads that is no power of two by the same formula, and a norm with a
gain for each head instead of one over all of them. Left out: the output gate of TransNormerLLM.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from illama.parts.place import Place, Where
from illama.parts.projections import Projections

NUMERICS_VERSION = 2


class LightningAttention(Projections):
    """Decaying linear attention in blocks of tokens."""

    masks = ("bidirectional", "causal")
    decay: Tensor

    def __init__(self, place: Place, block: int) -> None:
        super().__init__(place)
        self.block = block
        slopes = 2.0 ** (-8 * torch.arange(1, place.heads + 1) / place.heads)
        share = 1 - place.layer / max(1, place.depth - 1)  # the last layer forgets nothing
        decay = torch.exp(-slopes * share)[:, None, None]
        self.register_buffer("decay", decay, persistent=False)  # lambda, (H, 1, 1)
        self.out_norm = nn.RMSNorm(place.dim // place.heads)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        q, k = F.silu(q), F.silu(k)
        out = self.seen(q, k, v, with_own=True)
        later = 1.0 if where.mask is None else where.mask.rate.to(out.dtype)
        flipped = self.seen(q.flip(2), k.flip(2), v.flip(2), with_own=False).flip(2)
        out = out + later * flipped
        return self.joined(self.out_norm(out)[:, :, where.rows].type_as(v))

    def seen(self, q: Tensor, k: Tensor, v: Tensor, *, with_own: bool) -> Tensor:
        """Sum over earlier tokens, with or without the own one. q, k, v: (B, H, N, C); returns (B,
        H, N, C).
        """
        state = torch.zeros_like(k[:, :, :1]).transpose(-2, -1) * v[:, :, :1]  # (B, H, C, C)
        parts = []
        for start in range(0, q.shape[2], self.block):
            now = slice(start, start + self.block)
            own_q, own_k, own_v = q[:, :, now], k[:, :, now], v[:, :, now]
            steps = torch.arange(own_q.shape[2], device=q.device)
            apart = steps[:, None] - steps[None, :]  # (n, n)
            near = self.decay ** apart.clamp(min=0) * (apart >= (0 if with_own else 1))
            from_own = (own_q @ own_k.transpose(-2, -1) * near) @ own_v
            parts.append(from_own + self.decay ** (steps[:, None] + 1) * (own_q @ state))
            fading = self.decay ** (len(steps) - 1 - steps[:, None])  # (H, n, 1)
            state = self.decay ** len(steps) * state + (own_k * fading).transpose(-2, -1) @ own_v
        return torch.cat(parts, dim=2)


def lightning(place: Place, *, block: int = 64) -> nn.Module:
    """Lightning attention in blocks of `block` tokens, which change nothing but the time it
    takes.
    """
    return LightningAttention(place, block)
