"""What a process keeps for a training is there in time."""

import os

import pytest

from illama.config import RuntimeConfig
from illama.training.device import process_state

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.mark.parametrize(("before", "inside"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_a_training_that_need_not_be_deterministic_leaves_the_gpu_fit_for_one_that_must(
    monkeypatch: pytest.MonkeyPatch, before: str | None, inside: str
) -> None:
    monkeypatch.setenv(CUBLAS, before or "")
    if before is None:
        monkeypatch.delenv(CUBLAS)
    with process_state(RuntimeConfig(), deterministic=False):
        assert os.environ[CUBLAS] == inside
