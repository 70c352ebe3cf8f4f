"""Mixture of heads: each token chooses which attention heads it listens to (MoH, arXiv 2410.11842,
section 3.2).

    MoH(x) = sum_i g_i H_i W_i          H_i, W_i: output of head i and its rows of the last linear

The first `shared` heads are always on, of the others the `top_k` with the largest router scores:

    g_i = a_1 softmax(W_s x)_i  (shared),  a_2 softmax(W_r x)_i  (chosen),  0  (others)
    (a_1, a_2) = softmax(W_h x)

The auxiliary loss is `balance` * sum_i f_i P_i, with f_i the share of tokens that choose head i and
P_i its mean score; of a batch that is cut into parts, each part has its own.

This is the paper's text. The authors' code (SkyworkAI/MoH) also divides the chosen scores by their
sum, multiplies them by `top_k` and the shared ones by `shared`, both by 2, and the loss by the
square of the number of heads, so that a router that prefers nothing leaves ordinary attention. Left
out: continue-tuning of a trained network; a head that nobody chose is computed all the same.
"""

import torch
from torch import Tensor, nn

from illama.attention import dense_attention
from illama.config import UserCodeError
from illama.parts.place import Place, Where
from illama.parts.projections import ALL_MASKS, Projections, matrix_of

NUMERICS_VERSION = 1


class MixtureOfHeads(Projections):
    """Multi-head attention whose heads are weighted by a router for each token."""

    masks = ALL_MASKS

    def __init__(self, place: Place, shared: int, top_k: int, balance: float) -> None:
        super().__init__(place)
        self.shared, self.top_k, self.balance = shared, top_k, balance
        self.route_shared = nn.Linear(place.dim, shared, bias=False)
        self.route = nn.Linear(place.dim, place.heads - shared, bias=False)
        self.route_kinds = nn.Linear(place.dim, 2, bias=False)
        self.load: Tensor | None = None

    def forward(self, x: Tensor, where: Where) -> Tensor:
        """x: (B, N, D); returns (B, R, D)."""
        q, k, v = self.projected(x, where)
        out = dense_attention(q[:, :, where.rows], k, v, *matrix_of(where.mask, where))
        weights = self.weights(x[:, where.rows])  # (B, R, H)
        return self.joined(out * weights.transpose(1, 2).unsqueeze(-1))

    def weights(self, x: Tensor) -> Tensor:
        """g, the weight of each head for each token. x: (B, R, D); returns (B, R, H)."""
        scores = self.route(x).softmax(-1)
        chosen = scores.topk(self.top_k, dim=-1).indices
        is_chosen = torch.zeros_like(scores).scatter(-1, chosen, 1.0)
        kinds = self.route_kinds(x).softmax(-1)
        if self.training:  # an exported network has no loss to keep
            shares, means = is_chosen.mean((0, 1)), scores.mean((0, 1))
            self.load = (shares * means).sum()
        always = kinds[..., :1] * self.route_shared(x).softmax(-1)
        return torch.cat((always, kinds[..., 1:] * is_chosen * scores), dim=-1)

    def auxiliary_loss(self) -> Tensor:
        """The load balance of the last call, weighted."""
        assert self.load is not None, "there was no call yet"
        return self.balance * self.load


def mixture_of_heads(
    place: Place, *, shared: int = 1, top_k: int = 1, balance: float = 0.01
) -> nn.Module:
    """Attention of `shared` heads and the `top_k` best of the others. Raises `UserCodeError` where
    there are not so many.
    """
    if not 1 <= shared < place.heads or not 1 <= top_k <= place.heads - shared:
        raise UserCodeError(
            f"shared {shared} and top_k {top_k} must each be at least 1, and together at most the "
            f"{place.heads} heads"
        )
    return MixtureOfHeads(place, shared, top_k, balance)
