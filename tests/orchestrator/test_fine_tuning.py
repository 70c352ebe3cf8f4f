"""Steps that start from a file: the same content is the same trial, and a file that is missing
is said before anything runs.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
WriteSpec = Callable[..., Path]
LOCAL = ("--executor", "local", "--no-tracking")


@pytest.fixture
def weights(cli: Cli, write_spec: WriteSpec, weird_path: Path) -> Path:
    """The checkpoint of a trial, as `weights.pt` in the folder that holds the data."""
    assert cli("run", write_spec("source"), "--store", weird_path / "sources", *LOCAL).code == 0
    [path] = (weird_path / "sources").glob("source/trials/*/checkpoint.pt")
    return Path(shutil.copy(path, weird_path / "weights.pt"))


@pytest.fixture
def spec(write_spec: WriteSpec, weird_path: Path) -> Callable[..., Path]:
    def write(checkpoint: str = "weights.pt", **init: Any) -> Path:
        steps = [
            {
                "name": "tuned",
                "change": {
                    "train.init": {"checkpoint": checkpoint, **init},
                    "train.layer_decay": 0.8,
                },
            }
        ]
        return write_spec(steps=steps, **{"runtime.data_dir": str(weird_path)})

    return write


def actions(cli: Cli, spec: Path, store: Path) -> dict[str, tuple[str, str]]:
    planned = cli("plan", spec, "--store", store, "--json").json["trials"]
    return {trial["variant"]: (trial["action"], trial["fingerprint"]) for trial in planned}


@pytest.mark.slow
def test_a_step_starts_from_a_file_and_is_done_wherever_the_file_goes(
    cli: Cli, spec: Callable[..., Path], weights: Path, store_path: Path
) -> None:
    finished = cli("run", spec(), "--store", store_path, *LOCAL)
    assert finished.code == 0, finished.err
    done = actions(cli, spec(), store_path)
    assert [action for action, _ in done.values()] == ["done", "done"]
    weights.rename(weights.with_name("moved.pt"))
    assert actions(cli, spec("moved.pt"), store_path) == done
    weights.write_bytes(weights.with_name("moved.pt").read_bytes() + b"\0")
    changed = actions(cli, spec(), store_path)
    assert changed["baseline"] == done["baseline"]
    assert changed["tuned"][0] == "new"
    assert changed["tuned"][1] != done["tuned"][1]


def test_a_missing_file_is_told_before_anything_runs(
    cli: Cli, spec: Callable[..., Path], store_path: Path
) -> None:
    for command in (("plan", spec()), ("run", spec(), *LOCAL)):
        finished = cli(*command, "--store", store_path)
        assert finished.code == 2
        assert "'tuned' cannot start from its file: " in finished.err
        assert "weights.pt is missing" in finished.err
    known = spec(sha256="0" * 64)  # enough for a plan, on a machine without the file
    assert [action for action, _ in actions(cli, known, store_path).values()] == ["new", "new"]
    finished = cli("run", known, "--store", store_path, *LOCAL)
    assert finished.code == 2
    assert "trial tuned-seed0 cannot start from its file" in finished.err
    assert not list(store_path.glob("tiny/trials/*"))


@pytest.mark.slow
def test_a_file_that_does_not_fit_names_the_tensors(
    cli: Cli, write_spec: WriteSpec, weights: Path, weird_path: Path, store_path: Path
) -> None:
    steps = [
        {
            "name": "wider",
            "change": {"train.init": {"checkpoint": weights.name}, "model.embed_dim": 16},
        }
    ]
    wider = write_spec(steps=steps, **{"runtime.data_dir": str(weird_path)})
    assert cli("run", wider, "--store", store_path, *LOCAL).code == 1
    [failed] = [
        trial
        for trial in cli("status", wider, "--store", store_path, "--json").json["trials"]
        if trial["cause"]
    ]
    assert "head.weight is (10, 32) instead of (10, 16)" in failed["cause"]


def test_a_step_trains_a_part_alone_and_the_plan_counts_it(
    cli: Cli, write_spec: WriteSpec, weights: Path, weird_path: Path, store_path: Path
) -> None:
    adapter = {
        "train.init": {"checkpoint": weights.name},
        "model.mixer": {"name": "llama_adapter", "prompts": 2},
        "train.trainable": ["*.prompts", "*.gate"],
    }
    spec = write_spec(
        steps=[{"name": "adapter", "change": adapter}], **{"runtime.data_dir": str(weird_path)}
    )
    baseline, adapted = cli("plan", spec, "--store", store_path, "--json").json["trials"]
    assert "trained_params" not in baseline
    assert adapted["trained_params"] == adapted["params"] - baseline["params"]
    assert f"{adapted['trained_params']} / {adapted['params']:,}" in cli("plan", spec).out
    assert cli("run", spec, "--store", store_path, *LOCAL).code == 0
    told = cli("report", spec, "--store", store_path, "--format", "json").json["steps"]
    assert [step.get("trained_params") for step in told] == [None, adapted["trained_params"]]
