"""Points that a search tries: the same first ones on both sides of a step, and each of Optuna's
samplers by its name.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from invented import HEAD, record, spec_of
from test_search import LR, Runs, problems, values_of

from orchestrator.spec import samplers
from orchestrator.spec.domains import Numbers
from orchestrator.spec.samplers import SAMPLERS, Sampler
from orchestrator.spec.search_space import point_key
from orchestrator.trial import TrialRecord, TrialSpec

DECAY = "train.weight_decay: {low: 0.0, high: 0.3}"
NORM = "train.clip_grad: {low: 0.5, high: 2.0}"


class All(Runs):
    """A store in which every trial has ended before it is asked for."""

    def __call__(self, trial: TrialSpec) -> TrialRecord:
        return record(90.0 - abs(trial.config.train.lr - 0.01) * 1000)


def searched(space: str, options: str = "trials: 6") -> str:
    return f"search: {{space: {{{space}}}, seeds: [1000], {options}}}"


def both_sides(tmp_path: Path, space: str, other: str, options: str = "trials: 6") -> Any:
    body = f"""
{searched(space, options)}
steps:
  - name: swiglu
    change: {{model.feed_forward: swiglu}}
    {searched(other, options)}
"""
    known = All().known(spec_of(tmp_path, body))
    return values_of(known, 0), values_of(known, 1)


def test_a_step_and_what_it_is_held_against_try_the_same_first_points(tmp_path: Path) -> None:
    baseline, step = both_sides(tmp_path, LR, LR)
    drawn = {point_key(point) for point in baseline[1:4]}
    assert len(drawn) == 3
    assert drawn <= {point_key(point) for point in step[:4]}


def test_a_setting_that_both_look_for_gets_the_same_values_also_where_one_looks_for_more(
    tmp_path: Path,
) -> None:
    baseline, step = both_sides(tmp_path, f"{LR}, {DECAY}", f"{DECAY}, {NORM}, {LR}")
    for key in ("train.lr", "train.weight_decay"):
        assert [point[key] for point in baseline[1:4]] == [point[key] for point in step[:3]]


def test_at_random_all_points_are_the_same_and_another_sweep_has_others(tmp_path: Path) -> None:
    options = "trials: 20, sampler: random"
    baseline, step = both_sides(tmp_path, LR, LR, options)
    assert {point_key(point) for point in baseline[1:]} <= {point_key(p) for p in step}
    head = HEAD.replace("invented", "another")
    body = searched(LR, options) + "\nsteps: [{name: swiglu, change: {model.feed_forward: swiglu}}]"
    another = values_of(All().known(spec_of(tmp_path, body, head=head)))
    assert another[0] == baseline[0]
    assert not {point_key(p) for p in another[1:]} & {point_key(p) for p in baseline[1:]}


def test_whole_numbers_without_end_are_drawn_from_without_being_listed() -> None:
    numbers = Numbers(1, 10**12, log=False, step=None, is_whole=True)
    assert numbers.count == 10**12
    assert [numbers.at(share) for share in (0.0, 0.25, 0.5)] == [1, 25 * 10**10 + 1, 5 * 10**11 + 1]
    tenths = Numbers(0.0, 0.5, log=False, step=0.1, is_whole=False)
    assert [tenths.at(share / 6) for share in range(6)] == tenths.listed


@pytest.mark.parametrize("space", ["train.warmup_epochs: {low: 0, high: 3}", "model.depth: [2, 3]"])
def test_few_combinations_are_each_drawn_once(tmp_path: Path, space: str) -> None:
    decay = "train.weight_decay: {low: 0, high: 1, step: 0.5}"
    body = (
        f"steps: [{{name: tuned, {searched(f'{space}, {decay}', 'trials: 5, sampler: random')}}}]"
    )
    points = values_of(All().known(spec_of(tmp_path, body)))
    assert len({point_key(point) for point in points}) == 5


@pytest.mark.parametrize(
    "name", ["tpe", "random", "qmc", "cmaes", pytest.param("gp", marks=pytest.mark.slow)]
)
def test_each_sampler_tries_as_many_points_as_are_asked_for_and_the_same_again(
    tmp_path: Path, name: str
) -> None:
    if SAMPLERS[name].needs and find_spec(SAMPLERS[name].needs) is None:
        pytest.skip(f"{SAMPLERS[name].needs} is not installed")
    trials = max(SAMPLERS[name].begins_with, 3) + 2
    space = searched(
        f"{LR}, {DECAY}, model.depth: [3, 4]", f"trials: {trials}, at_once: 2, sampler: {name}"
    )
    body = f"steps: [{{name: tuned, {space}}}]"
    spec = spec_of(tmp_path, body)
    points = values_of(All().known(spec))
    assert len({point_key(point) for point in points}) == trials
    assert all(5e-4 <= point["train.lr"] <= 5e-2 for point in points)
    assert values_of(All().known(spec)) == points


def test_an_entry_of_the_table_is_a_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAMPLERS, "genetic", Sampler("NSGAIISampler", begins_with=2))
    body = f"steps: [{{name: tuned, {searched(LR, 'trials: 6, sampler: genetic')}}}]"
    assert len(values_of(All().known(spec_of(tmp_path, body)))) == 6


def test_a_sampler_that_is_not_there_or_cannot_be_used_is_refused_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problem(space: str, name: str) -> str:
        body = f"steps: [{{name: tuned, {searched(space, f'trials: 6, sampler: {name}')}}}]"
        [message] = problems(tmp_path, body)
        return message

    assert (
        "there is no sampler 'tpa'; allowed: tpe, random, grid, gp, qmc, cmaes; did you mean 'tpe'?"
        in (problem(LR, "tpa"))
    )
    monkeypatch.setattr(samplers, "find_spec", lambda name: None)
    assert "sampler cmaes needs a package that is not installed: pip install cmaes" in (
        problem(LR, "cmaes")
    )
    monkeypatch.setattr(samplers, "find_spec", lambda name: name)
    assert "cmaes models only settings with low and high and needs 2 of them, found 1" in problem(
        LR, "cmaes"
    )
