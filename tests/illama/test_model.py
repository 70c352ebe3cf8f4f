"""The network equals the released one, and its parts do what the paper says of them."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from illama.config import ModelConfig, with_preset
from illama.drop import Drop
from illama.model import VisionTransformer

REFERENCE = json.loads(
    (Path(__file__).parent / "reference" / "logits_illama_tiny.json").read_text()
)


def build(seed: int = 0, name: str = "vit_digits", **settings: object) -> VisionTransformer:
    settings = (
        {"embed_dim": 16, "depth": 2, "num_heads": 2, **settings}
        if name.endswith("digits")
        else settings
    )
    return VisionTransformer(
        ModelConfig.model_validate(with_preset({"name": name, **settings})), seed
    )


def digits(count: int = 3) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def reference_weights(model: VisionTransformer) -> dict[str, Tensor]:
    """As reference/README.md says."""
    generator = torch.Generator().manual_seed(20240410)
    weights = {}
    for name, parameter in sorted(model.state_dict().items()):
        t = torch.randn(parameter.shape, generator=generator)
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight")):
            weights[name] = 1 + 0.1 * t
        elif name in ("cls_token", "pos_embed"):
            weights[name] = 0.2 * t
        else:
            weights[name] = (0.05 if t.ndim > 1 else 0.02) * t
    return weights


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_logits_equal_those_of_the_released_code(alpha: float) -> None:
    model = build(name="illama_tiny").eval()
    model.load_state_dict(reference_weights(model))
    model.set_soft_mask_rate(alpha)
    with torch.no_grad():
        logits = model(torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7)))
    expected = REFERENCE[f"illama_tiny@224@{alpha}"]
    torch.testing.assert_close(logits[:, :8], torch.tensor(expected["first8"]), atol=1e-4, rtol=0)
    assert logits.sum().item() == pytest.approx(expected["sum"], abs=1e-2)
    assert logits.std().item() == pytest.approx(expected["std"], abs=1e-5)


def test_the_state_dict_has_the_released_names() -> None:
    names = set(build(name="illama_tiny").state_dict())
    block = [
        "norm1.weight",
        "norm2.weight",
        "attn.qkv.weight",
        "attn.qkv.bias",
        "attn.proj.weight",
        "attn.proj.bias",
    ]
    block += [f"mlp.fc{i}.weight" for i in (1, 2, 3)]
    top = [
        "cls_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "norm.weight",
        "head.weight",
        "head.bias",
    ]
    assert names == set(top) | {f"blocks.{i}.{name}" for i in range(12) for name in block}


def test_alpha_one_is_bidirectional_attention() -> None:
    causal, bidirectional = build(attention="causal"), build(attention="bidirectional")
    causal.set_soft_mask_rate(1.0)
    torch.testing.assert_close(causal(digits()), bidirectional(digits()))


@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_alpha_moves_the_output_and_comes_back(form: str) -> None:
    model = build(attention="causal", class_token="last", mask_form=form)
    before = model(digits())
    model.set_soft_mask_rate(0.5)
    assert not torch.allclose(model(digits()), before, atol=1e-4)
    model.set_soft_mask_rate(0.0)
    assert torch.equal(model(digits()), before)


def test_additive_causal_with_the_class_token_first_cannot_see_the_image() -> None:
    model = build(attention="causal", mask_form="additive").double()
    logits = model(digits().double())
    assert torch.equal(logits[0], logits[1])


def test_multiplicative_causal_with_the_class_token_first_leaks_through_the_denominator() -> None:
    model = build(attention="causal", mask_form="multiplicative").double()
    logits = model(digits().double())
    assert 0 < (logits[0] - logits[1]).abs().max() < 1e-4


@pytest.mark.parametrize(
    "repair", [{"class_token": "last", "attention": "causal"}, {"attention": "modified_causal"}]
)
@pytest.mark.parametrize("form", ["multiplicative", "additive"])
def test_both_repairs_let_the_image_in(repair: dict[str, str], form: str) -> None:
    logits = build(mask_form=form, **repair)(digits())
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize("class_token", ["first", "last"])
@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_computing_only_the_token_that_is_read_changes_nothing(
    class_token: str, attention: str
) -> None:
    model = build(class_token=class_token, attention=attention).double()
    features = model.forward_features(digits().double())
    assert features.shape == (3, 17, 16)
    full = model.head(features)[:, 0 if class_token == "first" else -1]
    torch.testing.assert_close(model(digits().double()), full, atol=1e-12, rtol=0)


@pytest.mark.parametrize("class_token", ["first", "last", "none"])
@pytest.mark.parametrize(
    "position", ["none", "learned", "rope", "learned+rope", "rope2d", "learned+rope2d"]
)
@pytest.mark.parametrize("mask_form", ["multiplicative", "additive"])
def test_every_combination_builds_and_learns_from_an_image(
    class_token: str, position: str, mask_form: str
) -> None:
    kinds = ["bidirectional", "causal"] + ["modified_causal"] * (class_token == "first")
    for attention in [*kinds, ["causal", "bidirectional"]]:
        model = build(
            class_token=class_token,
            position=position,
            mask_form=mask_form,
            attention=attention,
            norm="rmsnorm",
        )
        model(digits()).logsumexp(dim=1).sum().backward()
        blind = class_token == "first" and mask_form == "additive" and attention == "causal"
        gradient = model.patch_embed.proj.weight.grad
        assert gradient is None or gradient.isfinite().all()
        assert (gradient is None or not gradient.any()) == blind


def test_every_block_can_have_its_own_attention() -> None:
    first, second = (
        build(attention=["causal", "bidirectional"]),
        build(attention=["bidirectional", "causal"]),
    )
    assert not torch.allclose(first(digits()), second(digits()))
    first.set_soft_mask_rate(1.0)
    torch.testing.assert_close(first(digits()), build()(digits()))


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"takes images of \(1, 8, 8\) \(channels, height, width\), not \(1, 16, 8\)",
    ):
        build()(torch.zeros(2, 1, 16, 8))


def test_without_a_class_token_the_patches_are_averaged() -> None:
    model = build(class_token="none", position="none")
    assert "cls_token" not in model.state_dict()
    patch_rows = digits().reshape(3, 1, 4, 2, 8)  # four rows of patches, each two pixels high
    torch.testing.assert_close(
        model(digits()), model(patch_rows.flip(2).reshape(3, 1, 8, 8))
    )  # the same patches elsewhere
    assert not torch.allclose(
        model(digits()), model(patch_rows.flip(3).reshape(3, 1, 8, 8)), atol=1e-6
    )  # other patches


def test_dropping_every_path_leaves_the_embedding() -> None:
    model = build()
    nothing = Drop(paths=torch.zeros(2, 2, 3), inputs=None)
    embedded = model.head(model.norm(model.cls_token + model.pos_embed[:, :1]))[:, 0]
    torch.testing.assert_close(model(digits(), nothing), embedded.expand(3, 10))
    everything = Drop(
        paths=torch.ones(2, 2, 3), inputs=(torch.tensor([1, 3, 5]), torch.tensor(0.0))
    )
    assert torch.equal(model(digits(), everything), model(digits()))


def test_variants_that_share_a_tensor_share_its_first_values() -> None:
    vit, other = (
        build(3).state_dict(),
        build(3, norm="rmsnorm", feed_forward="swiglu", class_token="last").state_dict(),
    )
    for name in ("head.weight", "blocks.1.attn.qkv.weight", "pos_embed", "patch_embed.proj.bias"):
        assert torch.equal(vit[name], other[name])
    assert not torch.equal(vit["head.weight"], build(4).state_dict()["head.weight"])


def test_first_values_do_not_depend_on_the_random_state_of_the_process() -> None:
    torch.manual_seed(1)
    first = build(0).state_dict()
    torch.manual_seed(2)
    second = build(0).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("alpha", "attention", "reason"),
    [(1.5, "causal", "between 0"), (0.5, "bidirectional", "bidirectional")],
)
def test_a_senseless_soft_mask_rate_is_refused(alpha: float, attention: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build(attention=attention).set_soft_mask_rate(alpha)


@pytest.mark.parametrize("class_token", ["first", "none"])
@pytest.mark.parametrize("position", ["learned", "none"])
def test_the_residual_stream_is_as_fine_as_the_weights_under_autocast(
    class_token: str, position: str
) -> None:
    model = build(norm="rmsnorm", class_token=class_token, position=position)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.forward_features(digits()).dtype == torch.float32


KINDS: list[dict[str, object]] = [
    {"name": "illama_digits"},
    {"name": "illama_digits", "mask_form": "additive"},
    {"name": "illama_digits", "position": "rope2d", "class_token": "none"},
    {"attention": "modified_causal"},
    {},
]


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.bfloat16, 0.02), (torch.float16, 2e-3), (torch.float64, 1e-6)]
)
def test_cast_as_a_whole_it_rounds_its_weights_and_nothing_else(
    settings: dict[str, object], dtype: torch.dtype, near: float
) -> None:
    model = build(**settings)  # type: ignore[arg-type]
    if model.config.masked:
        model.set_soft_mask_rate(0.3)
    exact = model(digits())
    constants = {name: buffer.clone() for name, buffer in model.named_buffers()}
    cast = model.to(dtype)
    assert cast(digits().to(dtype)).dtype == dtype
    torch.testing.assert_close(cast(digits().to(dtype)).float(), exact, atol=near, rtol=0)
    finest = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(
        buffer.dtype == finest
        for name, buffer in cast.named_buffers()
        if name.endswith(("rotation", "matrix"))
    )
    back = dict(cast.float().named_buffers())
    assert all(torch.equal(back[name], buffer) for name, buffer in constants.items())


def test_in_double_precision_angles_and_masks_are_as_exact_as_the_weights() -> None:
    model = build(name="illama_digits").double()
    model.set_soft_mask_rate(0.1)
    assert model.rotation is not None
    angle = torch.tensor(1.0, dtype=torch.float64)  # of the second position's first pair
    torch.testing.assert_close(model.rotation[1, 0], torch.stack((angle.cos(), angle.sin())))
    assert model.masks["causal"].matrix[0, 1].item() == 0.1


@pytest.mark.parametrize("settings", KINDS)
def test_it_is_built_without_memory_and_filled_later(settings: dict[str, object]) -> None:
    model = build(**settings)  # type: ignore[arg-type]
    with torch.device("meta"):
        empty = VisionTransformer(model.config)
    assert {tensor.device.type for tensor in empty.parameters()} == {"meta"}
    assert {tensor.device.type for tensor in empty.buffers()} <= {"meta"}
    assert empty(digits().to("meta")).shape == (3, 10)
    filled = empty.to_empty(device="cpu")
    filled.load_state_dict(model.state_dict())
    assert torch.equal(filled(digits()), model(digits()))


@pytest.mark.parametrize("settings", KINDS)
def test_a_batch_of_no_image_has_no_logits(settings: dict[str, object]) -> None:
    assert build(**settings)(digits(0)).shape == (0, 10)  # type: ignore[arg-type]
