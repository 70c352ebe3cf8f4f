"""Measures of a network's insides, against values by hand and independent computations."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import illama
from illama.config import resolve
from illama.evaluation.adapted import resized, with_new_head
from illama.measures import read_request
from illama.measures.attention_rank import attention_rank, rank_index
from illama.measures.causality import causality
from illama.measures.efficiency import attention_macs, efficiency
from illama.measures.landscape import directions, landscape
from illama.measures.quantization import quantization
from illama.measures.registry import function_in, quantities_of
from illama.measures.robustness import corrupted, robustness
from illama.measures.run import checked
from illama.measures.shape_texture import shape_share
from illama.measures.training_dip import dip_of
from illama.measures.transfer import features, transfer
from illama.quantized import rounded

CPU = torch.device("cpu")
MODEL = {"name": "vit_digits", "embed_dim": 16, "depth": 2, "num_heads": 2}


class FewDigits:
    """Sixty-four images of noise around ten means, as a measure gets them."""

    part = "val"
    directory = Path()

    def __init__(self, **model: Any) -> None:
        recipe = {"epochs": 1, "batch_size": 64, "lr": 1e-3}
        settings = {"model": {**MODEL, **model}, "data": {"name": "digits"}, "train": recipe}
        self.config: Any = resolve(settings)
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(64) % 10
        means = torch.randn(10, 1, 8, 8, generator=generator)
        self.images = means[self.labels] + 0.1 * torch.randn(64, 1, 8, 8, generator=generator)

    def held_out(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.images, self.labels

    training = held_out

    def normalisation(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)

    def curve(self) -> Sequence[Mapping[str, float]]:
        return ()


def _network(**model: Any) -> nn.Module:
    torch.manual_seed(0)
    settings = {**MODEL, **model}
    network = illama.create_model(str(settings.pop("name")), **settings).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # the first values are too small to tell anything
            parameter.mul_(4)
    return network


def test_rank_of_maps_whose_singular_values_are_known() -> None:
    tokens = 10
    uniform, identity = np.full((tokens, tokens), 1 / tokens), np.eye(tokens)
    assert rank_index(np.stack([uniform, identity])).tolist() == [1, 8], "0.8 of ten equal values"
    assert rank_index(np.diag([4.0, 3.0, 2.0, 1.0]), 0.7) == 2


@pytest.mark.parametrize(("form", "expected"), [("bidirectional", 1), ("multiplicative", 8)])
def test_the_mask_alone_makes_rank(form: str, expected: int) -> None:
    """Seventeen tokens that all weigh the same, as in an untrained network."""
    weights = torch.full((17, 17), 1 / 17)
    masked = weights if form == "bidirectional" else weights.tril()
    assert rank_index(masked.numpy()) == expected


def test_attention_rank_goes_by_the_maps_of_the_forward_pass() -> None:
    network, data = _network(attention="causal", class_token="last"), FewDigits()
    found = attention_rank(network, data, CPU, 0, images=3)
    before, after = network.attention_maps(data.images[:3])[0]  # type: ignore[operator]
    assert torch.equal(after, before.tril())
    by_hand = rank_index(after.detach().numpy()).mean()
    assert found.values["first_layer"] == pytest.approx(by_hand)


@pytest.mark.parametrize("mask_form", ["additive", "multiplicative"])
def test_maps_are_those_that_the_values_are_weighed_with(mask_form: str) -> None:
    network: Any = _network(attention="causal", class_token="last", mask_form=mask_form, depth=1)
    images = FewDigits().images[:2]
    seen: dict[str, Tensor] = {}
    block = network.blocks[0].attn
    block.qkv.register_forward_hook(lambda layer, inputs, out: seen.update(qkv=out))
    block.proj.register_forward_pre_hook(lambda layer, inputs: seen.update(out=inputs[0]))
    (_, after), *_ = network.attention_maps(images)
    values = seen["qkv"].unflatten(-1, (3, 2, -1))[:, :, 2].transpose(1, 2)
    torch.testing.assert_close((after @ values).transpose(1, 2).flatten(2), seen["out"])


@pytest.mark.slow
def test_no_later_patch_leaks_through_the_additive_mask_and_some_does_through_the_other() -> None:
    leaks = {}
    for form in ("additive", "multiplicative"):
        network = _network(attention="causal", class_token="last", mask_form=form)
        leaks[form] = causality(network, FewDigits(), CPU, 0).values["leak"]
    assert leaks["additive"] == 0
    assert 0 < leaks["multiplicative"] < 1


@pytest.mark.slow
def test_the_gradient_of_a_network_that_sees_one_half_lies_there() -> None:
    class UpperHalf(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 0, :4].flatten(1)[:, :10]

    found = causality(UpperHalf(), FewDigits(), CPU, 0)
    assert found.values["first_half"] == 1


def test_table_2_of_the_paper() -> None:
    """43.95 and 40.23 million multiply-accumulates per layer at N = 197 and D = 192."""
    assert round(attention_macs(197, 192, causal=False) / 1e6, 2) == 43.95
    assert round(attention_macs(197, 192, causal=True) / 1e6, 2) == 40.23


def test_times_are_positive_and_the_control_has_no_mask() -> None:
    network = _network(attention="causal", class_token="last")
    found = efficiency(network, FewDigits(), CPU, 0, repeats=2, largest_batch=8).values
    assert found["latency"] > 0
    assert found["latency_bidirectional"] > 0
    assert found["attention_macs"] < found["attention_macs_done"]


def test_the_grid_of_whole_numbers_by_hand() -> None:
    values = torch.tensor([[-1.0, 0.2, 0.5], [0.0, 3.0, -2.9]])
    by_row = rounded(values, 3, dim=1)  # steps of 1/3 and 1
    expected = torch.tensor([[-1.0, 1 / 3, 2 / 3], [0.0, 3.0, -3.0]])
    torch.testing.assert_close(by_row, expected)
    torch.testing.assert_close(rounded(values, 3, None, torch.tensor(1.5))[1, 1], torch.tensor(1.5))


@pytest.mark.parametrize("scheme", ["weights", "dynamic", "static"])
def test_quantised_layers_agree_with_torch_s_own_rounding_and_the_network_stays(
    scheme: str,
) -> None:
    network, data = _network(), FewDigits()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fine = quantization(network, data, CPU, 0, bits=16, scheme=scheme)  # type: ignore[arg-type]
    coarse = quantization(network, data, CPU, 0, bits=3, scheme=scheme)  # type: ignore[arg-type]
    assert fine.values["logit_change"] < 1e-2 < coarse.values["logit_change"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    weight = network.get_parameter("blocks.0.attn.qkv.weight").detach()
    scale = weight.abs().amax(1) / 127
    zeros = torch.zeros(len(scale), dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -127, 127)
    torch.testing.assert_close(rounded(weight, 8, dim=1), theirs)


def test_corruptions_by_hand() -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    half = corrupted("contrast", images, 0.5, 0)
    torch.testing.assert_close(half.mean((1, 2, 3)), images.mean((1, 2, 3)))
    torch.testing.assert_close(half.std((1, 2, 3)), images.std((1, 2, 3)) / 2)
    noise = corrupted("noise", torch.zeros(100, 1, 16, 16), 0.1, 0)
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 1
    blurred = corrupted("blur", point, 1.0, 0)
    neighbour = (blurred[0, 0, 4, 5] / blurred[0, 0, 4, 4]).item()
    assert neighbour == pytest.approx(np.exp(-0.5), rel=1e-3)
    assert (corrupted("jpeg", images, 95, 0) - images).abs().mean() < 0.05


def test_errors_under_corruption_are_those_of_the_corrupted_images() -> None:
    class NearestMean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            means = torch.stack([data.images[data.labels == k].mean(0) for k in range(10)])
            return -torch.cdist(images.flatten(1), means.flatten(1))

    data = FewDigits()
    found = robustness(NearestMean(), data, CPU, 0).values
    assert found["clean"] == 0
    kinds = ("noise", "blur", "contrast", "jpeg")
    assert found["mce"] == pytest.approx(np.mean([found[kind] for kind in kinds]))
    assert found["noise"] <= found["contrast"]


def test_the_dip_where_the_soft_mask_ends() -> None:
    soft = [{"epoch": e, "val/acc1": 20.0, "val_soft/acc1": 50.0 + e} for e in (1.0, 2.0)]
    hard = [{"epoch": 3.0 + i, "val/acc1": acc1} for i, acc1 in enumerate((40.0, 51.0, 60.0))]
    assert dip_of([*soft, *hard]) == {"dip": 12.0, "gap": 32.0, "recovery": 3.0}
    assert dip_of(hard) == {}
    assert dip_of(soft) == {}, "it has not ended"


def test_features_are_what_the_head_is_given() -> None:
    network, data = _network(), FewDigits()
    found = torch.from_numpy(features(network, data.images))
    head: Any = network.get_submodule("head")
    logits = torch.nn.functional.linear(found.float(), head.weight, head.bias)
    torch.testing.assert_close(logits, network(data.images), atol=1e-5, rtol=1e-4)


def test_classes_that_lie_apart_are_found_by_probe_and_neighbours() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = transfer(network, FewDigits(), CPU, 0, neighbours=3)
    assert found.values == {"linear_probe": 100.0, "neighbours": 100.0}


def test_a_fine_tuned_copy_learns_the_classes_at_another_resolution_and_the_network_stays() -> None:
    network, data = _network(position="learned+rope"), FewDigits()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = transfer(network, data, CPU, 0, neighbours=3, epochs=25, lr=8e-3, side=16)
    assert found.values["fine_tuned"] > 90
    assert found.values["from_scratch"] > 20
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ValueError, match="give epochs as well"):
        transfer(network, data, CPU, 0, side=16)


def test_a_copy_for_other_classes_keeps_all_but_the_head() -> None:
    network: Any = _network(attention="causal", class_token="last")
    copied = resized(network, 16, classes=3)
    assert copied.head.weight.shape == (3, 16)
    assert copied.config.img_size == 16
    same = [n for n in copied.state_dict() if not n.startswith(("head.", "pos_embed"))]
    assert all(torch.equal(copied.state_dict()[n], network.state_dict()[n]) for n in same)
    others = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert with_new_head(others, 4, 0)(FewDigits().images).shape == (64, 4)
    found = transfer(others, FewDigits(), CPU, 0, neighbours=3, epochs=30, lr=1e-2)
    assert found.values["fine_tuned"] == 100
    assert "from_scratch" not in found.values


def test_shape_decisions_among_those_right_by_either_cue() -> None:
    shapes, textures = [0, 0, 0, 0, 1], [1, 1, 1, 2, 1]
    found = shape_share([0, 0, 1, 1, 1], shapes, textures)
    assert found == {"shape_share": pytest.approx(200 / 3), "by_shape": 50.0, "by_texture": 25.0}
    with pytest.raises(ValueError, match="the cues agree in every image"):
        shape_share([0], [1], [1])


def test_directions_have_filters_as_long_as_the_network_s() -> None:
    weights = [torch.randn(3, 4), torch.randn(2, 1, 3, 3), torch.randn(5)]
    drawn = directions(weights, 0)
    for weight, direction in zip(weights[:2], drawn[:2], strict=True):
        lengths = direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1)
        torch.testing.assert_close(*lengths)
    assert not drawn[2].any()


def test_the_loss_on_the_plane_and_the_network_as_it_was() -> None:
    network, data = _network(), FewDigits()
    before = [parameter.clone() for parameter in network.parameters()]
    found = landscape(network, data, CPU, 0, points=3, half_width=1e-6)
    loss = torch.nn.functional.cross_entropy(network(data.images), data.labels).item()
    assert found.values["centre"] == pytest.approx(loss, rel=1e-5)
    assert found.values["rise"] == pytest.approx(0, abs=1e-3), "a plane of almost no size"
    assert all(map(torch.equal, before, network.parameters()))


def test_the_measure_of_the_documentation_runs_and_has_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "measures.md").read_text("utf-8")
    source = text.split("```python\n")[1].split("```")[0]
    (tmp_path / "sharpness_of_docs.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    request = read_request("sharpness_of_docs:largest_gradient")
    assert request.options == {"batches": 4}
    found = checked(function_in(request)(_network(), FewDigits(), CPU, 0, batches=1), "it")
    assert found.values["largest"] > 0
    assert quantities_of(request)["largest"].mode == "min"
