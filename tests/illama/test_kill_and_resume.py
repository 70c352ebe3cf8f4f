"""The harness in its short form: a training that is killed by SIGKILL ends with the same bits
(`make test-thorough`).
"""

import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"


@pytest.mark.thorough
@pytest.mark.slow
def test_a_training_that_is_killed_at_random_moments_ends_with_the_same_bits() -> None:
    command = [sys.executable, str(HARNESS), "--kills", "1", "--epochs", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("1 kills in ")
    assert ended.stdout.endswith("the same bits\n")
