"""Attention under a mask, in the two forms that the paper does not tell apart.

- `multiplicative`: O = (softmax(A) * S) V. The softmax runs over all keys, the mask S comes after
  it, rows are not renormalised. This is the released code and equation 2 of the paper.
- `additive`: O = softmax(A + log S) V. This is LLaMA's own causal attention and equation 1 of the
  paper.

A = Q K^T / sqrt(C). Shapes: B images, H heads, N tokens, R queries (all tokens, or the one that is
read), C channels of a head.

`dense_attention` is the formulas, for every device. Two others never build an N x N matrix:

- torch's fused attention, for the additive form and where there is no mask;
- `multiplicative_attention`, for the form that no library has: two runs of torch's flash attention.

| device | fused | without a matrix for the multiplicative form |
|---|---|---|
| CPU | from `FUSED_FROM` tokens on | from `LINEAR_FROM` tokens on |
| CUDA | always | from `FUSED_FROM` tokens on, where the GPU has flash attention |

Flash attention takes bfloat16 and float16, on Ampere and newer. The CPU's bounds were measured.
CUDA's were counted: a dense training step reads or writes about eleven N x N matrices for each
head, the two runs none. `benchmarks/attention_candidates.py` measures it beside others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from illama.masks import Mask, masked_weights

ALL = slice(None)
FUSED_FROM = 128
"""Tokens. With fewer, torch's fused attention costs more on the CPU than it saves."""
LINEAR_FROM = 2048
"""Tokens. From here on the CPU is faster without N x N matrices; with 577 tokens, training takes
twice as long without them.
"""


_recorded: list[tuple[Tensor, Tensor]] | None = None
"""The list in which `attend` leaves its maps while somebody asks for them."""


@contextmanager
def maps_recorded() -> Iterator[list[tuple[Tensor, Tensor]]]:
    """List that fills with the maps of every attention inside: before and after the mask.

    Each map is (B, H, R, N). Computed beside the attention itself, which stays as it is.
    """
    global _recorded
    before, _recorded = _recorded, []
    try:
        yield _recorded
    finally:
        _recorded = before


def attention_map(
    q: Tensor, k: Tensor, mask: Mask | None, rows: slice = ALL
) -> tuple[Tensor, Tensor]:
    """Weights of the values before and after the mask. q, k: (B, H, N, C); each (B, H, R, N)."""
    scores = torch.matmul(q[:, :, rows] * q.shape[-1] ** -0.5, k.transpose(-2, -1))
    before = scores.softmax(dim=-1)
    if mask is None:
        return before, before
    return before, masked_weights(scores, mask.matrix[rows], mask.additive)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, rows: slice = ALL) -> Tensor:
    """Attention of the queries in `rows` over all keys. q, k, v: (B, H, N, C); returns
    (B, H, R, C).
    """
    if _recorded is not None:
        _recorded.append(attention_map(q, k, mask, rows))
    few = q.device.type == "cpu" and q.shape[2] < FUSED_FROM
    if mask is None:
        attention = dense_attention if few else F.scaled_dot_product_attention
        return attention(q[:, :, rows], k, v)
    if mask.additive and not few:
        return _fused_attention(q, k, v, mask, rows)
    if rows == ALL and mask.has_two_runs and _better_without_matrix(q):
        return multiplicative_attention(q, k, v, mask.rate, first_row_open=mask.open_rows == 1)
    return dense_attention(q[:, :, rows], k, v, mask.matrix[rows], mask.additive)


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Mask, rows: slice) -> Tensor:
    """Torch's own, the mask added to the scores; without its matrix where the mask is causal."""
    if rows == ALL and mask.open_rows == 0 and not mask.soft:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    added = mask.matrix[rows].to(q.dtype)
    return F.scaled_dot_product_attention(q[:, :, rows], k, v, attn_mask=added)


def dense_attention(
    q: Tensor, k: Tensor, v: Tensor, matrix: Tensor | None = None, additive: bool = False
) -> Tensor:
    """Attention written out as the formulas say, with its N x N matrix. q: (B, H, R, C); k, v:
    (B, H, N, C).

    `matrix` is S (multiplicative) or log S (additive), (R, N); None lets every token see every
    other. It may be finer than v, whose type the result has. Returns (B, H, R, C).
    """
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))  # (B, H, R, N)
    if matrix is None:
        return torch.matmul(scores.softmax(dim=-1), v)
    return torch.matmul(masked_weights(scores, matrix, additive).to(v.dtype), v)


def _better_without_matrix(q: Tensor) -> bool:
    """Tell whether `multiplicative_attention` is possible here and worth it. q: (B, H, N, C)."""
    tokens, channels = q.shape[2:]
    if q.device.type == "cpu":
        return tokens >= LINEAR_FROM
    if q.device.type != "cuda" or tokens < FUSED_FROM:
        return False
    # what flash attention takes
    is_taken = q.dtype in (torch.bfloat16, torch.float16) and channels % 8 == 0 and channels <= 256
    return is_taken and torch.cuda.get_device_capability(q.device) >= (8, 0)


def multiplicative_attention(
    q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, *, first_row_open: bool = False
) -> Tensor:
    """The multiplicative form under a (soft) causal mask, without an N x N matrix. q, k, v and
    result: (B, H, N, C).

    `alpha` is a tensor without dimensions: a compiled network reads its value anew each time. With
    `first_row_open` the mask is the modified causal one.
    """
    out: Tensor = _Multiplicative.apply(q, k, v, alpha)  # type: ignore[no-untyped-call]
    if first_row_open:
        out = torch.cat((F.scaled_dot_product_attention(q[:, :, :1], k, v), out[:, :, 1:]), dim=2)
    return out


class _Multiplicative(torch.autograd.Function):
    """Two runs of torch's fused attention make the multiplicative one.

    With row-wise log-sum-exps L of the scores, over all keys and over the visible ones,

        O = alpha * O_full + (1 - alpha) * exp(L_causal - L_full) * O_causal.

    Backward, with P = softmax(A) over all keys, dP = (dO V^T) * S and delta = rowsum(dO * O), the
    scores' gradient is P * (dP - delta). The fused backward computes exp(A - L) * (dO V^T -
    rowsum(dO * O)) on the blocks it visits, for whatever V, O and L it is given. One run over all
    keys with alpha * V and the true O, and one over the visible keys with (1 - alpha) * V and O =
    0, both with L_full, add up to it.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor) -> Tensor:
        out_full, lse_full, *unused = _flash(q, k, v, is_causal=False)  # (B, H, N, C), (B, H, N)
        out_causal, lse_causal, *_ = _flash(q, k, v, is_causal=True)
        # what the visible keys hold of the softmax's mass
        share = (1 - alpha) * (lse_causal - lse_full).exp()
        out = (alpha * out_full + share.unsqueeze(-1) * out_causal).to(q.dtype)
        ctx.save_for_backward(q, k, v, alpha, out, lse_full, *unused)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        q, k, v, alpha, out, *kept = ctx.saved_tensors
        full = _flash_backward(gradient, (q, k, alpha * v, out, *kept), is_causal=False)
        seen = q, k, (1 - alpha) * v, torch.zeros_like(out), *kept
        causal = _flash_backward(gradient, seen, is_causal=True)
        # each run's gradient for V is P^T dO over the keys it visits, whatever V it was given
        return (
            full[0] + causal[0],
            full[1] + causal[1],
            alpha * full[2] + (1 - alpha) * causal[2],
            None,
        )


def _flash(q: Tensor, k: Tensor, v: Tensor, *, is_causal: bool) -> tuple[Tensor, ...]:
    """Attention, the log-sum-exp of its scores' rows, and on a GPU the states of a dropout that is
    not there.
    """
    if q.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, is_causal)  # type: ignore[no-any-return]
    out, lse, _, _, _, _, *states, _ = torch.ops.aten._scaled_dot_product_flash_attention(
        q, k, v, 0.0, is_causal
    )
    return out, lse, *states


def _flash_backward(
    gradient: Tensor, saved: tuple[Tensor, ...], *, is_causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for q, k and v of attention whose probabilities are exp(scores - lse).

    `saved` is q, k, v, the output, lse, and the states that `_flash` returned.
    """
    inputs, states = (gradient, *saved[:5]), saved[5:]
    tokens = saved[0].shape[2]
    if gradient.device.type == "cpu":
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *inputs, 0.0, is_causal
        )
    else:
        sequences = None, None, tokens, tokens  # all of one length
        found = torch.ops.aten._scaled_dot_product_flash_attention_backward(
            *inputs, *sequences, 0.0, is_causal, *states
        )
    for_q, for_k, for_v = found
    return for_q, for_k, for_v
