"""The rule by which a search stops a trial early is Optuna's, and needs nothing but the trial's
own curve and a table.
"""

import json
import random
from collections.abc import Mapping

import optuna
import pytest

from orchestrator.pruning import FEWEST, Curve, Pruning, thresholds

EPOCHS = 6


def curve(values: list[float]) -> Curve:
    return dict(enumerate(values, 1))


def stopped_by_optuna(
    before: list[Curve], mine: Curve, mode: str, after: int, percentile: float
) -> int | None:
    """At which epoch Optuna's own pruner stops a trial that reports one epoch after the other."""
    pruner = optuna.pruners.PercentilePruner(
        percentile, n_startup_trials=FEWEST, n_warmup_steps=after, n_min_trials=FEWEST
    )
    study = optuna.create_study(direction=f"{mode}imize", pruner=pruner)
    for one in before:
        study.add_trial(optuna.create_trial(value=one[EPOCHS], intermediate_values=dict(one)))
    trial = study.ask()
    for epoch in range(1, EPOCHS):
        trial.report(mine[epoch], epoch)
        if trial.should_prune():
            return epoch
    return None


@pytest.mark.parametrize("mode", ["max", "min"])
def test_it_stops_what_optuna_stops_and_there(mode: str) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draw, found = random.Random(0), []
    for case in range(200):
        curves = [
            curve([draw.gauss(epoch, 2.0) for epoch in range(EPOCHS)]) for _ in range(2 + case % 5)
        ]
        after, percentile = draw.choice([1, 3]), draw.choice([25, 50, 80])
        mine, before = curves[0], curves[1:]
        table = thresholds(before, mode, first=after, last=EPOCHS - 1, percentile=percentile)
        found.append(Pruning("val/acc1", mode, table).epoch_of(mine))
        assert found[-1] == stopped_by_optuna(before, mine, mode, after, percentile)
    assert {None, 1, 3} < set(found)


def test_with_a_table_the_verdict_on_a_curve_stays_the_same_as_it_grows() -> None:
    pruning = Pruning("val/acc1", "max", {2: 10.0, 3: 20.0, 4: 0.0})
    whole = curve([5.0, 12.0, 19.0, 90.0])
    assert [pruning.epoch_of({at: whole[at] for at in range(1, end + 1)}) for end in range(5)] == [
        None,
        None,
        None,
        3,
        3,
    ]
    assert pruning.cause(whole, 3) == "val/acc1 was 19 by epoch 3, where 20 is needed to continue"
    assert Pruning.from_json(json.loads(json.dumps(pruning.to_json()))) == pruning


@pytest.mark.parametrize(
    ("lengths", "judged"), [((6, 6), []), ((6, 6, 3), [2, 3]), ((6, 6, 6), [2, 3, 4, 5])]
)
def test_nobody_is_judged_in_the_first_epochs_or_by_fewer_than_three_or_at_the_end(
    lengths: tuple[int], judged: list[int]
) -> None:
    curves: list[Mapping[int, float]] = [curve([1.0] * length) for length in lengths]
    assert sorted(thresholds(curves, "max", first=2, last=EPOCHS - 1, percentile=50)) == judged
