"""Candidates for the multiplicative attention on a GPU, each checked against the formula and timed
beside the others.

    python benchmarks/attention_candidates.py [--device cuda] [--tokens 197] [--heads 12]
                                              [--batch 128]

| candidate | what it is |
|---|---|
| flash | what the package runs: two runs of torch's flash attention, joined by their log-sum-exps |
| dense | the formula with its N x N matrix |
| doubled | torch's fused attention over 2N keys: with log S, and with log (1 - S) and value 0 |
| cudnn | two runs of cuDNN's fused attention |
| flex | two runs of flex attention, joined in the same way; its gradient comes from autograd |
| triton | kernels of our own, `benchmarks/triton_attention.py` |

Outputs and gradients are checked for alpha 0, 0.3 and 1, causal and modified causal. On a CPU
nothing is timed, and what cannot run there says why; none of them has run on a GPU yet. The package
shall have the one that whole training steps are fastest with: `benchmarks/gpu_throughput.py
--attention NAME ...` measures that.
"""

import argparse
import itertools
import os
import statistics
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from illama.attention import dense_attention, multiplicative_attention
from illama.masks import Mask

Candidate = Callable[[Tensor, Tensor, Tensor, Mask], Tensor]
"""From q, k and v, (B, H, N, C), and a multiplicative mask to the output, (B, H, N, C)."""
ALPHAS, KINDS = (0.0, 0.3, 1.0), ("causal", "modified_causal")

_block_masks: dict[tuple[str, int, str], Any] = {}


def flash(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """The package's, wherever it can run: the package itself takes it only where it pays."""
    return multiplicative_attention(
        q, k, v, mask.rate, first_row_open=mask.attention == "modified_causal"
    )


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """The formula."""
    return dense_attention(q, k, v, mask.matrix)


def doubled(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """softmax(A) * S is what keys of mass exp(A) * S get, where keys of mass exp(A) * (1 - S)
    and value 0 stand beside them.
    """
    bias = torch.cat((mask.matrix.log(), (1 - mask.matrix).clamp(min=0).log()), dim=1).to(
        q.dtype
    )  # (N, 2N)
    return F.scaled_dot_product_attention(
        q, torch.cat((k, k), 2), torch.cat((v, torch.zeros_like(v)), 2), attn_mask=bias
    )


def cudnn(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Attend as `flash` does, with cuDNN's kernels."""
    out: Tensor = torch.ops.attention_candidates.cudnn(q, k, v, _alpha(mask), -1)[0]
    if mask.attention == "modified_causal":
        out = torch.cat((F.scaled_dot_product_attention(q[:, :, :1], k, v), out[:, :, 1:]), dim=2)
    return out


def flex(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Two runs, with the gradient through the log-sum-exps left to autograd."""
    from torch.nn.attention.flex_attention import (
        AuxRequest,
        flex_attention,
    )  # seconds, which the others need not wait for

    attend = (
        flex_attention
        if q.device.type == "cpu" or torch.compiler.is_compiling()
        else torch.compile(flex_attention)
    )
    aux = AuxRequest(lse=True)
    full, of_full = attend(q, k, v, return_aux=aux)
    seen, of_seen = attend(
        q, k, v, block_mask=_block_mask(mask.attention, q.shape[2], str(q.device)), return_aux=aux
    )
    alpha = _alpha(mask)
    share = (1 - alpha) * (of_seen.lse - of_full.lse).exp()
    return (alpha * full + share.unsqueeze(-1) * seen).to(q.dtype)


def kernels(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """See `benchmarks/triton_attention.py`."""
    open_row = 0 if mask.attention == "modified_causal" else -1
    out: Tensor = torch.ops.attention_candidates.triton(q, k, v, _alpha(mask), open_row)[0]
    return out


CANDIDATES: dict[str, Candidate] = {
    "flash": flash,
    "dense": dense,
    "doubled": doubled,
    "cudnn": cudnn,
    "flex": flex,
    "triton": kernels,
}


def why_not(name: str, device: str) -> str | None:
    """Return the reason why a candidate cannot run here, or None."""
    if name == "cudnn" and device == "cpu":
        return "cuDNN is for a GPU"
    if name == "triton" and find_spec("triton") is None:
        return "triton is not installed"
    if name == "triton" and device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        return "on a CPU it needs TRITON_INTERPRET=1"
    return None


def errors(name: str, device: str, dtype: torch.dtype, shape: tuple[int, int, int, int]) -> float:
    """The largest error of outputs and gradients against the formula in float64, as a share of
    the largest value.
    """
    worst = 0.0
    for alpha, kind in itertools.product(ALPHAS, KINDS):
        mask = Mask(kind, "multiplicative", shape[2]).to(device)
        mask.set_alpha(alpha)
        generator = torch.Generator().manual_seed(0)
        q, k, v, gradient = (
            torch.randn(shape, generator=generator).to(device, dtype) for _ in range(4)
        )
        exact = [tensor.double().requires_grad_() for tensor in (q, k, v)]
        expected = dense_attention(*exact, mask.matrix.double())
        expected = [expected, *torch.autograd.grad(expected, exact, gradient.double())]
        with_gradient = name != "flex" or device != "cpu"  # which has none on a CPU
        inputs = [tensor.requires_grad_(with_gradient) for tensor in (q, k, v)]
        out = CANDIDATES[name](*inputs, mask)
        found = [out, *(torch.autograd.grad(out, inputs, gradient) if with_gradient else ())]
        for ours, theirs in zip(found, expected, strict=False):
            worst = max(worst, ((ours - theirs).abs().max() / theirs.abs().max()).item())
    return worst


def milliseconds(
    name: str, alpha: float, shape: tuple[int, int, int, int], repeats: int = 50
) -> tuple[float, float]:
    """Measure medians of the way forward, and of forward and backward: bfloat16, compiled, GPU."""
    mask = Mask("causal", "multiplicative", shape[2]).cuda()
    mask.set_alpha(alpha)
    q, k, v, gradient = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    attend = torch.compile(CANDIDATES[name])

    def forward() -> Tensor:
        out: Tensor = attend(*inputs, mask)
        return out

    def both() -> None:
        torch.autograd.grad(forward(), inputs, gradient)

    return _median(forward, repeats), _median(both, repeats)


def _median(act: Callable[[], object], repeats: int) -> float:
    times = []
    for turn in range(10 + repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        act()
        end.record()
        torch.cuda.synchronize()
        if turn >= 10:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def main() -> int:
    """The command line. Returns 1 where a candidate is wrong or fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--tokens", type=int, default=197)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128, help="of the timing")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    dtype, allowed = (torch.bfloat16, 2e-2) if on_gpu else (torch.float32, 1e-4)
    wrong = False
    if not on_gpu:
        print("on a CPU: the arithmetic is checked, nothing is timed")
    for name in CANDIDATES:
        if reason := why_not(name, options.device):
            print(f"{name:8} not run: {reason}")
            continue
        try:
            error = errors(name, options.device, dtype, (2, 3, options.tokens, 64))
            line = f"{name:8} error {error:.1e}{'' if error < allowed else '  WRONG'}"
            wrong |= error >= allowed
            for alpha in (0.0, 0.5) if on_gpu else ():
                forward, both = milliseconds(
                    name, alpha, (options.batch, options.heads, options.tokens, 64)
                )
                line += f"  alpha {alpha}: forward {forward:.3f} ms, with backward {both:.3f} ms"
        except Exception as error:  # noqa: BLE001  the others are still to be measured
            line, wrong = (
                f"{name:8} FAILED: {type(error).__name__}: {str(error).splitlines()[0]}",
                True,
            )
        print(line, flush=True)
    return int(wrong)


def _alpha(mask: Mask) -> Tensor:
    """0-d, read from the mask's tensor: a number of Python's would be compiled in, and every
    change of it compiled anew.
    """
    return mask.matrix[1, -1]


def _block_mask(attention: str, tokens: int, device: str) -> Any:
    """Made once, at a first call that is not compiled."""
    if (known := _block_masks.get((attention, tokens, device))) is not None:
        return known
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) | (query == 0) if attention == "modified_causal" else key <= query

    made = _block_masks[attention, tokens, device] = create_block_mask(
        seen, None, None, tokens, tokens, device=device
    )
    return made


def _cudnn_run(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        q, k, v, None, True, 0.0, causal
    )
    return out, lse.view(q.shape[:3])


def _cudnn_run_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool
) -> Any:
    unused, count = torch.zeros((), dtype=torch.int64, device=q.device), q.shape[2]
    rest = unused, unused, None, None, None, count, count, 0.0, causal
    return torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        gradient, q, k, v, out, lse.unsqueeze(-1), *rest
    )


def _cudnn(q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, open_row: int) -> tuple[Tensor, Tensor]:
    """Forward and backward of two runs: see `illama.attention._Multiplicative`."""
    full, lse = _cudnn_run(q, k, v, False)
    seen, lse_seen = _cudnn_run(q, k, v, True)
    share = (1 - alpha) * (lse_seen - lse).exp()
    out = (alpha * full + share.unsqueeze(-1) * seen).to(q.dtype)
    return out.transpose(1, 2).contiguous().transpose(1, 2), lse.contiguous()


def _cudnn_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    alpha: Tensor,
    out: Tensor,
    lse: Tensor,
    open_row: int,
) -> tuple[Tensor, Tensor, Tensor]:
    full = _cudnn_run_backward(gradient, q, k, (alpha * v).to(v.dtype), out, lse, False)
    seen = _cudnn_run_backward(
        gradient, q, k, ((1 - alpha) * v).to(v.dtype), torch.zeros_like(out), lse, True
    )
    for_v = (alpha * full[2] + (1 - alpha) * seen[2]).to(v.dtype)
    return (full[0] + seen[0]).contiguous(), (full[1] + seen[1]).contiguous(), for_v.contiguous()


def _register(name: str, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """Make an operation that torch.compile calls as it is. Its output is laid out as (B, N, H,
    C), all else as its shape says.
    """
    schema = "(Tensor q, Tensor k, Tensor v, Tensor alpha, int open_row) -> (Tensor, Tensor)"
    back = (
        "(Tensor gradient, Tensor q, Tensor k, Tensor v, Tensor alpha, Tensor out, Tensor lse, "
        "int open_row)"
    )
    op = torch.library.custom_op(
        f"attention_candidates::{name}", forward, mutates_args=(), schema=schema
    )
    op_back = torch.library.custom_op(
        f"attention_candidates::{name}_backward",
        backward,
        mutates_args=(),
        schema=f"{back} -> (Tensor, Tensor, Tensor)",
    )

    @op.register_fake
    def _(q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, open_row: int) -> tuple[Tensor, Tensor]:
        batch, heads, tokens, channels = q.shape
        out = q.new_empty(batch, tokens, heads, channels).transpose(1, 2)
        return out, q.new_empty(q.shape[:3], dtype=torch.float32)

    @op_back.register_fake
    def _(
        gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        *tensors, ctx.open_row = inputs
        ctx.save_for_backward(*tensors, *output)

    def differentiate(ctx: Any, gradient: Tensor, _: Any) -> Any:
        return (*op_back(gradient, *ctx.saved_tensors, ctx.open_row), None, None)

    op.register_autograd(differentiate, setup_context=keep)


_register("cudnn", _cudnn, _cudnn_backward)
if find_spec("triton") is not None:
    import triton_attention

    _register("triton", triton_attention.run, triton_attention.run_backward)

if __name__ == "__main__":
    sys.exit(main())
