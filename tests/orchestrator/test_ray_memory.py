"""Where a node runs low on memory Ray ends a worker; its trial has run out of memory, and the
sweep goes on.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Process = Callable[..., "subprocess.Popen[str]"]
Cli = Callable[..., Any]
WriteSpec = Callable[..., Path]

GREEDY = """
import time
import torch
from torch import nn

class Greedy(nn.Module):
    def __init__(self, above):
        super().__init__()
        self.above, self.head = above, nn.Linear(64, 10)

    def forward(self, images):
        if self.training and len(images) > self.above:
            much = [torch.ones(25_000_000) for _ in range(100)]
            time.sleep(60)
        return self.head(images.flatten(1))

def create(*, above: int, img_size: int = 8):
    return Greedy(above)
"""
"""Takes up to 10 GB where too many images are on the device at once, and waits there."""


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray lets the machine use 6 GB more than now: what else runs on it may need some GB more or
    less in the meantime.
    """
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    monkeypatch.setenv(
        "RAY_memory_usage_threshold", str((get_used_memory() + 6e9) / get_system_memory())
    )
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")


def ends(store_path: Path, trial: str) -> list[dict[str, Any]]:
    [path] = store_path.glob(f"tiny/trials/{trial}-*/attempts.jsonl")
    return [
        line for line in map(json.loads, path.read_text().splitlines()) if line["event"] == "end"
    ]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("room")
def test_a_worker_that_ray_ends_for_memory_goes_again_with_half_the_images_until_there_is_one(
    process: Process, cli: Cli, write_spec: WriteSpec, weird_path: Path, store_path: Path
) -> None:
    (weird_path / "greedy.py").write_text(GREEDY)
    hopeless = {"name": "hopeless", "change": {"model.above": 0, "train.batch_size": 2}}
    model = {"name": "greedy:create", "above": 29}  # half of the 59 images of a batch
    spec = write_spec(
        steps=[hopeless],
        max_concurrent=1,
        **{"baseline.model": model, "baseline.train.soft_mask": None},
    )
    driver = process("run", spec, "--store", store_path, "--no-tracking")
    out, err = driver.communicate(timeout=400)
    assert driver.returncode == 1, err
    assert "Traceback" not in err
    assert "baseline-seed0 out of memory" in out
    assert "will be retried with a micro-batch of 29" in out
    first, *_, last = ends(store_path, "baseline-seed0")
    assert first["outcome"] == "out_of_memory"
    assert first["cause"].startswith("killed by Ray: ")
    assert "node running low on memory" in first["cause"]
    assert last["outcome"] == "finished"
    assert [end["outcome"] for end in ends(store_path, "hopeless-seed0")] == ["out_of_memory"] * 2
    states = {
        trial["name"]: trial["state"]
        for trial in cli("status", spec, "--store", store_path, "--json").json["trials"]
    }
    assert states == {"baseline-seed0": "done", "hopeless-seed0": "failed"}


def test_tune_is_told_of_every_death_in_words_that_it_knows() -> None:
    from ray.exceptions import (
        ActorDiedError,
        OutOfMemoryError,
        RayActorError,
        RayTaskError,
        WorkerCrashedError,
    )

    from orchestrator.executors.ray.actors import KilledForMemory, _known_to_tune

    died, raised = ActorDiedError(), RayTaskError("step", "traceback", ValueError("ours"))
    assert [_known_to_tune(error) for error in (died, raised)] == [died, raised]
    killed = _known_to_tune(OutOfMemoryError("the node ran low on memory\nand much more"))
    assert isinstance(killed, KilledForMemory)
    assert str(killed) == "killed by Ray: the node ran low on memory"
    crashed = _known_to_tune(WorkerCrashedError())
    assert isinstance(crashed, RayActorError)
    assert not isinstance(crashed, KilledForMemory)
