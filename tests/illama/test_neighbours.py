"""Each part in `illama/parts` computes its published formula: held against loops over tokens, on
odd shapes.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import BSpline
from torch import Tensor, nn

from illama.config.functions import arguments_of
from illama.config.imports import function_of
from illama.masks import Mask
from illama.parts import PARTS
from illama.parts.linear_attention import seen_so_far
from illama.parts.place import ALL, Place, Where

HEADS, WIDTH, IMAGES = 3, 12, 2
C = WIDTH // HEADS


def place(class_token: str = "first", side: int = 3, layer: int = 1, **more: Any) -> Place:
    tokens = side * side + (class_token != "none")
    settings: dict[str, Any] = {"attention": "bidirectional", "mask_form": "multiplicative"} | more
    return Place(WIDTH, HEADS, tokens, (side, side), class_token, layer, 4, **settings)


def made(name: str, at: Place, kind: str = "mixer", **options: Any) -> Any:
    torch.manual_seed(7)
    function = PARTS[kind][name]
    module = function_of(function)(at, **arguments_of("part", function, options))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def inputs(at: Place) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(IMAGES, at.tokens, WIDTH, generator=generator, dtype=torch.float64)


def mask(at: Place, form: str, alpha: float = 0.0, kind: str = "causal") -> Mask:
    found = Mask(kind, form, at.tokens).double()
    found.set_alpha(alpha)
    return found


def visibility(given: Mask | None, count: int) -> Tensor:
    """S, (N, N), in both forms."""
    if given is None:
        return torch.ones(count, count, dtype=torch.float64)
    return given.matrix.exp() if given.additive else given.matrix


def split(part: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys, values, each (B, H, N, C)."""
    q, k, v = part.qkv(x).chunk(3, -1)
    return tuple(t.unflatten(-1, (HEADS, C)).transpose(1, 2) for t in (q, k, v))


def joined(part: Any, out: Tensor) -> Tensor:
    return part.proj(out.transpose(1, 2).reshape(IMAGES, -1, WIDTH))  # type: ignore[no-any-return]


def softmax_weights(q: Tensor, k: Tensor, given: Mask | None) -> Tensor:
    scores = torch.einsum("bhic,bhjc->bhij", q, k) / math.sqrt(q.shape[-1])
    if given is None:
        return scores.softmax(-1)
    seen = visibility(given, k.shape[2])
    if given.additive:
        return (scores + seen.log()).softmax(-1)
    return scores.softmax(-1) * seen


CASES: list[tuple[str, float]] = [("multiplicative", 0.0), ("multiplicative", 0.4)]
CASES += [("additive", 0.0), ("additive", 0.4)]


def masks_of(at: Place) -> list[Mask | None]:
    return [None, *(mask(at, *case) for case in CASES)]


def test_mixture_of_heads_weights_each_head_by_its_router() -> None:
    at = place()
    part, x = made("mixture_of_heads", at, shared=1, top_k=1, balance=0.5).train(), inputs(at)
    for given in masks_of(at):
        q, k, v = split(part, x)
        heads = softmax_weights(q, k, given) @ v
        expected = torch.zeros(IMAGES, at.tokens, WIDTH, dtype=torch.float64)
        scores = part.route(x).softmax(-1)
        kinds = part.route_kinds(x).softmax(-1)
        for image in range(IMAGES):
            for token in range(at.tokens):
                best = int(scores[image, token].argmax())
                gates = [kinds[image, token, 0], *torch.zeros(2, dtype=torch.float64)]
                gates[1 + best] = kinds[image, token, 1] * scores[image, token, best]
                row = torch.cat([g * heads[image, h, token] for h, g in enumerate(gates)])
                expected[image, token] = part.proj(row)
        chosen = F.one_hot(scores.argmax(-1), HEADS - 1).double()
        load = (chosen.mean((0, 1)) * scores.mean((0, 1))).sum().item()
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)
        assert part.auxiliary_loss().item() == pytest.approx(0.5 * load)


def test_agents_are_pooled_queries_that_hand_on_what_they_collect() -> None:
    for token in ("first", "last", "none"):
        at = place(token, side=4)
        part, x = made("agent", at, side=2), inputs(at)
        q, k, v = split(part, x)
        first = 1 if token == "first" else 0
        grid = torch.arange(16).reshape(4, 4) + first
        agents = torch.stack(
            [q[:, :, grid[r : r + 2, c : c + 2].flatten()].mean(2) for r in (0, 2) for c in (0, 2)],
            dim=2,
        )
        out = softmax_weights(q, agents, None) @ (softmax_weights(agents, k, None) @ v)
        values = v.transpose(1, 2).flatten(2)  # (B, N, D)
        local = torch.zeros_like(values)
        for r in range(4):
            for c in range(4):
                total = part.dwc.bias.expand(IMAGES, -1).clone()
                for dr in (-1, 0, 1):
                    for dc in (-1, 0, 1):
                        if 0 <= r + dr < 4 and 0 <= c + dc < 4:
                            weight = part.dwc.weight[:, 0, dr + 1, dc + 1]
                            total = total + weight * values[:, grid[r + dr, c + dc]]
                local[:, grid[r, c]] = total
        expected = part.proj(out.transpose(1, 2).flatten(2) + local)
        torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


def test_a_single_head_sees_a_share_of_the_channels() -> None:
    at = place()
    part, x = made("single_head", at, share=0.4, qk_dim=3), inputs(at)
    for given in masks_of(at):
        seen = part.to_qkv(part.pre_norm(x[..., :5]))
        q, k, v = (t.unsqueeze(1) for t in (seen[..., :3], seen[..., 3:6], seen[..., 6:]))
        out = (softmax_weights(q, k, given) @ v).squeeze(1)
        expected = part.proj(torch.cat((out, x[..., 5:]), -1).clamp(min=0))
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)


def kernel_sums(q: Tensor, k: Tensor, v: Tensor, given: Mask | None) -> Tensor:
    """Linear attention as its N x N matrix."""
    weights = torch.einsum("bhif,bhjf->bhij", q, k)
    seen = visibility(given, k.shape[2])
    counted = seen if given is not None and given.additive else torch.ones_like(seen)
    return (weights * seen) @ v / ((weights * counted).sum(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("kernel", ["elu", "relu"])
def test_prefix_sums_are_the_masked_matrix_of_linear_attention(kernel: str) -> None:
    at = place("last")
    part, x = made("linear_attention", at, kernel=kernel), inputs(at)
    for given in masks_of(at):
        q, k, v = split(part, x)
        if kernel == "elu":
            q, k = (torch.where(t > 0, t + 1, t.exp()) for t in (q, k))
        else:
            q, k = q.clamp(min=0), k.clamp(min=0)
        expected = joined(part, kernel_sums(q, k, v, given))
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)


def test_blocks_of_linear_attention_are_the_masked_matrix() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.rand(2, 3, 150, 5, generator=generator).double() for _ in range(3))
    expected = (q @ k.transpose(-2, -1) * torch.ones(150, 150).tril()) @ v
    torch.testing.assert_close(seen_so_far(q, k, v), expected)


def test_norm_aware_features_keep_what_the_denominator_cancels() -> None:
    at = place()
    part, x = made("nalaformer", at, sharpness=2.5), inputs(at)
    for given in masks_of(at):
        q, k, v = split(part, x)
        norm = (q**2).sum(-1).sqrt()
        weights = torch.zeros(IMAGES, HEADS, at.tokens, at.tokens, dtype=torch.float64)
        for i in range(at.tokens):
            power = 2.5 * (0.5 + norm[:, :, i].tanh())
            length = (q[:, :, i].abs() / norm[:, :, i, None]) ** power[..., None]
            for j in range(at.tokens):
                alike = q[:, :, i].sign() == k[:, :, j].sign()
                weights[:, :, i, j] = (length * k[:, :, j].abs() ** 2.5 * alike).sum(-1)
        seen = visibility(given, at.tokens)
        counted = seen if given is not None and given.additive else torch.ones_like(seen)
        total = (weights * counted).sum(-1, keepdim=True)
        expected = joined(part, (weights * seen) @ v / (total + 1e-6))
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)


def test_norm_aware_features_have_a_gradient_where_a_channel_is_zero() -> None:
    at = place()
    part = made("nalaformer", at)
    x = torch.zeros(IMAGES, at.tokens, WIDTH, dtype=torch.float64, requires_grad=True)
    nn.init.zeros_(part.qkv.bias)
    part(x, Where(ALL, None, None)).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("block", [1, 4, 64])
def test_lightning_blocks_are_the_decaying_matrix(block: int) -> None:
    at = place(layer=2)
    part, x = made("lightning", at, block=block), inputs(at)
    for given in masks_of(at):
        q, k, v = split(part, x)
        q, k = q * q.sigmoid(), k * k.sigmoid()
        apart = (torch.arange(at.tokens)[:, None] - torch.arange(at.tokens)).abs()
        decay = torch.stack(
            [math.exp(-(2 ** (-8 * h / HEADS)) * (1 - 2 / 3)) ** apart for h in range(1, HEADS + 1)]
        )
        weights = torch.einsum("bhic,bhjc->bhij", q, k) * decay * visibility(given, at.tokens)
        out = weights @ v
        size = (out**2).mean(-1, keepdim=True) + torch.finfo(out.dtype).eps
        expected = joined(part, out / size.sqrt() * part.out_norm.weight)
        found = part(x, Where(ALL, None, given))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # decays are float32


def test_regions_attend_to_the_regions_that_they_have_most_to_do_with() -> None:
    for token in ("first", "last", "none"):
        at = place(token, side=4)
        part, x = made("bi_level_routing", at, regions=2, top_k=2), inputs(at)
        q, k, v = split(part, x)
        first, count = (1 if token == "first" else 0), at.tokens
        region = {first + r * 4 + c: (r // 2) * 2 + c // 2 for r in range(4) for c in range(4)}
        members = [[n for n in region if region[n] == s] for s in range(4)]
        seen = torch.ones(IMAGES, count, count, dtype=torch.bool)
        for image in range(IMAGES):
            mean_q, mean_k = (
                torch.stack([t[image, :, m].mean(1).flatten() for m in members]) for t in (q, k)
            )
            best = (mean_q @ mean_k.T).topk(2, -1).indices.tolist()
            for n, s in region.items():
                for other, r in region.items():
                    seen[image, n, other] = r in best[s]
        scores = torch.einsum("bhic,bhjc->bhij", q, k) / math.sqrt(C)
        out = scores.masked_fill(~seen[:, None], -math.inf).softmax(-1) @ v
        images = v[:, :, first : first + 16].transpose(2, 3).reshape(IMAGES, WIDTH, 4, 4)
        local = torch.zeros(IMAGES, count, WIDTH, dtype=torch.float64)
        local[:, first : first + 16] = part.lce(images).flatten(2).transpose(1, 2)
        expected = part.proj(out.transpose(1, 2).flatten(2) + local)
        torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


def test_differential_attention_is_a_difference_of_two() -> None:
    at = place(layer=2)
    part, x = made("differential", at), inputs(at)
    start = 0.8 - 0.6 * math.exp(-0.6)
    a, b, c, d = part.vectors
    share = math.exp((a @ b).item()) - math.exp((c @ d).item()) + start
    for given in masks_of(at):
        q, k, v = split(part, x)
        one = softmax_weights(q[..., :2], k[..., :2], given)
        two = softmax_weights(q[..., 2:], k[..., 2:], given)
        out = (one - share * two) @ v
        out = out / ((out**2).mean(-1, keepdim=True) + 1e-5).sqrt() * part.out_norm.weight
        expected = joined(part, (1 - start) * out)
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)
    assert part.no_weight_decay() == {"vectors"}


def test_softplus_attention_sharpens_an_l1_norm() -> None:
    at = place()
    part, x = made("softplus", at, power=2.0), inputs(at)
    for given in masks_of(at):
        q, k, v = split(part, x)
        seen = visibility(given, at.tokens)
        scale = seen.sum(-1, keepdim=True).log() / math.sqrt(C)
        scores = torch.einsum("bhic,bhjc->bhij", q, k) * scale
        weights = (1 + scores.exp()).log() * seen
        weights = weights / weights.sum(-1, keepdim=True)
        weights = weights**2 / (weights**2).sum(-1, keepdim=True)
        torch.testing.assert_close(part(x, Where(ALL, None, given)), joined(part, weights @ v))


def test_kan_attention_learns_its_weights_from_a_row_of_scores() -> None:
    at = place("none")
    part, x = made("kan_attention", at, rank=2, waves=2), inputs(at)
    q, k, v = split(part, x)
    scores = torch.einsum("bhic,bhjc->bhij", q, k) / math.sqrt(C)
    inner = part.inner.reshape(2, at.tokens, 2, 2)  # rank, token, cosine or sine, wave
    hidden = sum(
        wave_of(m * scores) @ inner[:, :, kind, m - 1].T
        for m in (1, 2)
        for kind, wave_of in enumerate((torch.cos, torch.sin))
    )
    expected = joined(part, hidden @ part.outer.T @ v)
    torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


def test_an_activator_gates_each_token_by_itself() -> None:
    at = place("none")
    part, x = made("activator", at), inputs(at)

    def normed(t: Tensor) -> Tensor:
        spread = ((t - t.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
        scaled = (t - t.mean(-1, keepdim=True)) / (spread + 1e-5).sqrt()
        return scaled * part.hidden_norm.weight + part.hidden_norm.bias

    first = x @ part.gate.weight.T + part.gate.bias
    gelu = first * 0.5 * (1 + torch.erf(first / math.sqrt(2)))
    expected = part.out(normed(gelu) * normed(x @ part.value.weight.T + part.value.bias))
    for given in masks_of(at):
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)


def test_gated_prompts_add_to_an_attention_that_stays_as_it_is() -> None:
    at = place()
    part, x = made("llama_adapter", at, prompts=4), inputs(at)
    for given in masks_of(at):
        q, k, v = split(part, x)
        out = softmax_weights(q, k, given) @ v
        weight, bias = part.qkv.weight, part.qkv.bias
        for h in range(HEADS):
            rows = slice(WIDTH + h * C, WIDTH + (h + 1) * C)
            keys = part.prompts @ weight[rows].T + bias[rows]
            rows = slice(2 * WIDTH + h * C, 2 * WIDTH + (h + 1) * C)
            values = part.prompts @ weight[rows].T + bias[rows]
            seen = (q[:, h] @ keys.T / math.sqrt(C)).softmax(-1) @ values
            out[:, h] += math.tanh(part.gate[h].item()) * seen
        torch.testing.assert_close(part(x, Where(ALL, None, given)), joined(part, out))


def test_gates_that_are_zero_leave_the_attention_alone() -> None:
    at = place()
    part, x = made("llama_adapter", at), inputs(at)
    nn.init.zeros_(part.gate)
    q, k, v = split(part, x)
    expected = joined(part, softmax_weights(q, k, None) @ v)
    torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


@pytest.mark.parametrize("gate", ["sigmoid", "none", "relu", "gelu", "silu"])
def test_a_gated_linear_unit_is_a_product_of_two_linears(gate: str) -> None:
    at = place()
    part, x = made("gated_linear_unit", at, "feed_forward", gate=gate), inputs(at)
    first = part.fc1(x)
    gates = {
        "sigmoid": 1 / (1 + (-first).exp()),
        "none": first,
        "relu": first.clamp(min=0),
        "gelu": first * 0.5 * (1 + torch.erf(first / math.sqrt(2))),
        "silu": first / (1 + (-first).exp()),
    }
    expected = part.fc2(gates[gate] * part.fc3(x))
    torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


def test_the_channel_gate_takes_its_mean_over_the_tokens_that_are_seen() -> None:
    at = place()
    part, x = made("eca", at, "feed_forward", width=3), inputs(at)
    for given in masks_of(at):
        fed = part.fc2(F.gelu(part.fc1(x)))
        seen = visibility(given, at.tokens)
        expected = torch.zeros_like(fed)
        a, b, c = part.gate.weight.flatten()
        for i in range(at.tokens):
            mean = (seen[i, :, None] * fed).sum(1) / seen[i].sum()
            wide = F.pad(mean, (1, 1))
            gate = a * wide[:, :-2] + b * wide[:, 1:-1] + c * wide[:, 2:]
            expected[:, i] = fed[:, i] * gate.sigmoid()
        torch.testing.assert_close(part(x, Where(ALL, None, given)), expected)


def test_splines_of_the_kan_feed_forward_are_scipys() -> None:
    at = place()
    part, x = made("kan", at, "feed_forward", grid=4, reach=1.5), inputs(at)
    layer = part[0]
    knots = layer.knots.numpy()
    basis = np.stack(
        [
            np.nan_to_num(BSpline.basis_element(knots[g : g + 5], extrapolate=False)(x.numpy()))
            for g in range(7)
        ],
        axis=-1,
    )
    torch.testing.assert_close(layer.basis(x), torch.from_numpy(basis))
    expected = (x * x.sigmoid()) @ layer.plain.weight.T
    expected = expected + layer.basis(x).flatten(-2) @ layer.splines.weight.T
    torch.testing.assert_close(part(x, Where(ALL, None, None)), expected)


def test_every_part_of_the_folder_is_tested_here() -> None:
    text = Path(__file__).read_text("utf-8")
    named = {name for names in PARTS.values() for name in names}
    assert {name for name in named if f'"{name}"' not in text} == set()
