"""A candidate for the multiplicative attention on a GPU: the flash recurrence in Triton, one read
of q, k and v each way.

The softmax's denominator sums every p = exp(score), the output only p * S. Backward is the usual
one with dP = (dO V^T) * S and, still, delta = rowsum(dO * O). At alpha 0 the blocks above the
diagonal skip every product with V and dO. alpha is read from memory: a soft mask that changes with
every iteration compiles nothing anew.

The kernels were checked on a CPU, interpreted (TRITON_INTERPRET=1, triton 3.9), and triton 3.6 and
3.9 compile them for sm_90. They have not run on a GPU yet. Shapes: B images, H heads, N tokens, C
channels of a head, a power of two from 16 on.
"""

import os
from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2E = 1.4426950408889634

_BLOCKS = [(128, 64, 8), (64, 64, 4), (64, 128, 8), (128, 128, 8)]
"""Queries and keys of a block, and warps; the fastest is found out at the first call."""
_FIRST_ONLY = 1 if os.environ.get("TRITON_INTERPRET") == "1" else None
_tuned = triton.autotune(
    [triton.Config({"Q": queries, "K": keys}, num_warps=warps) for queries, keys, warps in _BLOCKS][
        :_FIRST_ONLY
    ],
    key=["tokens"],
)


@triton.jit
def _weights(rows, columns, alpha, open_row):
    """S of a block: alpha where the key comes after the query, else 1; row `open_row` sees all
    (-1: none does).
    """
    seen = (columns[None, :] <= rows[:, None]) | (rows == open_row)[:, None]
    return tl.where(seen, 1.0, alpha)


@triton.jit
def _load(start, tokens, row_stride, rows, C: tl.constexpr):
    """The rows of a (tokens, C) matrix, zeros after its end."""
    channels = tl.arange(0, C)
    return tl.load(
        start + rows[:, None] * row_stride + channels[None, :],
        mask=rows[:, None] < tokens,
        other=0.0,
    )


@triton.jit
def _store(start, tokens, row_stride, rows, value, C: tl.constexpr):
    channels = tl.arange(0, C)
    place = start + rows[:, None] * row_stride + channels[None, :]
    tl.store(place, value.to(start.dtype.element_ty), mask=rows[:, None] < tokens)


@_tuned
@triton.jit
def _forward(
    q,
    k,
    v,
    alpha,
    out,
    lse,
    tokens,
    heads,
    scale,
    open_row,
    C: tl.constexpr,
    Q: tl.constexpr,
    K: tl.constexpr,
):
    """`out`, (B, N, H, C), and the scores' log-sum-exp, to base 2, for one block of queries of
    one head; q: (B, H, N, C).
    """
    head = tl.program_id(1)
    rows = tl.program_id(0) * Q + tl.arange(0, Q)
    first = head.to(tl.int64) * tokens * C
    at_out = ((head // heads).to(tl.int64) * tokens * heads + head % heads) * C
    a = tl.load(alpha)
    queries = _load(q + first, tokens, C, rows, C)
    largest = tl.full([Q], float("-inf"), tl.float32)
    mass = tl.zeros([Q], tl.float32)
    total = tl.zeros([Q, C], tl.float32)
    for start in range(0, tokens, K):
        columns = start + tl.arange(0, K)
        scores = (
            tl.dot(
                queries, tl.trans(_load(k + first, tokens, C, columns, C)), input_precision="ieee"
            )
            * scale
        )
        scores = tl.where(columns[None, :] < tokens, scores, float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, 1))
        p = tl.exp2(scores - larger[:, None])
        shrink = tl.exp2(largest - larger)
        mass = mass * shrink + tl.sum(p, 1)
        total = total * shrink[:, None]
        if (
            (a > 0)
            | (start < (tl.program_id(0) + 1) * Q)
            | ((open_row >= 0) & (tl.program_id(0) == 0))
        ):
            values = _load(v + first, tokens, C, columns, C)
            total += tl.dot(
                (p * _weights(rows, columns, a, open_row)).to(values.dtype),
                values,
                input_precision="ieee",
            )
        largest = larger
    _store(out + at_out, tokens, heads * C, rows, total / mass[:, None], C)
    tl.store(lse + head.to(tl.int64) * tokens + rows, largest + tl.log2(mass), mask=rows < tokens)


@_tuned
@triton.jit
def _for_keys(
    q, k, v, alpha, gradient, lse, delta, for_k, for_v, tokens, heads, scale, open_row,
    C: tl.constexpr, Q: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    """Gradients for one block of keys and values of one head. gradient: (B, N, H, C), as `out`."""
    head = tl.program_id(1)
    columns = tl.program_id(0) * K + tl.arange(0, K)
    first, per_row = head.to(tl.int64) * tokens * C, head.to(tl.int64) * tokens
    at_out = ((head // heads).to(tl.int64) * tokens * heads + head % heads) * C
    a = tl.load(alpha)
    keys, values = _load(k + first, tokens, C, columns, C), _load(v + first, tokens, C, columns, C)
    of_keys = tl.zeros([K, C], tl.float32)
    of_values = tl.zeros([K, C], tl.float32)
    for start in range(0, tokens, Q):
        rows = start + tl.arange(0, Q)
        queries = _load(q + first, tokens, C, rows, C)
        norms = tl.load(
            lse + per_row + rows, mask=rows < tokens, other=float("inf")
        )  # rows after the end have p = 0
        deltas = tl.load(delta + per_row + rows, mask=rows < tokens, other=0.0)
        p = tl.exp2(
            tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale - norms[:, None]
        )
        for_p = tl.zeros([Q, K], tl.float32)
        if (a > 0) | (tl.program_id(0) * K < start + Q) | ((open_row >= 0) & (start == 0)):
            weights = _weights(rows, columns, a, open_row)
            incoming = _load(gradient + at_out, tokens, heads * C, rows, C)
            of_values += tl.dot(
                tl.trans((p * weights).to(incoming.dtype)), incoming, input_precision="ieee"
            )
            for_p = tl.dot(incoming, tl.trans(values), input_precision="ieee") * weights
        for_scores = p * (for_p - deltas[:, None])
        of_keys += tl.dot(tl.trans(for_scores.to(queries.dtype)), queries, input_precision="ieee")
    _store(for_k + first, tokens, C, columns, of_keys * (scale / 1.4426950408889634), C)
    _store(for_v + first, tokens, C, columns, of_values, C)


@_tuned
@triton.jit
def _for_queries(
    q, k, v, alpha, gradient, lse, delta, for_q, tokens, heads, scale, open_row,
    C: tl.constexpr, Q: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    """The gradient for one block of queries of one head."""
    head = tl.program_id(1)
    rows = tl.program_id(0) * Q + tl.arange(0, Q)
    first, per_row = head.to(tl.int64) * tokens * C, head.to(tl.int64) * tokens
    at_out = ((head // heads).to(tl.int64) * tokens * heads + head % heads) * C
    a = tl.load(alpha)
    queries, incoming = (
        _load(q + first, tokens, C, rows, C),
        _load(gradient + at_out, tokens, heads * C, rows, C),
    )
    norms = tl.load(lse + per_row + rows, mask=rows < tokens, other=float("inf"))
    deltas = tl.load(delta + per_row + rows, mask=rows < tokens, other=0.0)
    of_queries = tl.zeros([Q, C], tl.float32)
    for start in range(0, tokens, K):
        columns = start + tl.arange(0, K)
        keys = _load(
            k + first, tokens, C, columns, C
        )  # zeros after the end: what p is there does not matter
        p = tl.exp2(
            tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale - norms[:, None]
        )
        for_p = tl.zeros([Q, K], tl.float32)
        if (
            (a > 0)
            | (start < (tl.program_id(0) + 1) * Q)
            | ((open_row >= 0) & (tl.program_id(0) == 0))
        ):
            values = _load(v + first, tokens, C, columns, C)
            for_p = tl.dot(incoming, tl.trans(values), input_precision="ieee") * _weights(
                rows, columns, a, open_row
            )
        for_scores = p * (for_p - deltas[:, None])
        of_queries += tl.dot(for_scores.to(keys.dtype), keys, input_precision="ieee")
    _store(for_q + first, tokens, C, rows, of_queries * (scale / 1.4426950408889634), C)


def _sizes(q: Tensor, open_row: int) -> tuple[int, int, float, int, int]:
    """tokens, heads, scale to base 2, open_row and C, as the kernels take them."""
    return q.shape[2], q.shape[1], q.shape[3] ** -0.5 * LOG2E, open_row, q.shape[3]


def _grid(block: str, q: Tensor) -> Callable[[dict[str, int]], tuple[int, int]]:
    return lambda chosen: (triton.cdiv(q.shape[2], chosen[block]), q.shape[0] * q.shape[1])


def run(q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, open_row: int) -> tuple[Tensor, Tensor]:
    """Output (B, H, N, C), laid out as (B, N, H, C), and log-sum-exp to base 2, (B, H, N). Row
    `open_row` sees all keys.
    """
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    batch, heads, tokens, channels = q.shape
    out = q.new_empty(batch, tokens, heads, channels)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    _forward[_grid("Q", q)](q, k, v, alpha, out, lse, *_sizes(q, open_row))
    return out.transpose(1, 2), lse


def run_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    alpha: Tensor,
    out: Tensor,
    lse: Tensor,
    open_row: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for q, k and v, each (B, H, N, C)."""
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    gradient = gradient.transpose(1, 2).contiguous()  # (B, N, H, C), as it comes
    delta = (
        (gradient.float() * out.transpose(1, 2)).sum(-1).transpose(1, 2).contiguous()
    )  # (B, H, N)
    for_q, for_k, for_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    common, sizes = (q, k, v, alpha, gradient, lse, delta), _sizes(q, open_row)
    _for_keys[_grid("K", q)](*common, for_k, for_v, *sizes)
    _for_queries[_grid("Q", q)](*common, for_q, *sizes)
    return for_q, for_k, for_v
