"""A part of the network by name: made, checked, counted, paired, trained and resumed like ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import illama
from illama import checkpoint
from illama.blocks import seeded_part
from illama.config import Config, ModelConfig, Part, RuntimeConfig, resolve, with_preset
from illama.config.imports import import_from
from illama.cost import macs, parameter_count
from illama.model import VisionTransformer
from illama.parts import PARTS
from illama.training.learner import Learner
from illama.training.results import Stopped
from illama.training.trainer import train

OWN = '''
import torch
from torch import nn
from illama.attention import dense_attention
from illama.parts.projections import Projections, matrix_of


class Loud(Projections):
    """Attention with a dropped value and a loss of its own."""

    masks = ("bidirectional", "causal", "modified_causal")

    def __init__(self, place, factor):
        super().__init__(place)
        self.factor = nn.Parameter(torch.randn(1) + factor)
        self.drop = nn.Dropout(0.2)

    def forward(self, x, where):
        q, k, v = self.projected(x, where)
        out = dense_attention(q[:, :, where.rows], k, v, *matrix_of(where.mask, where))
        self.loss = out.square().mean()
        return self.joined(self.drop(out) * self.factor)

    def auxiliary_loss(self):
        return 0.1 * self.loss


def loud(place, *, factor: float = 1.0):
    return Loud(place, factor)


class Mean(nn.Module):
    masks = ("bidirectional", "causal")

    def forward(self, x, where):
        return x.mean(1, keepdim=True).expand_as(x)[:, where.rows]


def leaky(place):
    return Mean()


class All(nn.Module):
    def forward(self, x, where):
        return x


def deaf(place):
    return All()


class Tanh(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.alpha = nn.Parameter(torch.full((), 0.5))

    def forward(self, x):
        return (self.alpha * x).tanh()


def tanh(place):
    return Tanh(place)


class Sine(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.register_buffer("added", torch.arange(place.tokens).sin()[:, None], persistent=False)
        self.angles = nn.Parameter(torch.zeros(place.tokens, place.dim // place.heads // 2))

    def forward(self, x):
        return x + self.added

    def rotation(self):
        return torch.stack((self.angles.cos(), self.angles.sin()), -1)


def sine(place):
    return Sine(place)


class Pool(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(place.dim))
        self.weight = nn.Parameter(torch.randn(place.classes, place.dim))

    def forward(self, tokens):
        return ((tokens @ self.query).softmax(1).unsqueeze(1) @ tokens).squeeze(1) @ self.weight.T


def pool(place):
    return Pool(place)


def nothing(place):
    return 3
'''


@pytest.fixture(autouse=True, scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_parts.py").write_text(OWN)
    import_from(folder)
    yield
    import_from(Path(__file__).parent)


def config(**settings: Any) -> ModelConfig:
    small = {"name": "vit_digits", "embed_dim": 12, "depth": 2, "num_heads": 3}
    return ModelConfig.model_validate(with_preset({**small, **settings}))


def refusal(**settings: Any) -> tuple[tuple[int | str, ...], str]:
    """Where the first problem is, and its words."""
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    problem = caught.value.errors()[0]
    return problem["loc"], problem["msg"]


CAUSAL = {"attention": "causal", "class_token": "last"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixer", "feed_forward"])
def test_every_shipped_part_counts_what_it_has_and_works_where_it_says(kind: str) -> None:
    for name in PARTS[kind]:
        if name == "activator":
            continue  # refuses a class token, as the next test shows
        found = config(**{kind: name})
        network = VisionTransformer(found, 0)
        assert parameter_count(found) == sum(p.numel() for p in network.parameters()), name
        images = torch.randn(2, 1, 8, 8)
        with FlopCounterMode(display=False) as counter:
            whole = network.forward_features(images)
        logits = network(images)
        torch.testing.assert_close(network.head(whole[:, 0]), logits)
        heads = 12 * 10
        assert macs(found) == counter.get_total_flops() // 4 + heads, name
        part = network.blocks[0].attn if kind == "mixer" else network.blocks[0].mlp
        if "causal" in getattr(part, "masks", ("causal",)):
            masked = config(**{kind: name}, **CAUSAL)  # probed for leaks
            with FlopCounterMode(display=False) as counter:
                VisionTransformer(masked, 0).forward_features(images)
            assert macs(masked) == counter.get_total_flops() // 4 + heads, name
        else:
            place, words = refusal(**{kind: name}, **CAUSAL)
            assert place == (kind,)
            assert "works only with bidirectional" in words


def test_a_part_that_would_leave_the_class_token_blind_refuses_one() -> None:
    place, words = refusal(mixer="activator")
    assert place == ("mixer",)
    assert "activator works only with none, but model.class_token is first" in words
    found = config(mixer="activator", class_token="none", attention="causal")
    network = VisionTransformer(found, 0)
    assert parameter_count(found) == sum(p.numel() for p in network.parameters())


def test_a_part_that_sees_the_future_is_named() -> None:
    config(mixer="own_parts:leaky")
    place, words = refusal(mixer=["attention", "own_parts:leaky"], **CAUSAL)
    assert place == ("mixer", 1)
    assert words.startswith("own_parts:leaky: its output at token 0 depends on token 16")


def test_a_part_that_ignores_the_rows_is_named() -> None:
    place, words = refusal(mixer="own_parts:deaf")
    assert place == ("mixer",)
    assert "asked for only the last token" in words


@pytest.mark.parametrize(
    ("settings", "place", "words"),
    [
        ({"mixer": {"name": "own_parts:loud", "fctor": 1}}, ("mixer", "fctor"), "not permitted"),
        ({"mixer": {"name": "own_parts:loud", "factor": "x"}}, ("mixer", "factor"), "number"),
        ({"mixer": ["attention", {"name": "own_parts:loud", "f": 1}]}, ("mixer", 1, "f"), "not"),
        ({"mixer": "own_parts:lud"}, ("mixer",), "did you mean 'loud'?"),
        ({"mixer": "atention"}, ("mixer",), "'attention'"),
        ({"mixer": {"factor": 1}}, ("mixer",), "mixer needs a name"),
        ({"mixer": {"name": "attention", "factor": 1}}, ("mixer",), "has no settings"),
        ({"mixer": "own_parts:nothing"}, ("mixer",), "returned int; expected a torch.nn.Module"),
        ({"norm": "own_parts:loud"}, ("norm",), "raised TypeError"),
        ({"mixer": "single_head", "position": "rope"}, ("mixer",), "would have no effect"),
        ({"mixer": "agent", "scan": "zigzag"}, ("mixer",), "row by row, but scan is zigzag"),
        ({"mixer": "agent", "qk_norm": True}, (), "qk_norm is for mixer attention"),
        ({"mixer": ["agent"]}, (), "mixer lists 1 blocks, but depth is 2"),
        ({"readout": ["own_parts:pool"] * 2}, ("readout",), "one of"),
    ],
)
def test_what_does_not_go_together_is_refused_at_its_setting(
    settings: dict[str, Any], place: tuple[str | int, ...], words: str
) -> None:
    found, message = refusal(**settings)
    assert found == place
    assert words in message


def test_the_rest_of_the_network_starts_with_the_same_values_and_so_do_shared_tensors() -> None:
    plain = VisionTransformer(config(), 3).state_dict()
    network = VisionTransformer(config(mixer={"name": "own_parts:loud", "factor": 5.0}), 3)
    found = network.state_dict()
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
    own = [found[f"blocks.{layer}.attn.factor"].item() for layer in (0, 1)]
    assert own[0] != own[1]
    again = VisionTransformer(config(mixer={"name": "own_parts:loud", "factor": 6.0}), 3)
    assert again.get_parameter("blocks.0.attn.factor").item() == pytest.approx(own[0] + 1)
    other = VisionTransformer(network.config, 4)
    assert other.get_parameter("blocks.0.attn.factor").item() != own[0]


def test_building_a_part_leaves_the_global_generators_alone() -> None:
    found = config(mixer="differential")
    before = torch.get_rng_state()
    assert isinstance(found.mixer, Part)
    seeded_part(found.mixer, found.place(0), "blocks.0.attn", 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_norm_position_and_readout_may_be_ones_own() -> None:
    found = config(norm="own_parts:tanh", position="own_parts:sine", readout="own_parts:pool")
    network = VisionTransformer(found, 0)
    assert parameter_count(found) == sum(p.numel() for p in network.parameters())
    assert network.get_parameter("norm.alpha").item() == 0.5
    network(torch.randn(2, 1, 8, 8)).sum().backward()
    assert network.get_parameter("position.angles").grad is not None
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_settings_read_back_are_the_same_and_measure_nothing_again() -> None:
    found = config(mixer=["attention", {"name": "own_parts:loud", "factor": 2}], norm="layernorm")
    assert isinstance(found.mixer, tuple)
    assert isinstance(part := found.mixer[1], Part)
    assert part.options == {"factor": 2.0}
    assert part.params == parameter_count(found) - parameter_count(config()) + 12 * 4 * 13
    again = ModelConfig.model_validate_json(found.model_dump_json())
    assert again == found
    stored = found.model_dump(mode="json")
    stored["mixer"][1]["function"] = "nowhere:part"
    assert parameter_count(ModelConfig.model_validate(stored)) == parameter_count(found)


def test_identity_has_code_and_options_and_no_label() -> None:
    one = config(mixer={"name": "own_parts:loud", "factor": 2.0}).identity["mixer"]
    assert set(one) == {"function", "code", "options"}
    assert "sha256:" in one["code"]
    short = config(mixer={"name": "softplus", "power": 3.0}).identity
    long = config(mixer="illama.parts.softplus:softplus").identity
    assert short == long
    assert short["mixer"]["options"] == {}
    assert "mixer" not in config().identity


def recipe(tmp_path: Path, **model: Any) -> Config:
    found = resolve(
        {
            "model": {"name": "vit_digits", "embed_dim": 12, "depth": 2, "num_heads": 3, **model},
            "data": {"name": "synthetic"},
            "train": {"epochs": 2, "batch_size": 64, "lr": 1e-3, "ema": 0.9},
        }
    )
    assert isinstance(found, Config)
    return found


def weights(directory: Path) -> dict[str, Tensor]:
    state = checkpoint.load(directory)
    assert state is not None
    return dict(state["model"])


@pytest.mark.slow
def test_a_part_that_draws_ends_with_the_same_bits_when_it_is_interrupted(tmp_path: Path) -> None:
    asked = recipe(tmp_path, mixer="own_parts:loud", feed_forward="eca")
    runtime = RuntimeConfig(num_threads=1)
    train(asked, runtime=runtime, log_metrics=lambda *_: None, checkpoint_dir=tmp_path / "whole")
    asks = iter([False] * 5 + [True] * 9)
    cut = tmp_path / "cut"
    with pytest.raises(Stopped):
        train(
            asked,
            runtime=runtime,
            log_metrics=lambda *_: None,
            checkpoint_dir=cut,
            should_stop=lambda: next(asks),
        )
    train(asked, runtime=runtime, log_metrics=lambda *_: None, checkpoint_dir=cut)
    whole, resumed = weights(tmp_path / "whole"), weights(cut)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_auxiliary_loss_of_a_part_is_trained_on(tmp_path: Path) -> None:
    asked = recipe(tmp_path, mixer="own_parts:loud")
    learner = Learner(asked, RuntimeConfig(), torch.device("cpu"), 10)
    assert len(learner.with_losses) == 2
    images, labels = torch.randn(64, 1, 8, 8), torch.zeros(64, dtype=torch.long)
    with_loss = learner.update(0, images, labels).item()
    plain = Learner(asked, RuntimeConfig(), torch.device("cpu"), 10)
    plain.with_losses = []
    without = plain.update(0, images, labels).item()
    assert with_loss > without + 1e-6


def test_weights_of_a_network_with_other_parts_are_refused_by_name(tmp_path: Path) -> None:
    small: dict[str, Any] = {"embed_dim": 12, "depth": 2, "num_heads": 3}
    network = illama.create_model("vit_digits", **small)
    torch.save({"model": network.state_dict()}, tmp_path / "released.pth")
    with pytest.raises(ValueError, match="mixer is another there and softplus here"):
        illama.create_model(
            "vit_digits", checkpoint_path=tmp_path / "released.pth", mixer="softplus", **small
        )
    ours = {"config": recipe(tmp_path, mixer="softplus").model_dump_json()}
    torch.save(ours | {"model": network.state_dict()}, tmp_path / "ours.pt")
    with pytest.raises(ValueError, match="mixer is softplus there and attention here"):
        illama.create_model("vit_digits", checkpoint_path=tmp_path / "ours.pt", **small)
    illama.create_model(
        "vit_digits", checkpoint_path=tmp_path / "ours.pt", mixer="softplus", **small
    )


@pytest.mark.slow
def test_an_exported_part_answers_as_it_does_itself() -> None:
    network = VisionTransformer(config(mixer="differential", **CAUSAL), 0).eval()
    exported = torch.export.export(network, (torch.randn(2, 1, 8, 8),))
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(exported.module()(images), network(images))
