"""A training of somebody else's: it gets what it asks for, goes on to the same bits, and leaves
the process as it was.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from illama.config import RuntimeConfig, UserCodeError, UserTraining, resolve
from illama.config.imports import import_from
from illama.cost import size_of
from illama.training.trainer import Diverged, Stopped, TrainResult, train
from illama.training.user_training import CHECKPOINT_FOLDER, STATE, train_by_function

OWN = """
import os, random, sys
from dataclasses import dataclass, field
import numpy, torch
from illama import checkpoint

@dataclass
class Optimizer:
    lr: float = 0.5
    betas: tuple[float, float] = (0.9, 0.99)

def walk(*, iterations: int = 6, optimizer: Optimizer = Optimizer(), seed, log_metrics, checkpoint_dir, should_stop):
    state = checkpoint.load(checkpoint_dir) or {"x": torch.rand(()) + random.random() + numpy.random.random(), "at": 0}
    x, at = state["x"], state["at"]
    while at < iterations:
        if should_stop():
            checkpoint.save(checkpoint_dir, {"x": x, "at": at})
            return None
        x = x * optimizer.lr + torch.rand((), generator=torch.Generator().manual_seed(1000 * seed + at))
        at += 1
        log_metrics({"loss": x}, at)
    return {"loss": x, "params": 3}

def deaf(*, iterations=6, log_metrics):
    for at in range(iterations):
        log_metrics({"loss": 1.0}, at)
    return {"loss": 1.0, "late": 2.0}

def messy(device, data_dir, seed):
    print("this is not for stdout")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_num_threads(3)
    torch.backends.cudnn.benchmark = True
    os.chdir("/")
    random.random()
    return {"seed": seed, "threads": 1}

def gives(*, value: str = "None", log_metrics, should_stop):
    return eval(value)

def needs(*, name: str): ...
def yields(): yield 1
async def waits(): ...
"""
Lines = list[tuple[dict[str, float], int]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own.py").write_text(OWN)
    import_from(tmp_path)
    yield tmp_path
    import_from(Path())


def config(function: str, seed: int = 0, **options: Any) -> UserTraining:
    found = resolve({"train": {"name": f"own:{function}", **options}, "seed": seed})
    assert isinstance(found, UserTraining)
    return found


def run(
    what: UserTraining, directory: Path | None = None, stop: Callable[[], bool] = lambda: False
) -> tuple[TrainResult, Lines]:
    lines: Lines = []
    return train(
        what,
        log_metrics=lambda m, i: lines.append((dict(m), i)),
        checkpoint_dir=directory,
        should_stop=stop,
    ), lines


def test_nested_parameters_are_settings_and_the_size_is_what_it_returns() -> None:
    nested = config("walk", optimizer={"lr": 0.25})
    assert nested.train.options == {
        "iterations": 6,
        "optimizer": {"lr": 0.25, "betas": [0.9, 0.99]},
    }
    result, _ = run(nested)
    assert (result.params, result.flops, result.iterations, result.final.keys()) == (
        3,
        None,
        6,
        {"loss"},
    )
    assert size_of(nested) == (None, None)
    assert run(config("walk"))[0].final != result.final


@pytest.mark.slow
def test_every_draw_follows_from_the_seed() -> None:
    assert (
        run(config("walk", seed=1))[1]
        == run(config("walk", seed=1))[1]
        != run(config("walk", seed=2))[1]
    )


@pytest.mark.slow
@pytest.mark.parametrize("stops", [1, 4])
def test_interrupted_again_and_again_it_ends_with_the_same_bits(tmp_path: Path, stops: int) -> None:
    (expected, lines), found = run(config("walk")), Lines()
    directory, seconds = tmp_path / "trial", 0.0

    def attempt() -> TrainResult:
        asked = iter([False] * stops + [True])
        log = lambda metrics, iteration: found.append((dict(metrics), iteration))  # noqa: E731
        return train(
            config("walk"),
            log_metrics=log,
            checkpoint_dir=directory,
            should_stop=lambda: next(asked),
        )

    for done in range(stops, 6, stops):
        with pytest.raises(Stopped) as stopped:
            attempt()
        state = json.loads((directory / STATE).read_text())
        assert stopped.value.iteration == state["iteration"] == done
        assert state["seconds"] > seconds
        seconds = state["seconds"]
    result = attempt()
    assert (found, result.final) == (lines, expected.final)
    assert result.seconds > seconds
    assert (directory / CHECKPOINT_FOLDER / "checkpoint.pt").exists()


def test_what_is_logged_again_after_a_crash_is_reported_again_and_the_end_only_once(
    tmp_path: Path,
) -> None:
    first, lines = run(config("deaf"), tmp_path / "trial")
    assert lines[-1] == ({"loss": 1.0, "late": 2.0}, 6)
    again, repeated = run(config("deaf"), tmp_path / "trial")
    assert repeated == lines[:-1]
    assert (again.iterations, again.final) == (first.iterations, first.final) == (6, lines[-1][0])


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"config": 1}', b'{"iteration": "x"}', b"\xff", b"[" * 100_000],
    ids=["empty", "list", "a number", "a text", "no UTF-8", "too deep"],
)
def test_figures_that_are_damaged_begin_anew_and_cost_nothing_else(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    expected, _ = run(config("walk"))
    directory = tmp_path / "trial"
    directory.mkdir()
    (directory / STATE).write_bytes(content)
    result, _ = run(config("walk"), directory)
    assert result.final == expected.final
    assert f"{STATE} is damaged" in caplog.text


def test_nothing_is_left_in_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr("tempfile.mkdtemp", lambda *how, **more: made.append(how))
    run(config("walk"), tmp_path / "trial")
    assert made == [], "a kill would leave it behind"


def test_one_that_does_not_ask_is_stopped_where_it_logs() -> None:
    with pytest.raises(Stopped) as stopped:
        run(config("deaf"), stop=lambda: True)
    assert stopped.value.iteration == 0


def test_it_leaves_the_process_as_it_was(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder)

    def state() -> list[Any]:
        found = [
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            Path.cwd(),
        ]
        draws = [
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
        ]  # type: ignore[index,union-attr]
        return [*found, torch.backends.cudnn.benchmark, *draws]

    before = state()
    assert run(config("messy", seed=7))[0].final["seed"] == 7
    assert state() == before
    printed = capsys.readouterr()
    assert (printed.out, "this is not for stdout" in printed.err) == ("", True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("None", "own:gives returned NoneType; expected metrics"),
        ("[1.0]", "own:gives returned list; expected metrics"),
        ("{'loss': 'low'}", "own:gives returned 'loss' of type str; a metric is one number"),
        (
            "{'loss': numpy.ones(2)}",
            "own:gives returned 'loss' of type ndarray; a metric is one number",
        ),
        (
            "{'loss': torch.ones(2)}",
            "own:gives returned 'loss' of type Tensor; a metric is one number",
        ),
        ("{'': 1.0}", "own:gives returned a metric named ''"),
        ("{'lo\\udce9ss': 1.0}", r"own:gives returned a metric named 'lo.udce9ss'"),
        ("{3: 1.0}", "own:gives returned a metric named 3"),
        ("log_metrics({'loss': 1.0}, -1)", "log_metrics was called for iteration -1"),
        ("sys.exit(3)", r"the training called sys.exit\(3\)"),
    ],
)
def test_what_is_no_metrics_is_told(value: str, message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        run(config("gives", value=value))


@pytest.mark.parametrize(
    "value", ["{'loss': float('nan')}", "log_metrics({'loss': torch.tensor(float('nan'))}, 0)"]
)
def test_a_metric_that_is_not_finite_is_a_divergence(value: str) -> None:
    with pytest.raises(Diverged, match="loss is nan after iteration 0"):
        run(config("gives", value=value))


def test_nothing_returned_is_a_stop_only_where_it_was_asked_to() -> None:
    with pytest.raises(Stopped):
        run(config("gives", value="should_stop() and None"), stop=lambda: True)
    assert run(config("gives", value="{'loss': float(should_stop())}"), stop=lambda: True)[
        0
    ].final == {"loss": 1.0}  # it was done


@pytest.mark.slow
def test_another_trainings_folder_and_other_code_are_refused(tmp_path: Path, folder: Path) -> None:
    run(config("walk"), tmp_path / "trial")
    with pytest.raises(ValueError, match="belongs to a training with other settings, code or seed"):
        run(config("walk", seed=1), tmp_path / "trial")
    planned = config("walk")
    (folder / "own.py").write_text(OWN + "edited = True\n")
    import_from(folder)
    with pytest.raises(
        UserCodeError, match=r"the code of own:walk .* is not the code that was planned"
    ):
        run(planned)


@pytest.mark.parametrize(
    ("settings", "group", "message"),
    [
        (
            {"train": {"name": "own:walk"}, "model": {"name": "vit_digits"}},
            "model",
            "leave out 'model'",
        ),
        ({"train": {"name": "own:walk"}, "data": {"name": "digits"}}, "data", "leave out 'data'"),
        ({"train": {"name": "walk"}}, "train", "there is no training 'walk'"),
        (
            {"train": {"name": "own:needs"}},
            "train",
            "needs a parameter 'name' whose type no setting can have",
        ),
        ({"train": {"name": "own:yields"}}, "train", "is a generator or a coroutine"),
        ({"train": {"name": "own:waits"}}, "train", "is a generator or a coroutine"),
    ],
)
def test_what_cannot_be_trained_is_told_of_its_section(
    settings: dict[str, Any], group: str, message: str
) -> None:
    with pytest.raises(UserCodeError, match=message) as caught:
        resolve(settings)
    assert caught.value.group == group


@pytest.mark.cuda
def test_on_a_gpu_it_is_given_the_gpu(folder: Path) -> None:
    (folder / "own.py").write_text(
        "def where(device):\n    return {'is_cuda': device.type == 'cuda'}\n"
    )
    import_from(folder)
    result = train(
        config("where"), runtime=RuntimeConfig(device="cuda"), log_metrics=lambda m, i: None
    )
    assert result.final == {"is_cuda": 1.0}


def test_an_epoch_beside_the_metrics_is_no_metric(tmp_path: Path) -> None:
    """A trial would be stopped early by it, where its iterations count."""
    (tmp_path / "counts_epochs.py").write_text(
        "def train(*, iterations: int = 4, seed, log_metrics):\n"
        "    for iteration in range(1, iterations + 1):\n"
        "        log_metrics({'loss': 1.0 / iteration, 'epoch': iteration / 10}, iteration)\n"
        "    return {'loss': 1.0 / iteration, 'epoch': 0.4}\n"
    )
    import_from(tmp_path)
    config = UserTraining.resolved({"train": {"name": "counts_epochs:train"}}, None)
    logged: list[tuple[int, dict[str, float]]] = []
    result = train_by_function(
        config,
        RuntimeConfig(device="cpu"),
        log_metrics=lambda metrics, iteration: logged.append((iteration, dict(metrics))),
        checkpoint_dir=None,
        should_stop=lambda: False,
    )
    assert logged == [(iteration, {"loss": 1.0 / iteration}) for iteration in range(1, 5)]
    assert result.final == {"loss": 0.25}
