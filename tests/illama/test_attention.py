"""The fast forms of attention are the written-out one: outputs and gradients."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from illama import attention, masks
from illama.attention import attend, dense_attention, multiplicative_attention
from illama.masks import Mask, soften, visible

Tensors = tuple[Tensor, Tensor, Tensor]


def tensors(tokens: int, dtype: torch.dtype = torch.float32) -> Tensors:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (2 * torch.randn(2, 3, tokens, 8, generator=generator, dtype=dtype) for _ in range(3))
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def gradients(out: Tensor, of: Tensors) -> tuple[Tensor, ...]:
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return torch.autograd.grad(out, of, weights)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tokens", [1, 17, 131])
@pytest.mark.parametrize("kind", ["causal", "modified_causal"])
def test_the_form_without_a_matrix_equals_the_formula(alpha: float, tokens: int, kind: str) -> None:
    qkv = tensors(tokens, torch.float64)
    expected = dense_attention(*qkv, soften(visible(kind, tokens), alpha).double())
    ours = multiplicative_attention(
        *qkv, torch.tensor(alpha, dtype=torch.float64), first_row_open=kind == "modified_causal"
    )
    torch.testing.assert_close(
        ours, expected, atol=1e-6, rtol=0
    )  # alpha is rounded to float32 in the formula's matrix
    for left, right in zip(gradients(ours, qkv), gradients(expected, qkv), strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_its_gradient_is_that_of_finite_differences() -> None:
    qkv = tensors(5, torch.float64)
    assert torch.autograd.gradcheck(
        lambda q, k, v: multiplicative_attention(q, k, v, torch.tensor(0.4)), qkv
    )


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("mask_form", ["multiplicative", "additive"])
@pytest.mark.parametrize("kind", ["bidirectional", "causal", "modified_causal"])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 1), slice(-1, None)])
@pytest.mark.parametrize("fused_from", [1, 1000])
def test_whatever_form_is_picked_it_is_the_same_attention(
    alpha: float,
    mask_form: str,
    kind: str,
    rows: slice,
    fused_from: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "FUSED_FROM", fused_from)
    monkeypatch.setattr(attention, "LINEAR_FROM", fused_from)
    q, k, v = qkv = tensors(9)
    mask = None if kind == "bidirectional" else Mask(kind, mask_form, 9)
    if mask is not None:
        mask.set_alpha(alpha)
    soft = soften(visible(kind, 9), alpha)
    additive = mask_form == "additive"
    expected = dense_attention(q, k, v, soft.log() if additive else soft, additive)[:, :, rows]
    ours = attend(q, k, v, mask, rows)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    for left, right in zip(gradients(ours, qkv), gradients(expected, qkv), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


def test_additive_causal_is_what_libraries_call_causal() -> None:
    q, k, v = tensors(7)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(
        dense_attention(q, k, v, visible("causal", 7).float().log(), additive=True), expected
    )


def test_multiplicative_rows_do_not_sum_to_one() -> None:
    q, k, _ = tensors(7)
    ones = torch.ones(2, 3, 7, 8)
    sums = dense_attention(q, k, ones, soften(visible("causal", 7), 0.0))[..., 0]
    assert (sums[:, :, :-1] < 1).all()
    torch.testing.assert_close(sums[:, :, -1], torch.ones(2, 3))


def test_the_form_without_a_matrix_allocates_none(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = 2048
    q, k, v = (torch.randn(1, 1, tokens, 8, requires_grad=True) for _ in range(3))
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.numel()) or t, lambda t: t
    ):
        attend(q, k, v, Mask("causal", "multiplicative", tokens)).sum().backward()
    assert 0 < max(sizes) <= tokens * 8


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*(torch.jit|autograd.function.Function):DeprecationWarning"
)  # the compiler's own doing
@pytest.mark.parametrize("kind", ["causal", "modified_causal"])
@pytest.mark.parametrize(
    ("device", "dtype", "near"),
    [
        ("cpu", torch.float32, 1e-5),
        pytest.param("cuda", torch.bfloat16, 2e-2, marks=pytest.mark.cuda),
    ],
)
def test_a_soft_mask_compiles_the_form_without_a_matrix_once(
    kind: str, device: str, dtype: torch.dtype, near: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "LINEAR_FROM", 128)
    monkeypatch.setattr(attention, "dense_attention", lambda *_: pytest.fail("a matrix was built"))
    mask = Mask(kind, "multiplicative", 131).to(device)
    q, k, v = (tensor.detach().to(device, dtype).requires_grad_() for tensor in tensors(131))
    compiled = torch.compile(attend, fullgraph=True)
    for alpha in (0.3, 0.2, 0.0):
        mask.set_alpha(alpha)
        ours = compiled(q, k, v, mask)
        exact = q.double(), k.double(), v.double()
        expected = dense_attention(*exact, mask.matrix.double())
        torch.testing.assert_close(ours.double(), expected, atol=near, rtol=near)
        torch.compiler.set_stance("fail_on_recompile")
    torch.compiler.set_stance("default")


def test_on_a_gpu_torch_takes_the_two_runs_as_they_are_called() -> None:
    """Shapes and types alone, which needs no GPU."""
    kept: list[Tensor] = []
    context = SimpleNamespace(save_for_backward=lambda *saved: kept.extend(saved))
    with FakeTensorMode():
        q, k, v, gradient = (
            torch.empty(2, 3, 197, 64, device="cuda", dtype=torch.bfloat16) for _ in range(4)
        )
        alpha = torch.empty((), device="cuda", dtype=torch.float64)
        out = attention._Multiplicative.forward(context, q, k, v, alpha)
        context.saved_tensors = kept
        found = attention._Multiplicative.backward(context, gradient)[:3]
    assert {(tensor.shape, tensor.dtype, tensor.device.type) for tensor in (out, *found)} == {
        (q.shape, q.dtype, "cuda")
    }


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
@pytest.mark.parametrize("tokens", [9, 130])
def test_a_new_kind_of_mask_is_one_line_and_is_obeyed_by_every_form(
    form: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = masks.MaskKind(lambda query, key: (key <= query) & (query - key < 3))
    monkeypatch.setattr(masks, "KINDS", {**masks.KINDS, "sliding_window": window})
    monkeypatch.setattr(attention, "LINEAR_FROM", 0)
    mask = Mask("sliding_window", form, tokens)
    q, k, v = tensors(tokens)
    seen = visible("sliding_window", tokens)
    assert seen.sum(1).tolist() == [1, 2] + [3] * (tokens - 2)
    expected = dense_attention(
        q, k, v, seen.float().log() if form == "additive" else seen.float(), form == "additive"
    )
    torch.testing.assert_close(attend(q, k, v, mask), expected, atol=1e-5, rtol=0)
