"""What may become the attention on a GPU is the written-out one, wherever it can run."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from illama.masks import Mask

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning"
)  # the compiler's own imports

NAMES = ["flash", "dense", "doubled", "cudnn", "flex", "triton"]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
SHAPE = 2, 3, 70, 64


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import attention_candidates

    return attention_candidates


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_a_candidate_equals_the_formula(candidates: Any, name: str, device: str) -> None:
    if reason := candidates.why_not(name, device):
        pytest.skip(reason)
    dtype, allowed = (torch.float32, 1e-5) if device == "cpu" else (torch.bfloat16, 2e-2)
    assert candidates.errors(name, device, dtype, SHAPE) < allowed


def test_a_wrong_candidate_would_be_noticed(
    candidates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_quite(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Mask) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    monkeypatch.setitem(candidates.CANDIDATES, "dense", not_quite)
    assert candidates.errors("dense", "cpu", torch.float32, SHAPE) > 0.1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["cudnn", "triton"])
def test_torch_can_compile_around_an_operation_of_ours(
    candidates: Any, name: str, device: str
) -> None:
    if reason := candidates.why_not(name, device):
        pytest.skip(reason)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    q, k, v = (torch.randn(SHAPE, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    inputs = q, k, v, torch.tensor(0.5, device=device), -1
    torch.library.opcheck(
        getattr(torch.ops.attention_candidates, name).default,
        inputs,
        test_utils=("test_schema", "test_faketensor"),
    )


def test_what_cannot_run_says_why(candidates: Any) -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        assert candidates.why_not("triton", "cpu") in (
            "triton is not installed",
            "on a CPU it needs TRITON_INTERPRET=1",
        )
    assert candidates.why_not("doubled", "cpu") is None
