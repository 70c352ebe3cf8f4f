"""The chaos harness: a sweep is killed at a random moment and ends as if nothing had happened
(`make test-thorough`).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "benchmarks" / "chaos.py"


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_sweep_killed_at_random_moments_loses_nothing_and_keeps_its_bits(
    write_spec: Callable[..., Path],
) -> None:
    steps = [
        {"name": "rmsnorm", "change": {"model.norm": "rmsnorm"}},
        {"name": "swiglu", "change": {"model.feed_forward": "swiglu"}},
    ]
    spec = write_spec(
        "storm",
        seeds=[0, 1],
        steps=steps,
        **{"baseline.train.epochs": 100, "runtime.checkpoint_seconds": 0.5},
    )
    command = [
        sys.executable,
        str(HARNESS),
        str(spec),
        "--kills",
        "1",
        "--seed",
        "4",
        "--within",
        "6",
    ]
    command += [
        "--faults",
        "driver",
        "worker",
        "torn",
        "raylet",
    ]  # the others take root, or the time that a server starts in
    ended = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 fault in" in ended.stdout
    assert "nothing lost, nothing done twice, same bits" in ended.stdout
