"""Ray still has what we use of its inside, nothing else of it is used, and a release that lacks
some of it does.
"""

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

import orchestrator
from orchestrator.executors.ray import internals

PRIVATE_NAME = re.compile(r"\bray(?:\.\w+)*\._\w+|\.(?:_actor_manager|num_pending_actors)\b")


def look_up(dotted: str) -> Any:
    """What a dotted name stands for, the modules on its way imported."""
    found: Any = ray
    path = "ray"
    for part in dotted.split(".")[1:]:
        path = f"{path}.{part}"
        if not hasattr(found, part):
            importlib.import_module(path)
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", internals.PRIVATE)
def test_ray_has_every_private_name(name: str) -> None:
    try:
        look_up(name)
    except (AttributeError, ImportError):
        pytest.fail(
            f"Ray {ray.__version__} changed {name}; we use it so that {internals.PRIVATE[name]}"
        )


def test_a_trial_of_tune_has_the_attributes_that_ours_sets() -> None:
    from ray.tune.experiment import Trial

    trial = Trial("worker", stub=True)
    assert trial.temporary_state.ray_actor is None, "set where Tune would ask the worker"
    assert hasattr(trial.run_metadata, "last_result"), "set where Tune would keep statistics"


def test_what_is_set_when_ray_starts_is_still_set() -> None:
    from ray.tune.execution.tune_controller import TuneController

    assert "worker.gcs_client = " in inspect.getsource(ray._private.worker.connect)
    assert "self._actor_manager = " in inspect.getsource(TuneController)


def test_no_other_file_names_what_is_private() -> None:
    package = Path(orchestrator.__file__).parent
    found = [
        f"{path.name}: {match[0]}"
        for path in package.rglob("*.py")
        if path.name != "internals.py"
        for match in PRIVATE_NAME.finditer(path.read_text("utf-8"))
    ]
    assert found == []


def test_where_names_are_gone_what_is_known_less_of_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(ray._private.state, "state")
    monkeypatch.delattr(ray._private.state, "actors")
    monkeypatch.delattr(ray._private.worker, "global_worker")
    internals._say.cache_clear()
    for _ in range(2):
        assert internals.draining_nodes() == set()
        assert internals.node_of_actor("an actor") is None
        assert internals.autoscaler_report() == {}
    assert len(caplog.records) == 3
    assert all(f"Ray {ray.__version__} has changed" in line for line in caplog.messages)


def test_tune_does_not_import_trackers_to_count_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.air._internal import usage

    monkeypatch.setattr(usage, "tag_callbacks", usage.tag_callbacks)  # put back afterwards
    for tracker in ("comet", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, f"ray.air.integrations.{tracker}", None)
    given: Any = [object()]
    with pytest.raises(ImportError):
        usage.tag_callbacks(given)
    internals.count_no_callbacks()
    assert not look_up("ray.tune.tune.air_usage.tag_callbacks")(given)


def test_without_its_counter_workers_that_wait_are_counted_from_the_trials() -> None:
    live = [SimpleNamespace(status=status) for status in ("PENDING", "RUNNING", "PENDING")]
    newer: Any = SimpleNamespace(get_live_trials=lambda: live)
    assert internals.pending_actors(newer) == 2
    ours: Any = SimpleNamespace(_actor_manager=SimpleNamespace(num_pending_actors=1))
    assert internals.pending_actors(ours) == 1
