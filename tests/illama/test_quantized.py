"""Training with rounded layers, and layers converted by torchao, against torch's own rounding."""

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch
from test_measure_networks import CPU, FewDigits, _network
from torch import nn

import illama
from illama.config import Config, QuantizeConfig, RuntimeConfig, resolve
from illama.measures import read_request
from illama.measures.quantization import quantization
from illama.measures.run import measure_directory
from illama.quantized import QuantisedLinear, layers_to_quantise, quantise, straight_through
from illama.training.trainer import evaluate_checkpoint, train

EIGHT = QuantizeConfig()


def _config(**train_settings: Any) -> Config:
    model = {"name": "vit_digits", "embed_dim": 16, "depth": 1, "num_heads": 1}
    recipe = {"epochs": 1, "batch_size": 64, "lr": 4e-3, **train_settings}
    found = resolve({"model": model, "data": {"name": "digits"}, "train": recipe})
    assert isinstance(found, Config)
    return found


def test_rounding_and_its_gradient_are_those_of_torch_s_fake_quantisation() -> None:
    values = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scale = (values.abs().amax(1) / 127).detach()
    zeros = torch.zeros(5, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(values, scale, zeros, 0, -127, 127)
    torch.testing.assert_close(straight_through(values, 8), theirs)
    theirs.square().sum().backward()  # type: ignore[no-untyped-call]
    expected = values.grad
    values.grad = None
    straight_through(values, 8).square().sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(values.grad, expected)


def test_the_layers_of_the_blocks_are_rounded_and_no_other() -> None:
    network = _network()
    names = [name for name, _ in layers_to_quantise(network)]
    assert names == [
        f"blocks.{block}.{layer}"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    ]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quantise(network, EIGHT)
    assert isinstance(network.get_submodule("blocks.0.attn.qkv"), QuantisedLinear)
    assert not isinstance(network.get_submodule("head"), QuantisedLinear)
    after = network.state_dict()
    assert list(after) == list(before), "a checkpoint of one is a checkpoint of the other"
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_of_a_network_without_blocks_all_but_the_last_layer_are_rounded() -> None:
    network = quantise(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), EIGHT)
    assert [isinstance(layer, QuantisedLinear) for layer in network] == [True, False, False]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="finds no linear layer"):
        quantise(nn.Sequential(nn.Linear(4, 2)), EIGHT)


def test_a_rounded_layer_by_hand() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight = nn.Parameter(torch.tensor([[3.0, 0.9]]))
    inputs = torch.tensor([[1.0, 0.4]])
    coarse = QuantisedLinear.of(layer, QuantizeConfig(weights=3, activations=None))
    assert coarse(inputs).item() == pytest.approx(3 * 1 + 1 * 0.4), "steps of 1: 0.9 becomes 1"
    both = QuantisedLinear.of(layer, QuantizeConfig(weights=3, activations=2))
    assert both(inputs).item() == pytest.approx(3 * 1 + 1 * 0), "steps of 1: 0.4 becomes 0"


def test_trained_and_measured_on_the_grid_and_nothing_is_lost_by_quantising_it_again(
    tmp_path: Path,
) -> None:
    config = _config(quantize={"weights": 3, "activations": 8})
    result = train(config, log_metrics=lambda metrics, iteration: None, checkpoint_dir=tmp_path)
    again = evaluate_checkpoint(tmp_path / "checkpoint.pt")
    assert again["acc1"] == result.final["val/acc1"]
    found = measure_directory(read_request("calibration"), tmp_path, RuntimeConfig())
    assert found.values["nll"] == pytest.approx(result.final["val/loss"], abs=1e-9)
    same = read_request({"name": "quantization", "bits": 3, "scheme": "weights"})
    lost = measure_directory(same, tmp_path, RuntimeConfig()).values
    assert lost["drop"] == 0
    assert lost["logit_change"] < 1e-4
    network = illama.load_model(tmp_path / "checkpoint.pt")
    assert isinstance(network.get_submodule("blocks.0.mlp.fc1"), QuantisedLinear)
    plain = train(_config(), log_metrics=lambda metrics, iteration: None)
    assert plain.final["val/loss"] != result.final["val/loss"]


def test_full_precision_keeps_its_identity_and_the_grid_has_one_of_its_own() -> None:
    assert "quantize" not in _config().identity["train"]
    assert _config(quantize={}).identity["train"]["quantize"] is not None
    assert _config(quantize={}).identity != _config(quantize={"weights": 4}).identity
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        _config(quantize={"weights": 1})


@pytest.mark.parametrize(
    ("bits", "scheme"), [(8, "weights"), (8, "dynamic"), (8, "static"), (4, "weights")]
)
def test_layers_converted_by_torchao_compute_what_the_simulation_says(
    bits: int, scheme: Any
) -> None:
    pytest.importorskip("torchao")
    network, data = _network(), FewDigits()
    found = quantization(network, data, CPU, 0, bits=bits, scheme=scheme, kernels="torchao")
    ours = quantization(network, data, CPU, 0, bits=bits, scheme=scheme)
    assert found.values["size"] == ours.values["size"]
    change = ours.values["logit_change"]
    assert found.values["logit_change"] == pytest.approx(change, rel=0.7, abs=2e-3)
    assert found.values["latency"] > 0
    assert found.values["latency_before"] > 0
    on_grid = quantise(network, EIGHT)
    again = quantization(on_grid, data, CPU, 0, bits=bits, scheme=scheme, kernels="torchao")
    assert again.values["logit_change"] < 3 * change + 2e-3
    assert isinstance(network.get_submodule("blocks.0.attn.qkv"), QuantisedLinear), "a copy"


def test_torchao_s_weights_are_whole_numbers_of_the_same_layer() -> None:
    pytest.importorskip("torchao")
    from illama.measures.torchao_layers import converted

    network = _network()
    made = converted(network, 8, "weights", None)
    weight: Any = made.get_submodule("blocks.0.mlp.fc1").weight
    assert weight.qdata.dtype is torch.int8
    original = network.get_parameter("blocks.0.mlp.fc1.weight")
    step = original.abs().amax(1, keepdim=True) / 127
    assert ((weight.dequantize() - original).abs() <= 0.51 * step).all(), "half a step at most"


def test_what_torchao_has_no_layers_for_and_that_it_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="8 bits in every scheme, and 4 with scheme weights"):
        quantization(_network(), FewDigits(), CPU, 0, bits=5, kernels="torchao")
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("torchao"):
            raise ImportError("no torchao here")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ablation-orchestrator\[measures"):
        quantization(_network(), FewDigits(), CPU, 0, kernels="torchao")
