"""Each shipped part keeps what holds for the rest of the network: it compiles, resumes to the bit,
shows a collapse, is counted without memory, is exported, and its weights are told from others.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import illama
from illama import checkpoint, flop_count
from illama.config import Config, Part, RuntimeConfig, resolve
from illama.config.part_checks import _on_device
from illama.evaluation.accuracy import COLLAPSE_STD, evaluate
from illama.model import VisionTransformer
from illama.parts import PARTS
from illama.randomness import generators_kept
from illama.training.learner import Learner
from illama.training.trainer import train

CPU = torch.device("cpu")
SHIPPED = [(kind, name) for kind, names in PARTS.items() for name in names]
EVERY = pytest.mark.parametrize(("kind", "name"), SHIPPED, ids=[name for _, name in SHIPPED])
SMALL = {"embed_dim": 12, "depth": 1, "num_heads": 3}
TRAIN = {"epochs": 1, "batch_size": 32, "lr": 1e-2, "clip_grad": 1.0, "ema": 0.9}


WITHOUT_CLASS_TOKEN = ("activator",)
"""Parts that refuse a class token."""


def config(kind: str, name: str, **model: Any) -> Config:
    own = {"class_token": "none"} if name in WITHOUT_CLASS_TOKEN else {}
    found = resolve(
        {
            "model": {"name": "vit_digits", **SMALL, kind: name, **own, **model},
            "data": {"name": "synthetic"},
            "train": TRAIN,
        }
    )
    assert isinstance(found, Config)
    return found


def network(kind: str, name: str, **model: Any) -> VisionTransformer:
    found = config(kind, name, **model).network
    assert found is not None
    return VisionTransformer(found, 0)


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(32, 1, 8, 8, generator=generator), torch.arange(32) % 10


def masks_of(model: VisionTransformer, kind: str) -> tuple[str, ...]:
    part = model.blocks[0].attn if kind == "mixer" else model.blocks[0].mlp
    return tuple(getattr(part, "masks", ("bidirectional", "causal")))


def stepped(learner: Learner, iterations: range) -> dict[str, Tensor]:
    for iteration in iterations:
        learner.update(iteration, *batch(iteration))
    return learner.model.state_dict()


@pytest.mark.slow
@EVERY
def test_an_interrupted_training_ends_with_the_same_bits(kind: str, name: str) -> None:
    asked = config(kind, name)
    whole = stepped(Learner(asked, RuntimeConfig(), CPU, 4), range(4))
    first = Learner(asked, RuntimeConfig(), CPU, 4)
    stepped(first, range(2))
    second = Learner(asked, RuntimeConfig(), CPU, 4)
    second.restore(first.state())
    resumed = stepped(second, range(2, 4))
    assert all(torch.equal(whole[tensor], resumed[tensor]) for tensor in whole)


@EVERY
def test_every_parameter_of_a_part_is_trained(kind: str, name: str) -> None:
    learner = Learner(config(kind, name), RuntimeConfig(), CPU, 4)
    learner.update(0, *batch(0))
    idle = [name for name, parameter in learner.model.named_parameters() if parameter.grad is None]
    assert idle == []


@EVERY
def test_a_readout_that_cannot_see_the_image_has_collapsed(kind: str, name: str) -> None:
    if "causal" not in masks_of(network(kind, name), kind) or name in WITHOUT_CLASS_TOKEN:
        pytest.skip("works without a mask, or without a class token, alone")
    starved = network(kind, name, attention="causal", mask_form="additive", class_token="first")
    fed = network(kind, name, attention="causal", mask_form="additive", class_token="last")
    assert evaluate(starved, [batch(0)])["logit_std"] < COLLAPSE_STD
    assert evaluate(fed, [batch(0)])["logit_std"] > COLLAPSE_STD


@EVERY
def test_a_part_is_counted_the_same_without_memory_and_by_torchs_counter(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = config(kind, name).network
    assert found is not None
    part = found.of_blocks(kind)[0]
    assert isinstance(part, Part)
    with torch.device("meta"), generators_kept(seed=0):
        measured = _on_device(kind, part, found.place(0))
    assert (measured.params, measured.macs) == (part.params, part.macs)
    monkeypatch.setattr(flop_count, "FlopCount", lambda: FlopCounterMode(display=False))
    with generators_kept(seed=0):
        measured = _on_device(kind, part, found.place(0))
    assert measured.macs == part.macs


@pytest.mark.slow
@EVERY
def test_a_compiled_part_is_one_graph_with_the_same_answers(kind: str, name: str) -> None:
    model = network(kind, name).eval()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    images, _ = batch(0)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images))
    torch.compiler.reset()


@pytest.mark.slow
@EVERY
def test_an_exported_network_answers_for_any_number_of_images(kind: str, name: str) -> None:
    model = network(kind, name).eval()
    images, _ = batch(0)
    count = {"images": {0: torch.export.Dim("count", min=1)}}
    exported = torch.export.export(model, (images,), dynamic_shapes=count).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images[:5]), model(images[:5]))


@EVERY
def test_weights_of_the_built_in_part_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    plain = illama.create_model("vit_digits", **SMALL)
    torch.save({"model": plain.state_dict()}, tmp_path / "released.pth")
    here = config(kind, name).model.model_dump(include={*SMALL, "class_token"}) | {kind: name}
    with pytest.raises(ValueError, match=f"{kind} is another there and {name} here"):
        illama.create_model("vit_digits", checkpoint_path=tmp_path / "released.pth", **here)


@pytest.mark.slow
def test_two_processes_train_all_parts_as_one_does(tmp_path: Path) -> None:
    # a mixture's loss is that of each share
    left_out = ("mixture_of_heads", *WITHOUT_CLASS_TOKEN)
    mixers = [name for name in PARTS["mixer"] if name not in left_out]
    kinds = list(PARTS["feed_forward"])
    fed = [kinds[block % len(kinds)] for block in range(len(mixers))]
    model = {"name": "vit_digits", **SMALL, "depth": len(mixers)}
    asked = resolve(
        {
            "model": {**model, "mixer": mixers, "feed_forward": fed},
            "data": {"name": "synthetic"},
            "train": {**TRAIN, "lr": 1e-3, "batch_size": 128},
        }
    )
    assert isinstance(asked, Config)
    states = []
    for count in (1, 2):
        train(
            asked,
            runtime=RuntimeConfig(device="cpu", processes=count),
            log_metrics=lambda metrics, iteration: None,
            checkpoint_dir=tmp_path / str(count),
        )
        states.append((checkpoint.load(tmp_path / str(count)) or {})["model"])
    for tensor, value in states[0].items():
        torch.testing.assert_close(states[1][tensor], value, atol=2e-5, rtol=0)
