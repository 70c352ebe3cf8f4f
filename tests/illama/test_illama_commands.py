"""`python -m illama` works alone, and answers mistakes in a sentence."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from illama.__main__ import main
from illama.training.trainer import train

RECIPE = """
model: {name: illama_digits, embed_dim: 16, depth: 1, num_heads: 2}
data: {name: digits, val_fraction: 0.9}
train: {epochs: 2, batch_size: 32, lr: 1e-3}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_train_then_evaluate(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "train",
                recipe,
                "train.epochs=1",
                "seed=3",
                "--output",
                str(tmp_path / "out"),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    metrics, summary = capsys.readouterr().out.splitlines()
    assert "% in the last epoch" in summary
    assert main(["evaluate", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == json.loads(metrics)["val/loss"]


def test_evaluate_measures_the_average_where_it_is_asked_to(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    settings = ["train.epochs=1", "train.ema=0.9"]
    assert main(["train", recipe, *settings, "--output", out, "--device", "cpu"]) == 0
    metrics = json.loads(capsys.readouterr().out.splitlines()[0])
    assert metrics["val_ema/loss"] != metrics["val/loss"]
    assert main(["evaluate", out, "--use-ema", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == metrics["val_ema/loss"]


@pytest.mark.slow
def test_a_training_that_is_interrupted_is_saved_and_the_same_command_goes_on(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any, log_metrics: Any, **options: Any) -> Any:
        def show(metrics: Any, iteration: int) -> None:
            log_metrics(metrics, iteration)
            signal.raise_signal(signal.SIGINT)

        return train(*arguments, log_metrics=show, **options)

    before, command = (
        signal.getsignal(signal.SIGINT),
        ["train", recipe, "--device", "cpu", "--output"],
    )
    with monkeypatch.context() as patched:
        patched.setattr("illama.training.trainer.train", interrupted)
        assert main([*command, str(tmp_path / "out")]) == 130
    assert signal.getsignal(signal.SIGINT) is before
    first = capsys.readouterr()
    assert [json.loads(line)["epoch"] for line in first.out.splitlines()] == [1]
    assert re.fullmatch(
        r"stopped after iteration \d+; the same command continues there\n", first.err
    )
    assert main([*command, str(tmp_path / "out")]) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[0])
    assert main([*command, str(tmp_path / "whole")]) == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[1])
    assert (second["epoch"], second["val/loss"]) == (2, whole["val/loss"])


def test_evaluate_finds_the_images_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("PIL.Image")
    from PIL import Image

    for part in ("train", "val"):
        for name, value in (("dark", 40), ("light", 200)):
            (tmp_path / "data" / "greys" / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (20, 20), (value + number,) * 3).save(
                    tmp_path / "data" / "greys" / part / name / f"{number}.png"
                )
    shape = (
        "model: {name: illama_digits, embed_dim: 16, depth: 1, num_heads: 2, img_size: 4, "
        "in_chans: 3, num_classes: 2}"
    )
    data = "data: {name: image_folder, folder: greys}"
    recipe, directory = tmp_path / "recipe.yaml", f"runtime.data_dir={tmp_path / 'data'}"
    recipe.write_text(f"{shape}\n{data}\ntrain: {{epochs: 1, batch_size: 4, lr: 1e-3}}\n")
    assert (
        main(
            ["train", str(recipe), directory, "--output", str(tmp_path / "out"), "--device", "cpu"]
        )
        == 0
    )
    trained = json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["evaluate", str(tmp_path / "out"), directory, "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == trained["val/loss"]
    assert main(["evaluate", str(tmp_path / "out"), directory, "train.lr=1"]) == 2
    assert "train is fixed by the checkpoint; allowed: runtime.KEY" in capsys.readouterr().err


def test_describe_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "illama_tiny", "model.img_size=384"]) == 0
    assert "5,774,056" in capsys.readouterr().out


def test_describe_counts_a_function_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "from torch import nn\ndef linear(*, bias: bool = True): return "
        "nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias))"
    )
    (tmp_path / "described_here.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["describe", "described_here:linear", "model.bias=false"]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts == {"bias": "False", "parameters": "640", "MACs": "640 per image"}


def test_describe_says_which_images_a_function_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from torch import nn\ndef colours(*, width: int = 4): return nn.Conv2d(3, width, 3)"
    (tmp_path / "described_in_colour.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["describe", "described_in_colour:colours"]) != 0
    assert "given digits, images of 1 channel and 8 x 8 pixels" in capsys.readouterr().err
    assert main(["describe", "described_in_colour:colours", "data.name=digits"]) != 0
    assert "given digits" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "illama_tin"], "did you mean 'illama_tiny'?"),
        (
            ["describe", "nothing_like_it"],
            "there is no model 'nothing_like_it'. Allowed: vit_digits, ",
        ),
        (
            ["describe", "illama_tiny", "train.lr=1"],
            "train is not a setting of this model; allowed: model.KEY",
        ),
        (["describe", "nowhere:network"], "there is no module 'nowhere'"),
        (
            ["describe", "illama_tiny", "model.norms=rmsnorm"],
            "norms is not a setting; did you mean 'norm'?",
        ),
        (["train", "missing.yaml"], "missing.yaml"),
        (
            ["train", "{recipe}", "train.epoch=1"],
            "train.epoch is not a setting; did you mean 'epochs'?",
        ),
        (["train", "{recipe}", "train.lr=fast"], "train.lr"),
        (
            ["train", "{recipe}", "train.init.checkpoint=nowhere.pt"],
            "nowhere.pt is missing: train.init.checkpoint names",
        ),
        (
            ["train", "{recipe}", "runtime.proceses=2"],
            "proceses is not a setting; did you mean 'processes'?",
        ),
        (["train", "{recipe}", "runtime=fast"], "runtime is 'fast', not a section"),
        (["train", "{recipe}", "model.img_size=7"], "img_size 7 is not a multiple of patch_size 2"),
        (["train", "{recipe}", "model.num_classes=3"], "but the model takes"),
        (["train", "model.name=illama_digits", "data.name=digits"], "train is missing"),
        (["describe", "illama_tiny", "img_size=384"], "did you mean model.img_size?"),
        (
            ["train", "{recipe}", "lr=1"],
            "lr is not a setting here; train.lr is a setting of the section",
        ),
        (["evaluate", "{recipe}"], "cannot be read as a checkpoint"),
        (["evaluate", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(
    recipe: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.replace("{recipe}", recipe) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_training_that_diverges_is_a_failure_of_its_own(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe, "train.lr=1e30"]) == 1
    assert "diverged" in capsys.readouterr().err
