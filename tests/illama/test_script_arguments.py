"""A script's `main(args)` is met where it is: its own parser says which settings there are."""

import importlib.util
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from illama.config import UserTraining, explain, resolve
from illama.config.functions import arguments_of
from illama.config.imports import UserCodeError, import_from
from illama.training.trainer import train

SCRIPT = """
import argparse
from pathlib import Path

def positive(text):
    value = float(text)
    if value <= 0:
        raise ValueError("it must be above 0")
    return value

def parse_args(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--arch", choices=["mlp", "cnn"], default="mlp")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--widths", type=int, nargs="+", default=[8])
    parser.add_argument("--decay", type=positive, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"))
    return parser.parse_args(argv)

def main(args):
    args.out.mkdir()
    return {"acc": args.lr + args.seed, "amp": args.amp, "here": args.out.is_dir()}
"""
LOOSE = "def main(args): return {'acc': args.lr * args.seed}"
OMEGA = """
from omegaconf import DictConfig, OmegaConf
def main(cfg: DictConfig = OmegaConf.create({"optim": {"lr": 0.1, "momentum": 0.9}})): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "scripted.py").write_text(SCRIPT)
    (tmp_path / "loose.py").write_text(LOOSE)
    (tmp_path / "omega.py").write_text(OMEGA)
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())


def training(module: str = "scripted", seed: int = 0, **options: Any) -> UserTraining:
    found = resolve({"train": {"name": f"{module}:main", **options}, "seed": seed})
    assert isinstance(found, UserTraining)
    return found


def test_the_parser_says_what_the_settings_are() -> None:
    options = training(lr=0.5, widths=[4, 4]).train.options
    assert options == {
        "lr": 0.5,
        "arch": "mlp",
        "amp": False,
        "widths": [4, 4],
        "decay": 0.1,
        "out": "out",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lrr": 1.0}, "train.lrr is not a setting; did you mean 'lr'?"),
        ({"arch": "vit"}, "train.arch: Input should be 'mlp' or 'cnn'"),
        ({"widths": ["wide"]}, "train.widths.0: Input should be a valid integer"),
    ],
)
def test_what_the_parser_would_refuse_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        training(**options)
    assert explain(raised.value).startswith(message)


def test_the_script_gets_its_namespace_with_the_trials_seed_and_folder(tmp_path: Path) -> None:
    made = training(seed=3, lr=0.5, amp=True, out="{checkpoint_dir}/made")
    result = train(made, log_metrics=lambda *_: None, checkpoint_dir=tmp_path / "trial")
    assert result.final == {"acc": 3.5, "amp": 1.0, "here": 1.0}
    assert (tmp_path / "trial" / "checkpoint" / "made").is_dir()


def test_text_goes_through_the_arguments_own_function() -> None:
    made = training(decay="0.25")
    args = arguments_of("train", made.train.function, made.train.options)["args"]
    assert isinstance(args, Namespace)
    assert args.decay == 0.25
    with pytest.raises(UserCodeError, match="'decay' cannot be '-1': it must be above 0"):
        arguments_of("train", made.train.function, {**made.train.options, "decay": "-1"})


def test_without_a_parser_any_setting_is_taken() -> None:
    made = training("loose", seed=2, lr=0.5)
    assert train(made, log_metrics=lambda *_: None).final == {"acc": 1.0}


@pytest.mark.skipif(not importlib.util.find_spec("omegaconf"), reason="OmegaConf is not there")
def test_a_dict_config_is_laid_over_the_default() -> None:
    made = training("omega", cfg={"optim": {"lr": 0.5}})
    assert made.train.options == {"cfg": {"optim": {"lr": 0.5, "momentum": 0.9}}}
    cfg = arguments_of("train", made.train.function, made.train.options)["cfg"]
    assert type(cfg).__name__ == "DictConfig"
    assert cfg.optim.lr == 0.5
