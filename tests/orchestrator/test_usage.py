"""What a trial's process takes is measured now and then, and kept apart from what a seed
decides.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.running.usage import UsageMeter
from orchestrator.running.worker import run_trial
from orchestrator.store.files import read_json
from orchestrator.store.lease import Lease


def test_a_busy_process_is_seen_busy() -> None:
    meter = UsageMeter()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    sample = meter()
    assert all(name.startswith("system/") for name in sample)
    assert sample["system/process_cpu_percentage"] > 0
    assert sample["system/process_memory_megabytes"] > 10
    assert 0 <= sample["system/system_memory_usage_percentage"] <= 100


def test_it_samples_no_more_than_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = UsageMeter()
    assert meter()
    now += 0.5
    assert not meter()
    now += 0.6
    assert meter()


def test_a_trials_curves_have_it_and_its_result_does_not(make_sweep: Callable[..., Any]) -> None:
    sweep = make_sweep()
    directory = sweep.store.directory(sweep.trials[0])
    directory.write_trial(sweep.trials[0], {})
    with Lease(sweep.path) as lease:
        run_trial(directory.path, lease.session)
    [first, *_] = directory.metrics()
    assert "system/process_memory_megabytes" in first["metrics"]
    assert "system/gpu_0_memory_usage_megabytes" not in first["metrics"], "it trained on the CPU"
    result = read_json(directory.result_path)
    assert not [
        name for name in (*result["metrics"], *result["best"]) if name.startswith("system/")
    ]
