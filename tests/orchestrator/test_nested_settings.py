"""Settings inside of a user's sections: changed and searched by dots, merged, and checked at
their place.
"""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.sweep_spec import SweepSpec, load_spec

MODULE = """
from dataclasses import dataclass, field

@dataclass
class Optim:
    lr: float = 0.1
    momentum: float = 0.9

@dataclass
class Config:
    optim: Optim = field(default_factory=Optim)
    epochs: int = 5

def train(cfg: Config = Config(), *, seed): ...
def loose(*, seed, **settings): ...
"""
HEAD = "name: nested\nmetric: {name: acc, mode: max}\nseeds: [0, 1]\n"


def spec_of(folder: Path, train: str, *steps: str) -> SweepSpec:
    (folder / "nested_user.py").write_text(MODULE)
    lines = [f"  - {{name: s{index}, {step}}}" for index, step in enumerate(steps)]
    text = f"{HEAD}baseline:\n  train: {train}\nsteps:\n" + "\n".join(lines)
    path = folder / "nested.yaml"
    path.write_text(text)
    return load_spec(path)


def options(spec: SweepSpec, index: int) -> Any:
    return spec.road[index].config.setting("train.cfg")


TRAIN = '{name: "nested_user:train", cfg: {epochs: 6}}'
LOOSE = '{name: "nested_user:loose", cfg: {epochs: 6, depth: 1}, "a.b": 1}'


@pytest.mark.slow
def test_a_change_of_a_section_leaves_the_rest_of_it_as_it_was(tmp_path: Path) -> None:
    spec = spec_of(
        tmp_path, TRAIN, "change: {train.cfg: {optim: {lr: 0.2}}}", "change: {train.cfg.epochs: 8}"
    )
    assert spec.road[1].changes == {"train.cfg.optim.lr": 0.2}
    assert options(spec, 1) == {"optim": {"lr": 0.2, "momentum": 0.9}, "epochs": 6}
    assert options(spec, 2) == {"optim": {"lr": 0.2, "momentum": 0.9}, "epochs": 8}


@pytest.mark.slow
def test_a_function_that_takes_any_setting_merges_too(tmp_path: Path) -> None:
    changes = ("change: {train.cfg: {depth: 2}}", "change: {train.a.b: 2}")
    spec = spec_of(tmp_path, LOOSE, *changes)
    assert options(spec, 1) == {"epochs": 6, "depth": 2}
    assert spec.road[2].config.train.options["a.b"] == 2  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_setting_inside_of_a_section_is_searched(tmp_path: Path) -> None:
    space = "{train.cfg.optim.lr: {low: 0.1, high: 0.3}, train.cfg.epochs: {low: 2, high: 4}}"
    spec = spec_of(tmp_path, TRAIN, f"change: {{}}, search: {{space: {space}, trials: 3}}")
    (search,) = spec.searches
    assert search.whole == {"train.cfg.epochs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "step", "place", "message"),
    [
        (TRAIN, "change: {train.cfg: {optim: {lr: high}}}", "7:49", "train.cfg.optim.lr: "),
        (TRAIN, "change: {train.cfg.optim.lrr: 1}", "7:25", "did you mean 'train.cfg.optim.lr'?"),
        (TRAIN.replace("epochs", "epoch"), "change: {}", "5:44", "did you mean 'epochs'?"),
        (LOOSE, "change: {train.a: {c: 2}}", "7:35", "'a.b' is set outside of the section 'a'"),
    ],
)
def test_what_is_wrong_inside_of_a_section_is_told_at_its_place(
    tmp_path: Path, train: str, step: str, place: str, message: str
) -> None:
    with pytest.raises(SpecError) as raised:
        spec_of(tmp_path, train, step)
    first = str(raised.value).splitlines()[0]
    assert f"nested.yaml:{place}: " in first
    assert message in first
