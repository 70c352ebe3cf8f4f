"""What Tune is offered, and when: in the order of the road, at once where there is a place, and
else not at every occasion.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.executors.ray import tune as ray_tune
from orchestrator.outcomes import Outcome
from orchestrator.running.queue import TrialQueue


class TuneSteps:
    """Tune's loop around the search: places are found as far as there are some, and one trial
    waits where there is none.
    """

    def __init__(self, queue: TrialQueue) -> None:
        cluster = SimpleNamespace(can_hold=lambda resources: True, placement={})
        self.search = ray_tune._QueueSearch(queue, cluster)
        self.search.add_configurations(
            [cast(Any, SimpleNamespace(run_identifier="worker", storage=None))]
        )
        self.waiting = 0
        self.now = 100.0
        self.ids: dict[str, str] = {}

    def step(self, *, has_place: bool) -> list[str]:
        """The names of the trials that it was offered; all it takes, as Tune does."""
        offered = []
        while trial := self.search.next_trial():
            offered.append(Path(trial.config["path"]).name.rpartition("-")[0])
            self.ids[offered[-1]] = trial.trial_id
        self.search.settle(lambda: self.waiting)
        self.waiting += 0 if has_place else len(offered)
        return offered

    def end(self, name: str) -> None:
        """A trial is over; one that waits takes its place."""
        self.search.on_trial_complete(self.ids[name], {"outcome": str(Outcome.FINISHED)})
        self.waiting = 0


@pytest.fixture
def tune(make_sweep: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> TuneSteps:
    sweep = make_sweep(seeds=[0, 1, 2, 3, 4, 5])
    steps = TuneSteps(TrialQueue(sweep.trials, sweep.store, "mine", {}))
    monkeypatch.setattr(ray_tune.time, "monotonic", lambda: steps.now)
    return steps


def test_workers_start_side_by_side_until_a_trial_must_wait_which_no_other_overtakes(
    tune: TuneSteps,
) -> None:
    assert tune.step(has_place=True) == ["baseline-seed0"]
    assert tune.step(has_place=True) == ["baseline-seed1"], "no trial has ended or even begun"
    assert tune.step(has_place=False) == ["baseline-seed2"]
    tune.now += 3600
    assert tune.step(has_place=True) == []


def test_the_place_that_a_trial_leaves_is_offered_at_once_and_no_further_one_asked_for(
    tune: TuneSteps,
) -> None:
    assert [tune.step(has_place=True), tune.step(has_place=False)] == [
        ["baseline-seed0"],
        ["baseline-seed1"],
    ]
    tune.end("baseline-seed0")
    assert tune.step(has_place=True) == [], "the one that waited has taken it"
    tune.end("baseline-seed1")
    assert tune.step(has_place=True) == ["baseline-seed2"]
    assert tune.step(has_place=True) == []
    tune.now += ray_tune._ASK_SECONDS
    assert tune.step(has_place=True) == ["baseline-seed3"], "a node may have joined"
    assert tune.step(has_place=True) == ["baseline-seed4"], "with room for several"
