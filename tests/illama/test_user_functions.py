"""Models and data of others train like ours: settings from a signature, sizes counted, the same
bits after an interruption.
"""

import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from illama.config import (
    Config,
    RuntimeConfig,
    UserCodeError,
    UserData,
    UserModel,
    explain,
    networks,
    resolve,
)
from illama.config.imports import import_from
from illama.cost import macs, parameter_count
from illama.data.datasets import dataset_digest, load
from illama.training.optim import make_optimizer
from illama.training.trainer import Stopped, evaluate_checkpoint, train

NET = """
import random, numpy, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.first, self.norm, self.drop = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Dropout(dropout)
        self.head = nn.Linear(width, 10)
    def forward(self, images):
        return self.head(self.drop(self.norm(self.first(images)).relu()).mean((2, 3)))

def create(*, width: int = 8, dropout: float = 0.5, act=nn.GELU, betas: tuple[float, float] = (0.5, 1), limit: int = None):
    assert isinstance(betas, tuple)
    return Net(width, dropout)

def soft(*, width: int = 8):
    net = Net(width, 0.0)
    net.set_soft_mask_rate = lambda alpha: None
    return net

def open_ended(width=8, **kwargs):
    return Net(width, **kwargs)

def of_numbers():
    return Net(8, float(torch.linspace(0, 0.1, 3)[1].item()))   # cannot be built without numbers

def draw():
    return random.random() + numpy.random.random() + torch.rand(()).item()

class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.head = draw(), nn.Linear(64, 10)
    def forward(self, images):
        return self.head(images.flatten(1) * self.scale) * draw()

def needs(module: nn.Module): ...
def odd(width: int = 3):
    raise ValueError("width must be even")
def wrong(): return 3
def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
"""
IMAGES = """
import random as python
import numpy as np

def load(*, size: int = 8, shift: float = 0.0, data_dir=None):
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(96, 1, size, size)) + shift, np.arange(96) % 10
    return images[:64], labels[:64], images[64:], labels[64:]

def other(): return load()[:3]
def flat(): return (np.zeros((4, 64)), np.zeros(4, int)) * 2
def short(): return np.zeros((4, 1, 8, 8)), np.zeros(3, int), np.zeros((4, 1, 8, 8)), np.zeros(4, int)
def shares(): return np.zeros((4, 1, 8, 8)), np.zeros(4), np.zeros((4, 1, 8, 8)), np.zeros(4, int)
def drawn(with_torch: bool = False):
    shift = python.random()
    if with_torch:
        import torch
        shift += torch.rand(()).item()
    return np.random.normal(size=(96, 1, 8, 8)) + shift, np.arange(96) % 10, np.zeros((8, 1, 8, 8)), np.arange(8)

def fresh(): return np.random.default_rng().normal(size=(10, 1, 8, 8)), np.arange(10), np.zeros((8, 1, 8, 8)), np.arange(8)
def where(data_dir): raise FileNotFoundError(str(data_dir))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "images.py").write_text(IMAGES)
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())


def settings(
    model: Mapping[str, Any], data: Mapping[str, Any] | None = None, **train: Any
) -> dict[str, Any]:
    recipe = {"epochs": 2, "batch_size": 16, "lr": 0.01, **train}
    return {
        "model": dict(model),
        "data": dict(data or {"name": "images:load"}),
        "train": recipe,
        "seed": 3,
    }


def model_of(**model: Any) -> UserModel:
    found = resolve(settings({"name": "net:create"} | model)).model
    assert isinstance(found, UserModel)
    return found


def run(
    config: Config, directory: Path | None = None, stop_after: int | None = None, **runtime: Any
) -> dict[str, float]:
    asked = iter(range(10**6))
    should_stop = (lambda: next(asked) >= stop_after) if stop_after is not None else (lambda: False)
    options = RuntimeConfig(device="cpu", **{"checkpoint_seconds": 1e9} | runtime)
    result = train(
        config,
        runtime=options,
        log_metrics=lambda *_: None,
        checkpoint_dir=directory,
        should_stop=should_stop,
    )
    return {name: value for name, value in result.final.items() if not name.startswith("time/")}


def test_the_parameters_of_the_function_are_the_settings() -> None:
    found = model_of(width=4)
    assert found.options == {
        "width": 4,
        "dropout": 0.5,
        "betas": [0.5, 1.0],
        "limit": None,
    }  # no YAML says nn.GELU
    config = resolve(settings({"name": "net:create"}))
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert model_of(name="net:open_ended", dropout=0.25).options == {"width": 8, "dropout": 0.25}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"widht": 3}, "model.widht is not a setting; did you mean 'width'?"),
        ({"width": "wide"}, "model.width: Input should be a valid integer"),
        ({"act": "gelu"}, "model.act is not a setting"),
    ],
)
def test_settings_are_checked_against_the_signature(model: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as caught:
        resolve(settings({"name": "net:create"} | model))
    assert expected in explain(caught.value)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("net:needs", "net:needs needs a parameter 'module' whose type no setting can have"),
        ("net:odd", r"net:odd raised ValueError: width must be even \(net.py, line \d+\)"),
        ("net:wrong", "net:wrong returned int; expected a torch.nn.Module"),
        (
            "net:narrow",
            r"net:narrow maps 2 images of \(1, 8, 8\) to \(2, 5\); expected logits of shape "
            r"\(2, 10\)",
        ),
    ],
)
def test_a_function_that_gives_no_network_is_refused(model: str, expected: str) -> None:
    with pytest.raises(UserCodeError, match=expected) as caught:
        resolve(settings({"name": model}))
    assert caught.value.group == "model"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("images:other", "images:other returned 3 values"),
        (
            "images:flat",
            r"train_images that are float64 of shape \(4, 64\); expected numbers of shape \(n, "
            r"channels, height, width\)",
        ),
        ("images:short", "returned 4 train_images and 3 train_labels"),
        (
            "images:shares",
            r"train_labels that are float64 of shape \(4,\) from 0.0; expected whole numbers from "
            r"0",
        ),
        ("images:where", "images:where raised FileNotFoundError: somewhere"),
    ],
)
def test_a_function_that_gives_no_images_is_refused(data: str, expected: str) -> None:
    with pytest.raises(UserCodeError, match=expected) as caught:
        resolve(settings({"name": "net:create"}, {"name": data}), Path("somewhere"))
    assert caught.value.group == "data"


def test_data_may_come_with_images_for_the_report_alone(folder: Path) -> None:
    source = (
        IMAGES
        + """
def six(test: int = 3):
    images, labels, val_images, val_labels = load()
    return images, labels, val_images, val_labels, images[:test], labels[:test]

def made():
    arrays = six()
    return checked(arrays[:4]).with_test(*arrays[4:])
"""
    )
    (folder / "images.py").write_text("from illama.dataset import checked\n" + source)
    import_from(folder)
    four, six, other, made = (
        resolve(settings({"name": "net:create"}, data)).data
        for data in (
            {"name": "images:load"},
            {"name": "images:six"},
            {"name": "images:six", "test": 4},
            {"name": "images:made"},
        )
    )
    assert [data.has_test for data in (four, six, other, made)] == [False, True, True, True]
    assert len({data.content for data in (four, six, other)}) == 3
    assert made.content == six.content
    stored = Config.model_validate(
        {"model": resolve(settings({"name": "net:create"})).model, "data": old_form(four)}
        | {"train": {"epochs": 1, "batch_size": 4, "lr": 1e-3}}
    )
    assert stored.data == four


def old_form(data: UserData) -> dict[str, Any]:
    """As versions wrote it that knew no test part."""
    return data.model_dump(exclude={"has_test"})


@pytest.mark.parametrize("key", ["drop_path", "dropout", "layer_decay"])
def test_what_acts_inside_our_own_networks_is_refused(key: str) -> None:
    with pytest.raises(
        ValidationError,
        match=f"train.{key} acts only inside the built-in networks; give net:create its own option",
    ):
        resolve(settings({"name": "net:create"}, **{key: 0.5}))


def test_a_soft_mask_needs_a_network_that_has_one() -> None:
    soft = {"schedule": "constant", "epochs": 1}
    with pytest.raises(ValidationError, match="needs a network with a method set_soft_mask_rate"):
        resolve(settings({"name": "net:create"}, soft_mask=soft))
    assert (
        run(resolve(settings({"name": "net:soft"}, soft_mask=soft)))["train/soft_mask_rate"] == 0.0
    )  # the second epoch's


def test_data_that_take_their_shape_from_our_networks_are_refused() -> None:
    with pytest.raises(
        UserCodeError,
        match="synthetic takes the size of its images from settings that only built-in",
    ):
        resolve(settings({"name": "net:create"}, {"name": "synthetic"}))


def test_parameters_and_multiply_accumulates_are_counted() -> None:
    for name in ("net:create", "net:of_numbers"):
        found = model_of(name=name)
        assert parameter_count(found) == 8 * 9 + 8 + 16 + 80 + 10
        assert macs(found) == 36 * 8 * 9 + 80


def test_torch_counts_our_own_network_as_the_formula_does() -> None:
    ours = resolve(
        settings({"name": "vit_digits", "class_token": "none"}, {"name": "digits"})
    ).model
    text = (
        "from illama.config import *\nfrom illama.model import VisionTransformer\n"
        "def f(d: dict): return "
    )
    Path(str(foreign_folder()), "mirror.py").write_text(
        f"{text}VisionTransformer(ModelConfig.model_validate(d), 0)\n"
    )
    import_from(foreign_folder())
    found = resolve(
        settings({"name": "mirror:f", "d": ours.model_dump()}, {"name": "digits"})
    ).model
    assert (parameter_count(found), macs(found)) == (parameter_count(ours), macs(ours))


def foreign_folder() -> Path:
    from illama.config import imports

    assert imports._Imported.folder is not None
    return imports._Imported.folder


def test_the_first_values_depend_on_the_seed_alone() -> None:
    def first(seed: int) -> torch.Tensor:
        return next(networks.build(model_of(), seed).parameters()).detach()

    state = torch.random.get_rng_state()
    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_network_with_dropout_and_batch_normalisation_resumes_with_the_same_bits(
    tmp_path: Path,
) -> None:
    config = resolve(settings({"name": "net:create"}, ema=0.9))
    undisturbed, interrupted = tmp_path / "one", tmp_path / "two"
    expected = run(config, undisturbed)
    with pytest.raises(Stopped):
        run(config, interrupted, stop_after=6)  # in the second epoch
    torch.rand(7)  # what else the process draws must not matter
    assert run(config, interrupted) == expected
    weights = [
        torch.load(path / "checkpoint.pt", weights_only=True) for path in (undisturbed, interrupted)
    ]
    for part in ("model", "average"):
        for name, tensor in weights[0][part].items():
            assert torch.equal(tensor, weights[1][part][name]), name
    assert (
        weights[0]["average"]["norm.num_batches_tracked"] == 8
    )  # the average of the weights has the statistics, too
    measured = evaluate_checkpoint(
        undisturbed / "checkpoint.pt", runtime=RuntimeConfig(device="cpu")
    )
    assert measured["loss"] == expected["val/loss"]


def states() -> tuple[Any, ...]:
    """Of the global generators."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index, union-attr]


def test_what_draws_from_python_numpy_and_torch_resumes_with_the_same_bits(tmp_path: Path) -> None:
    config = resolve(
        settings({"name": "net:Noisy"}, {"name": "images:drawn", "with_torch": True}, ema=0.9)
    )
    before = states()
    expected = run(config, tmp_path / "one")
    assert states() == before
    with pytest.raises(Stopped):
        run(config, tmp_path / "two", stop_after=8)  # in the second epoch
    (
        random.seed(1),
        np.random.seed(1),
        torch.manual_seed(1),
    )  # what else the process does must not matter
    assert run(config, tmp_path / "two") == expected
    weights = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"]
        for name in ("one", "two")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    measured = [
        evaluate_checkpoint(tmp_path / name / "checkpoint.pt", runtime=RuntimeConfig(device="cpu"))
        for name in ("one", "two")
    ]
    assert measured[0] == measured[1]


@pytest.mark.slow
@pytest.mark.parametrize("with_torch", [False, True])
def test_images_drawn_from_the_global_generators_are_the_same_in_every_process(
    folder: Path, with_torch: bool
) -> None:
    here = resolve(
        settings({"name": "vit_digits"}, {"name": "images:drawn", "with_torch": with_torch})
    ).data
    code = f"""
import sys
from pathlib import Path
from illama.config import functions as user, imports
imports.import_from(Path(sys.argv[1]))
found = user.described_data("", "images:drawn", {{"with_torch": {with_torch}}})
print(found.content, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert isinstance(here, UserData)
    assert done.stdout.split() == [here.content, str(with_torch)]


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    losses = [
        run(resolve(settings({"name": "net:create", "dropout": rate}, lr=1e-12)))["val/loss"]
        for rate in (0.0, 0.9)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    trained = [
        run(resolve(settings({"name": "net:create", "dropout": rate})))["train/loss"]
        for rate in (0.0, 0.9)
    ]
    assert trained[0] != pytest.approx(trained[1], abs=1e-3)


def test_data_are_known_by_their_images(folder: Path) -> None:
    config = resolve(settings({"name": "net:create"}))
    assert isinstance(config.data, UserData)
    assert (config.data.shape, config.data.num_classes) == ((1, 8, 8), 10)
    data = load(config.data, config.model)
    assert data.train_images.dtype == np.float32
    assert data.mean == pytest.approx(data.train_images.mean(), abs=1e-6)
    shifted = resolve(settings({"name": "net:create"}, {"name": "images:load", "shift": 1.0})).data
    assert dataset_digest(shifted) != dataset_digest(config.data)
    (folder / "images.py").write_text(IMAGES + "# the same images\n")
    import_from(folder)
    assert dataset_digest(resolve(settings({"name": "net:create"})).data) == dataset_digest(
        config.data
    )


def test_images_that_are_drawn_anew_each_time_are_refused() -> None:
    config = resolve(settings({"name": "net:create"}, {"name": "images:fresh"}))
    with pytest.raises(
        UserCodeError, match="returned other images or labels than when the sweep was planned"
    ):
        load(config.data, config.model)


def test_code_that_changed_after_the_plan_is_refused(folder: Path) -> None:
    config = resolve(settings({"name": "net:create"}))
    (folder / "net.py").write_text(NET + "CHANGED = 1\n")
    import_from(folder)
    with pytest.raises(
        UserCodeError, match=r"the code of net:create .* is not the code that was planned"
    ):
        run(config)


def test_our_own_networks_train_on_images_of_others() -> None:
    ours = {"name": "vit_digits", "depth": 1}
    assert run(resolve(settings(ours)))["epoch"] == 2.0
    with pytest.raises(ValueError, match="data images:load has images of 1 x 12 x 12"):
        run(resolve(settings(ours, {"name": "images:load", "size": 12})))


def test_an_installed_package_offers_short_names(folder: Path) -> None:
    package = folder / "theirs-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[illama.models]\nlittle = net:create\n[illama.datasets]\nnoise = images:load\n"
    )
    import_from(folder)
    from illama.config.imports import function_of

    function_of("net:create")  # puts the folder where packages are looked for
    config = resolve(settings({"name": "little", "width": 4}, {"name": "noise"}))
    assert isinstance(config.model, UserModel)
    assert (config.model.name, config.model.function, config.data.name) == (
        "little",
        "net:create",
        "noise",
    )


def test_a_network_of_ours_has_no_module_that_evaluation_switches() -> None:
    # `eval()` around each evaluation must leave our own numbers as they were
    from illama.model import VisionTransformer

    config = resolve(settings({"name": "illama_digits"}, {"name": "digits"})).model
    kinds = {type(module) for module in VisionTransformer(config, 0).modules()}  # type: ignore[arg-type]
    assert not kinds & {nn.Dropout, nn.BatchNorm2d}


ATTENTION = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, fused):
        super().__init__()
        self.fused, self.embed, self.qkv, self.head = fused, nn.Conv2d(1, 8, 2, 2), nn.Linear(8, 24), nn.Linear(8, 10)
    def forward(self, images):
        q, k, v = self.qkv(self.embed(images).flatten(2).transpose(1, 2)).split(8, -1)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.transpose(-1, -2) * 8 ** -0.5).softmax(-1) @ v
        return self.head(mixed.mean(1))

def create(*, fused: bool = True, by_numbers: bool = True):
    if by_numbers:
        [rate.item() for rate in torch.linspace(0, 0.1, 2)]
    return Net(fused)

def ours(*, wrapped: bool = False):
    import illama
    net = illama.create_model("illama_digits")
    return nn.Sequential(net) if wrapped else net
"""


def test_attention_counts_wherever_and_however_it_is_computed(folder: Path) -> None:
    (folder / "attention.py").write_text(ATTENTION)
    by_hand = 16 * 8 * 4 + 16 * 8 * 24 + 2 * 16 * 16 * 8 + 80
    for fused in (True, False):
        for by_numbers in (True, False):
            found = model_of(name="attention:create", fused=fused, by_numbers=by_numbers)
            assert macs(found) == by_hand


def test_our_networks_count_the_same_inside_a_function_of_others(folder: Path) -> None:
    (folder / "attention.py").write_text(ATTENTION)
    ours = resolve(settings({"name": "illama_digits"}, {"name": "digits"}))
    found = model_of(name="attention:ours")
    assert (parameter_count(found), macs(found)) == (
        parameter_count(ours.model),
        macs(ours.model),
    )
    assert found.undecayed == ()


DECAY = """
import torch
from torch import nn

class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.cls_token = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(1, 1, 4))
        self.scale = nn.Parameter(torch.ones(4))
    def no_weight_decay(self):
        return {"table", "cls_token", "scale"}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head, self.pos_embed = Table(), nn.Linear(64, 10), nn.Parameter(torch.ones(1, 64))
    def forward(self, images):
        return self.head(images.flatten(1) + self.pos_embed)

class Plain(Net):
    def __init__(self):
        super().__init__()
        del self.inner
    def no_weight_decay(self):
        return {"pos_embed"}

def net(): return Net()
def plain(): return Plain()
"""


def test_what_a_network_keeps_from_decay_is_kept_and_has_a_version_of_its_own(folder: Path) -> None:
    (folder / "decay.py").write_text(DECAY)
    config = resolve(settings({"name": "decay:net"}, {"name": "digits"}))
    assert config.model.undecayed == ("inner.table", "inner.cls_token")
    assert config.numerics_version == 4
    network = networks.build(config.model, 0)
    moving, still = make_optimizer(network, config.train).param_groups
    assert (moving["weight_decay"], still["weight_decay"]) == (0.05, 0.0)
    assert [parameter.shape for parameter in moving["params"]] == [(10, 64)]
    assert len(still["params"]) == 5


def test_a_network_that_says_what_was_done_anyway_keeps_its_identity(folder: Path) -> None:
    (folder / "decay.py").write_text(DECAY)
    config = resolve(settings({"name": "decay:plain"}, {"name": "digits"}))
    assert config.model.undecayed == ()
    assert config.numerics_version == 2


def test_a_checkpoint_goes_on_where_another_version_counted_its_network_otherwise(
    tmp_path: Path,
) -> None:
    config = resolve(settings({"name": "net:create"}))
    with pytest.raises(Stopped):
        run(config, tmp_path, stop_after=3)
    counted = config.model.model_copy(update={"macs": 7})
    assert run(config.model_copy(update={"model": counted}), tmp_path)
