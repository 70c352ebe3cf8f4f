"""A sweep over somebody else's model and data: mistakes told at their place, the code kept in
the store, the same bits.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from illama.config import UserModel
from orchestrator.errors import SpecError
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.spec.warnings import warnings_of

DOCS = Path(__file__).parents[2] / "docs" / "foreign_model"
NET = """
from parts import head
from torch import nn

def create(*, width: int = 8, img_size: int = 8, dropout: float = 0.0):
    if width % 2:
        raise ValueError("width must be even")
    layers = nn.Linear(img_size ** 2, width), nn.ReLU(), nn.Dropout(dropout), head(width)
    return nn.Sequential(nn.Flatten(), *layers)

def shallow(*, img_size: int = 8):
    return nn.Sequential(nn.Flatten(), head(img_size ** 2))
"""
PARTS = "from torch import nn\n\ndef head(width):\n    return nn.Linear(width, 10)\n"
IMAGES = """
import numpy as np

def load(*, size: int = 8):
    random = np.random.default_rng(0)
    labels = np.arange(96) % 10
    images = random.normal(size=(96, 1, size, size)) + labels[:, None, None, None]
    return images[:64], labels[:64], images[64:], labels[64:]
"""
HEAD = """\
name: theirs
seeds: [0, 1]
baseline:
  model: {name: "net:create", width: 4}
  data: {name: "images:load"}
  train: {epochs: 2, batch_size: 16, lr: 0.01}
runtime: {device: cpu}
"""
STEPS = """\
steps:
  - name: wider
    change: {model.width: 16}
    side:
      no_hidden: {model.name: "net:shallow"}
  - name: dropout
    change: {model.dropout: 0.5}
"""


@pytest.fixture
def folder(weird_path: Path) -> Path:
    for name, text in {"net.py": NET, "parts.py": PARTS, "images.py": IMAGES}.items():
        (weird_path / name).write_text(text)
    return weird_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    def write(text: str = HEAD + STEPS, name: str = "theirs.yaml") -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def problems_in(path: Path) -> list[str]:
    """What is wrong with a spec, each with its line and column."""
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return [f"{p.line}:{p.column}: {p.message}" for p in caught.value.problems]


def fingerprints(spec: SweepSpec) -> dict[str, str]:
    return {trial.name: trial.fingerprint for trial in trials_of(spec, lambda data: data.content)}  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_sweep_runs_to_its_roadmap_and_a_second_run_has_nothing_to_do(
    cli: Any, write: Any, store_path: Path
) -> None:
    spec, options = write(), ("--store", store_path)
    ran = cli("run", spec, *options, "--no-tracking", "--executor", "local")
    assert ran.code == 0, ran.err
    planned = cli("plan", spec, *options, "--json").json
    assert {trial["action"] for trial in planned["trials"]} == {"done"}
    sizes = {trial["variant"]: (trial["params"], trial["flops"]) for trial in planned["trials"]}
    assert sizes["baseline"] == (65 * 4 + 5 * 10, 2 * (64 * 4 + 4 * 10))
    assert sizes["no_hidden"] == (650, 1280)
    by_name = cli("report", "theirs", *options, "--format", "json").json  # from the store alone
    assert [step["name"] for step in by_name["steps"]] == [
        "baseline",
        "wider",
        "no_hidden",
        "dropout",
    ]
    page = cli("report", "theirs", *options, "--format", "html").out
    assert "<summary>parts.py</summary>" in page
    assert (store_path / "theirs" / "net.py").read_text() == NET
    assert (store_path / "theirs" / "parts.py").read_text() == PARTS


@pytest.mark.slow
def test_the_code_of_the_store_trains_the_bits_of_the_code_beside_the_spec(
    cli: Any, write: Any, folder: Path, store_path: Path, bits_of: Any
) -> None:
    run = ("run", write(), "--no-tracking", "--executor", "local", "--only", "dropout")
    assert cli(*run, "--store", store_path).code == 0
    expected = bits_of(store_path / "theirs")
    assert len(expected) == 2
    for name in ("net.py", "parts.py", "images.py"):
        (folder / name).unlink()
    for result in store_path.glob("theirs/trials/*/*"):
        result.unlink()
    resumed = cli("resume", "theirs", *run[2:], "--store", store_path)
    assert resumed.code == 0, resumed.err
    assert bits_of(store_path / "theirs") == expected


@pytest.mark.slow
def test_the_fingerprint_follows_the_code_and_the_images(write: Any, folder: Path) -> None:
    before = fingerprints(load_spec(write()))
    assert fingerprints(load_spec(write())) == before
    (folder / "parts.py").write_text(PARTS + "changed = True\n")
    changed = fingerprints(load_spec(write()))
    assert not set(changed.values()) & set(before.values())
    (folder / "parts.py").write_text(PARTS)
    (folder / "images.py").write_text(
        IMAGES.replace("np.arange(96) % 10", "(np.arange(96) + 1) % 10")
    )
    assert not set(fingerprints(load_spec(write())).values()) & set(before.values())


def test_every_setting_counts_even_at_its_default(write: Any, folder: Path) -> None:
    (folder / "net.py").write_text("NUMERICS_VERSION = 1\n" + NET)
    before = fingerprints(load_spec(write()))
    (folder / "net.py").write_text(
        "NUMERICS_VERSION = 1\n" + NET.replace("dropout: float = 0.0", "dropout: float = 0.25")
    )
    after = fingerprints(load_spec(write()))
    assert after["baseline-seed0"] != before["baseline-seed0"]
    assert after["dropout-seed0"] == before["dropout-seed0"]  # it says 0.5


@pytest.mark.parametrize(
    ("found", "replaced", "expected"),
    [
        ("width: 4}", "widht: 4}", "4:31: unknown key 'widht'; did you mean 'width'?"),
        (
            "width: 4}",
            "width: broad}",
            "4:38: model.width: it should be a valid integer, found 'broad'",
        ),
        ("net:create", "nut:create", "4:17: there is no module 'nut' next to the spec"),
        (
            "net:create",
            "net:creat",
            "4:17: module 'net' has no function 'creat'; did you mean 'create'?",
        ),
        (
            "width: 4}",
            "width: 3}",
            "4:17: net:create raised ValueError: width must be even (net.py, line 7)",
        ),
        (
            "images:load",
            "images:lod",
            "5:16: module 'images' has no function 'lod'; did you mean 'load'?",
        ),
        ('"images:load"', '"images:load", size: 4', "4:17: net:create raised RuntimeError: "),
        (
            "model.width: 16",
            "model.width: 5",
            "10:27: net:create raised ValueError: width must be even",
        ),
        ("model.width: 16", "model.depth: 5", "10:14: there is no setting 'model.depth'"),
        ("model.width: 16", "train.lr: 0", "10:24: train.lr: it should be greater than 0"),
        ("model.width: 16", "model.width: 4", "10:5: this changes nothing"),
        (
            "net:shallow",
            "net:shalow",
            "12:31: module 'net' has no function 'shalow'; did you mean 'shallow'?",
        ),
        (
            "lr: 0.01",
            "lr: 0.01, drop_path: 0.1",
            "4:3: train.drop_path acts only inside the built-in networks",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(
    write: Any, found: str, replaced: str, expected: str
) -> None:
    problems = problems_in(write((HEAD + STEPS).replace(found, replaced, 1)))
    assert any(expected in problem for problem in problems), problems


def test_the_command_line_answers_a_mistake_without_a_traceback(
    cli: Any, write: Any, folder: Path
) -> None:
    (folder / "net.py").write_text("import torch\nprint('importing')\n1 / 0\n")
    ended = cli("plan", write(), "--json")
    assert ended.code == 2
    assert (
        "theirs.yaml:4:17: importing 'net' raised ZeroDivisionError: division by zero (net.py, "
        "line 3)" in ended.err
    )
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_step_may_go_from_our_networks_to_others_and_back(write: Any) -> None:
    text = HEAD.replace('{name: "net:create", width: 4}', "{name: vit_digits, depth: 1}")
    text += 'steps:\n- {name: theirs, change: {model.name: "net:create", model.width: 6}}\n'
    text += "- {name: ours, change: {model.name: vit_digits, model.depth: 2}}\n"
    models = [variant.config.model for variant in load_spec(write(text)).variants]
    assert isinstance(models[1], UserModel)
    assert models[1].options["width"] == 6
    assert models[2].depth == 2  # type: ignore[union-attr]


def test_the_other_designs_and_the_warnings_know_other_peoples_settings(write: Any) -> None:
    spec = load_spec(write(HEAD + "design: [roadmap, leave_one_out, {orders: 1}]\n" + STEPS))
    shown = {variant.name: dict(variant.changes) for variant in spec.variants}
    assert shown["without.wider"] == {"model.width": 4}
    assert shown["order1.dropout"] == {"model.dropout": 0.5}
    drift = next(warning for warning in warnings_of(spec) if warning.code == "size-drift")
    assert "'wider'" in drift.message
    assert drift.control == ""


def test_a_network_without_parameters_or_products_is_a_network(write: Any, folder: Path) -> None:
    (folder / "net.py").write_text(
        NET + "def none():\n    return nn.Sequential(nn.AdaptiveAvgPool2d((1, 10)), nn.Flatten())\n"
    )
    text = (
        HEAD.replace('"net:create", width: 4', '"net:none"')
        + 'steps:\n- {name: some, change: {model.name: "net:shallow"}}\n'
    )
    assert [w.message for w in warnings_of(load_spec(write(text))) if w.code == "size-drift"]


def test_what_the_settings_say_is_in_the_trials_files(
    cli: Any, write: Any, store_path: Path
) -> None:
    cli(
        "run",
        write(),
        "--store",
        store_path,
        "--no-tracking",
        "--executor",
        "local",
        "--only",
        "wider",
        "--seeds",
        "1",
    )
    trial = json.loads(next(store_path.glob("theirs/trials/*/trial.json")).read_text())
    assert trial["settings"]["model"]["options"] == {"width": 16, "img_size": 8, "dropout": 0.0}
    assert trial["settings"]["model"]["code"].startswith("syntax-1 sha256:")


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(cli: Any, tmp_path: Path, store_path: Path) -> None:
    settings = yaml.safe_load((DOCS / "mixer.yaml").read_text())
    settings["seeds"], settings["baseline"]["train"]["epochs"] = [0], 3
    (tmp_path / "mixer.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (tmp_path / "mixer.py").write_bytes((DOCS / "mixer.py").read_bytes())
    ran = cli(
        "run",
        tmp_path / "mixer.yaml",
        "--store",
        store_path,
        "--no-tracking",
        "--executor",
        "local",
    )
    assert ran.code == 0, ran.err
    steps = cli("report", tmp_path / "mixer.yaml", "--store", store_path, "--format", "json").json[
        "steps"
    ]
    assert {name for step in steps for name in step["outcomes"]} == {"finished"}
    assert all(step["mean"] > 30 for step in steps)  # ten classes: it learns


def test_every_spec_of_the_documentation_plans() -> None:
    text = (DOCS.parent / "foreign_models.md").read_text()
    assert f"```yaml\n{_body(DOCS / 'mixer.yaml')}```" in text  # shown as it is
    assert len(load_spec(DOCS / "mixer.yaml").variants) == 5


def _body(path: Path) -> str:
    """Without the comment on top and what follows the steps."""
    text = path.read_text()
    return text[text.index("baseline:") : text.index("\nresources:")]
