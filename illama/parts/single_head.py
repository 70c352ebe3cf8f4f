"""Single-head attention on a part of the channels (SHViT, arXiv 2401.16456, section 3.2).

    x_att, x_res = split(x);    y = W relu(concat(attention(norm(x_att)), x_res))

One head, with queries and keys `qk_dim` wide, sees a share of the channels; the others pass by. The
last linear mixes both.

Left out: the group normalisation in front, which takes its statistics over all tokens and so would
see the future: each token is normalised by itself here; the batch normalisations behind both
linears; the convolutions, which the patches of a transformer do not need; rotary positions.
"""

import torch
from torch import Tensor, nn

from illama.attention import dense_attention
from illama.parts.place import Place, Where
from illama.parts.projections import ALL_MASKS, matrix_of

NUMERICS_VERSION = 1


class SingleHead(nn.Module):
    """Attention with one head on the first channels."""

    masks = ALL_MASKS
    rotates = False

    def __init__(self, place: Place, share: float, qk_dim: int) -> None:
        super().__init__()
        self.width, self.qk_dim = max(1, round(place.dim * share)), qk_dim
        self.pre_norm = nn.LayerNorm(self.width)
        self.to_qkv = nn.Linear(self.width, 2 * qk_dim + self.width)
        self.proj = nn.Linear(place.dim, place.dim)

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        seen, passed = x[..., : self.width], x[:, where.rows, self.width :]
        qkv = self.to_qkv(self.pre_norm(seen)).unsqueeze(1)  # (B, 1, N, 2 * qk_dim + width)
        q, k, v = qkv.split((self.qk_dim, self.qk_dim, self.width), dim=-1)
        out = dense_attention(q[:, :, where.rows], k, v, *matrix_of(where.mask, where)).squeeze(1)
        mixed: Tensor = self.proj(torch.cat((out, passed), dim=-1).relu())
        return mixed


def single_head(place: Place, *, share: float = 0.25, qk_dim: int = 16) -> nn.Module:
    """One head on a `share` of the channels."""
    return SingleHead(place, share, qk_dim)
