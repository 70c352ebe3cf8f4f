"""Settings of the command line, specs that extend others, and grids: one spec, each mistake at
its place.
"""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec.sweep_spec import SweepSpec, load_spec

BASE = """\
name: base  # a remark
seeds: [0, 1, 2]
baseline:
  model: {name: vit_digits}
  data: {name: digits}
  train: {epochs: 2, batch_size: 64, lr: 1e-3}
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path / "base.yaml"


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    return str(caught.value)


def train(spec: SweepSpec) -> Any:
    [baseline, *_] = spec.variants
    return baseline.config.science["train"]


def test_settings_of_the_command_line_are_laid_over_the_spec(base: Path) -> None:
    overrides = ["train.epochs=3", "seeds=[0]", "train.betas=[0.9,0.95]", "runtime.device=cpu"]
    overrides += ["model.attention=causal", "+train.soft_mask={schedule:linear,epochs:1}"]
    spec = load_spec(base, overrides)
    assert (spec.schema.seeds, spec.schema.runtime.device) == ([0], "cpu")
    found = train(spec)
    assert (found["epochs"], found["betas"], found["lr"]) == (3, [0.9, 0.95], 1e-3)
    assert {"schedule": "linear", "epochs": 1}.items() <= found["soft_mask"].items()
    assert load_spec(base, ["~steps"]).schema.steps == []


def test_the_text_that_is_stored_has_them_in_it_and_nothing_else_changes_a_byte(base: Path) -> None:
    assert load_spec(base).content == BASE.encode()
    spec = load_spec(base, ["train.epochs=3", "seeds=[0]"])
    copy = base.parent / "copy.yaml"
    copy.write_bytes(spec.content)
    again = load_spec(copy)
    assert again.schema == spec.schema
    assert [one.config for one in again.variants] == [one.config for one in spec.variants]
    assert spec.content.startswith(b"# base.yaml 'train.epochs=3' 'seeds=[0]', written out\n")
    assert b"lr: 1e-3" in spec.content


@pytest.mark.parametrize(
    ("override", "message"),
    {
        "train.epochs=two": "train.epochs: it should be a valid integer, found 'two'",
        "trian.epochs=2": "unknown key 'trian'",
        "train.epoch=2": "unknown key 'epoch'; did you mean 'epochs'?",
        "epochs": "a setting is written as key=value, such as train.epochs=2 or seeds=[0]",
        "seeds=[0": "the value is not YAML: expected ',' or ']', but got '<stream end>'",
        "seeds.0=1": "'seeds' has no keys: give the whole value, such as seeds=[0, 1]",
        "~train.nothing": "there is no such key to remove",
        "train.lr=": "train.lr: it should be a valid number",
    }.items(),
)
def test_a_mistake_on_the_command_line_is_told_there(
    base: Path, override: str, message: str
) -> None:
    assert refused(base, override).startswith(f"command line: '{override}': ")
    assert message in refused(base, override)


def test_a_spec_extends_another(base: Path) -> None:
    child = base.parent / "sub" / "child.yaml"
    child.parent.mkdir()
    child.write_text("extends: ../base.yaml\nname: child\nbaseline: {train: {epochs: 5}}\n")
    spec = load_spec(child, ["train.lr=0.1"])
    assert (spec.name, [step.name for step in spec.schema.steps]) == ("child", ["rmsnorm"])
    assert (train(spec)["epochs"], train(spec)["batch_size"], train(spec)["lr"]) == (5, 64, 0.1)
    assert b"extends" not in spec.content
    assert b"rmsnorm" in spec.content


def test_a_mistake_is_told_in_the_file_that_has_it(base: Path) -> None:
    child = base.parent / "child.yaml"
    child.write_text("extends: base.yaml\nname: child\n")
    base.write_text(BASE.replace("epochs: 2", "epochs: two"))
    assert refused(child).startswith(f"{base}:6:19: ")
    child.write_text("extends: bose.yaml\nname: child\n")
    assert f"{child}:1:10: extends: there is no file {base.parent / 'bose.yaml'}" in refused(child)
    child.write_text("extends: child.yaml\nname: child\n")
    assert "or a file that extends itself" in refused(child)


def test_a_grid_stands_for_a_side_step_for_each_combination(base: Path) -> None:
    base.write_text(BASE + "    grid: {train.lr: [1e-3, 3e-3], model.depth: [2, 3]}\n")
    spec = load_spec(base, ["train.lr=0.5"])
    names = [variant.name for variant in spec.variants if variant.side]
    assert names == [f"rmsnorm_lr_{lr}_depth_{n}" for lr in ("1e-3", "3e-3") for n in (2, 3)]
    assert spec.variants[-1].changes == {
        "model.norm": "rmsnorm",
        "train.lr": 3e-3,
        "model.depth": 3,
    }
    base.write_text(BASE + "    grid: {train.lr: 1e-3}\n")
    assert f"{base}:10:11: grid: it should have a list of values" in refused(base)
    base.write_text(BASE + "    grid: {train.lr: [1e-2, high]}\n")
    assert f"{base}:10:29: train.lr: it should be a valid number, found 'high'" in refused(base)


def test_several_values_in_one_step_are_refused_with_what_to_write(base: Path) -> None:
    base.write_text(BASE.replace("{model.norm: rmsnorm}", "{train.lr: [1e-3, 3e-3]}"))
    told = "a step has one value for each setting: for several, write a side step for each"
    assert told in refused(base)
    assert "such as grid: {train.lr: [1e-3, 3e-3]}" in refused(base)


def test_what_the_author_says_is_in_the_report(base: Path, cli: Any, store_path: Path) -> None:
    text = BASE + "    note: the first of LLaMA's parts\n"
    base.write_text(text + "description: What the norm does\ntags: {paper: 1, by: us}\n")
    report = cli("report", base, "seeds=[0]", "--store", store_path, "--format", "json").json
    assert (report["description"], report["tags"]) == (
        "What the norm does",
        {"paper": 1, "by": "us"},
    )
    assert report["steps"][1]["note"] == "the first of LLaMA's parts"
    table = cli("report", base, "--store", store_path).out
    assert "What the norm does" in table
    assert "rmsnorm: the first of LLaMA's parts" in table


@pytest.mark.parametrize(
    "command",
    ["sync", "register", "measure", "report", "export --format tensorboard --output curves"],
)
def test_every_command_on_a_sweep_takes_settings(cli: Any, base: Path, command: str) -> None:
    name, *options = command.split()
    found = cli(name, base, "trian.epochs=2", *options)
    assert (found.code, "unknown key 'trian'" in found.err) == (2, True), found.err
