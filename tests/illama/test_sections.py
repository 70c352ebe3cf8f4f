"""A user's dataclass or pydantic model is a section: checked strictly, merged, never replaced in
silence.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from illama.config import UserTraining, explain, resolve
from illama.config.functions import arguments_of
from illama.config.imports import import_from

MODULE = """
from dataclasses import dataclass, field
from pydantic import BaseModel

@dataclass
class Optim:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)

class Net(BaseModel):
    depth: int = 2

@dataclass
class Config:
    optim: Optim = field(default_factory=Optim)
    net: Net = field(default_factory=Net)
    epochs: int = 5

def train(cfg: Config = Config(epochs=7, optim=Optim(lr=0.5)), *, seed): ...
def maybe(optim: Optim | None = None, *, seed): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "sectioned.py").write_text(MODULE)
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())


def training(function: str = "train", **options: Any) -> UserTraining:
    found = resolve({"train": {"name": f"sectioned:{function}", **options}})
    assert isinstance(found, UserTraining)
    return found


def test_a_section_is_laid_over_the_functions_default_at_every_depth() -> None:
    options = training(cfg={"optim": {"betas": [0.8, 0.9]}}).train.options
    assert options == {
        "cfg": {"optim": {"lr": 0.5, "betas": [0.8, 0.9]}, "net": {"depth": 2}, "epochs": 7}
    }


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"epoch": 6}, "train.cfg.epoch is not a setting; did you mean 'epochs'?"),
        ({"optim": {"lrr": 1.0}}, "train.cfg.optim.lrr is not a setting; did you mean 'lr'?"),
        ({"net": {"dept": 1}}, "train.cfg.net.dept is not a setting; did you mean 'depth'?"),
        ({"net": {"depth": "deep"}}, "train.cfg.net.depth: "),
    ],
)
def test_what_is_wrong_in_a_section_is_told_by_its_whole_name(cfg: Any, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        training(cfg=cfg)
    assert explain(raised.value).startswith(message)


def test_the_function_is_given_its_own_classes() -> None:
    made = training(cfg={"net": {"depth": 3}})
    cfg = arguments_of("train", made.train.function, made.train.options)["cfg"]
    assert (type(cfg).__name__, type(cfg.net).__name__, cfg.net.depth) == ("Config", "Net", 3)
    assert cfg.optim.betas == (0.9, 0.999)


def test_an_optional_section_may_be_nothing() -> None:
    assert training("maybe").train.options == {"optim": None}
    assert training("maybe", optim={"lr": 1.0}).train.options["optim"]["lr"] == 1.0


def test_the_length_is_found_inside_of_a_section() -> None:
    assert training(cfg={"epochs": 9}).length == 9
