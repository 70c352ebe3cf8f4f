"""An attempt that takes more than it may is ended from outside; the sweep goes on, and where it
makes sense the trial too.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOCAL = ("--executor", "local", "--no-tracking")


def events(store_path: Path, trial: str) -> list[dict[str, Any]]:
    [path] = store_path.glob(f"tiny/trials/{trial}-*/attempts.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_over_its_memory_limit_a_trial_goes_again_with_half_the_images_at_once_and_finishes(
    cli: Callable[..., Any], write_spec: Callable[..., Path], store_path: Path
) -> None:
    large = {
        "baseline.model.embed_dim": 256,
        "baseline.model.depth": 2,
        "baseline.model.num_heads": 4,
    }
    images = {
        "baseline.data.val_fraction": 0.1,
        "baseline.train.batch_size": 1600,
        "baseline.train.epochs": 1,
    }
    spec = write_spec(resources={"memory": "1050MB"}, **large, **images)
    finished = cli("run", spec, "--store", store_path, *LOCAL)
    assert finished.code == 0, finished.out + finished.err
    assert "baseline-seed0 out of memory" in finished.out
    assert "will be retried with a micro-batch of 800" in finished.out
    first, over, second, end = events(store_path, "baseline-seed0")[:4]
    assert over["outcome"] == "out_of_memory"
    assert "GB of memory, more than its limit of 1.05 GB" in over["cause"]
    assert (first.get("micro_batch_size"), second["micro_batch_size"]) == (None, 800)
    assert end["outcome"] in ("finished", "out_of_memory")
    assert cli("status", spec, "--store", store_path, "--json").json["outcomes"] == {"finished": 1}


@pytest.mark.slow
def test_the_end_of_one_trial_at_its_limit_is_not_the_end_of_the_sweep(
    cli: Callable[..., Any], write_spec: Callable[..., Path], store_path: Path
) -> None:
    long = {"name": "long", "change": {"train.epochs": 100_000}, "resources": {"time_limit": 0.5}}
    spec = write_spec(
        steps=[long, {"name": "rms", "change": {"train.epochs": 2, "model.norm": "rmsnorm"}}]
    )
    assert cli("run", spec, "--store", store_path, *LOCAL).code == 1
    status = cli("status", spec, "--store", store_path, "--json").json
    assert {trial["name"]: trial["outcome"] for trial in status["trials"]} == {
        "baseline-seed0": "finished",
        "long-seed0": "timed_out",
        "rms-seed0": "finished",
    }
    assert "over its time limit" in events(store_path, "long-seed0")[-1]["cause"]
