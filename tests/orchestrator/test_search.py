"""A search inside a step: the same results ask for the same trials, and what it finds is what
the steps behind build on.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from invented import HEAD, End, digest, lookup_of, record, snapshot_of, spec_of

from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.errors import SpecError, UsageError
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.adaptive import more_seeds
from orchestrator.planning.plan import Action, Plan, later_trials, make_plan, trials_of
from orchestrator.planning.representative import representative
from orchestrator.planning.search import Suggestions, with_searches
from orchestrator.report.formats import render
from orchestrator.spec.domains import Numbers
from orchestrator.spec.search_space import Values, point_key
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import warnings_of
from orchestrator.tracking import shape
from orchestrator.trial import TrialRecord, TrialSpec

LR = "train.lr: {low: 5e-4, high: 5e-2, log: true}"
SEARCHED = f"""
steps:
  - name: swiglu
    change: {{model.feed_forward: swiglu}}
    search:
      space: {{{LR}, train.weight_decay: [0.0, 0.05, 0.1]}}
      trials: 7
      at_once: 3
      seeds: [1000]
  - name: rope
    change: {{model.position: rope}}
"""
EndOf = Callable[[TrialSpec], End | None]


def by_lr(trial: TrialSpec) -> End:
    """Best at 0.01, and a little better without weight decay."""
    return 90.0 - abs(trial.config.train.lr - 0.01) * 1000 - trial.config.train.weight_decay


class Runs:
    """A store in which trials end as a function says, once they are run."""

    def __init__(self, end_of: EndOf = by_lr) -> None:
        self.end_of = end_of
        self.ended: dict[str, TrialRecord] = {}

    def __call__(self, trial: TrialSpec) -> TrialRecord:
        return self.ended.get(trial.fingerprint, TrialRecord(State.PENDING))

    def run(self, trials: Iterable[TrialSpec]) -> None:
        for trial in trials:
            if (end := self.end_of(trial)) is not None:
                path = f"/runs/{trial.sweep}/trials/{trial.directory_name}"
                self.ended.setdefault(trial.fingerprint, record(end, path))

    def known(
        self, spec: SweepSpec, folder: Path = Path("nowhere"), *, keeps: bool = False
    ) -> SweepSpec:
        return with_searches(spec, lookup_of(spec, self), Suggestions(folder, keeps=keeps))

    def to_do(self, spec: SweepSpec) -> list[TrialSpec]:
        return [
            trial
            for trial in trials_of(self.known(spec), digest)
            if trial.fingerprint not in self.ended
        ]

    def run_all(
        self,
        spec: SweepSpec,
        order: Callable[[list[TrialSpec]], list[TrialSpec]] = list,
        at_once: int = 99,
    ) -> SweepSpec:
        while todo := self.to_do(spec):
            before = len(self.ended)
            self.run(order(todo)[:at_once])
            if len(self.ended) == before:
                break
        return self.known(spec)

    def plan(self, spec: SweepSpec, **choice: Any) -> Plan:
        known = self.known(spec)
        return make_plan(
            snapshot_of(
                known, trials_of(known, digest, **choice), self, later_trials(known, **choice)
            )
        )

    def report(self, spec: SweepSpec) -> Roadmap:
        known = self.known(spec)
        return build_roadmap(snapshot_of(known, trials_of(known, digest), self))


def values_of(spec: SweepSpec, number: int = 0) -> list[Values]:
    return [dict(point.values) for point in spec.searches[number].tried]


def names(trials: Iterable[TrialSpec]) -> list[str]:
    return [trial.name for trial in trials]


def problems(tmp_path: Path, body: str, head: str = HEAD, seeds: int = 3) -> list[str]:
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, body, seeds, head)
    return [f"{it.line}:{it.column}: {it.message}" for it in caught.value.problems]


def test_a_search_goes_in_generations_and_the_road_ends_before_it_until_it_is_done(
    tmp_path: Path,
) -> None:
    spec, runs = spec_of(tmp_path, SEARCHED), Runs()
    base = [f"baseline-seed{seed}" for seed in range(3)]
    first = [f"swiglu@{number}-seed1000" for number in (1, 2, 3)]
    assert names(runs.to_do(spec)) == base + first
    runs.run(trial for trial in runs.to_do(spec) if trial.name != "swiglu@2-seed1000")
    assert names(runs.to_do(spec)) == ["swiglu@2-seed1000"]
    runs.run(runs.to_do(spec))
    assert names(runs.to_do(spec)) == [f"swiglu@{number}-seed1000" for number in (4, 5, 6)]
    runs.run(runs.to_do(spec))
    assert names(runs.to_do(spec)) == ["swiglu@7-seed1000"]
    runs.run(runs.to_do(spec))
    assert names(runs.to_do(spec)) == [
        f"{step}-seed{seed}" for step in ("swiglu", "rope") for seed in range(3)
    ]


def test_the_best_value_becomes_part_of_the_step_and_of_all_behind_it(tmp_path: Path) -> None:
    known = (runs := Runs()).run_all(spec_of(tmp_path, SEARCHED))
    [search] = known.searches
    best = max(search.tried, key=lambda point: point.mean or 0.0)
    assert search.chosen is best
    swiglu, rope = known.variants[1:]
    assert dict(swiglu.changes) == {"model.feed_forward": "swiglu", **best.values}
    assert dict(rope.changes) == {"model.position": "rope"}
    for variant in (swiglu, rope):
        assert variant.config.train.lr == best.values["train.lr"]
        assert variant.config.train.weight_decay == best.values["train.weight_decay"]
    assert known.variants[0].config.train.lr == 2e-3
    assert runs.to_do(known) == []


@pytest.mark.slow
def test_what_is_tried_depends_on_results_alone_not_on_their_order_or_how_many_run_at_once(
    tmp_path: Path,
) -> None:
    spec = spec_of(tmp_path, SEARCHED.replace("trials: 7", "trials: 12"))
    whole = Runs().run_all(spec)
    backwards = Runs().run_all(spec, lambda trials: trials[::-1], at_once=1)
    assert values_of(backwards) == values_of(whole)
    assert trials_of(backwards, digest) == trials_of(whole, digest)
    otherwise = Runs(lambda trial: 50.0 + trial.config.train.weight_decay).run_all(spec)
    assert values_of(otherwise)[:3] == values_of(whole)[:3]
    assert values_of(otherwise)[6:] != values_of(whole)[6:], "Optuna's model has something to go by"


@pytest.mark.slow
def test_what_was_there_without_the_search_is_tried_first_and_no_point_twice(
    tmp_path: Path,
) -> None:
    points = values_of(
        Runs().run_all(spec_of(tmp_path, SEARCHED.replace("trials: 7", "trials: 40")))
    )
    assert points[0] == {"train.lr": 2e-3, "train.weight_decay": 0.05}
    assert len({point_key(point) for point in points}) == 40
    assert all(5e-4 <= point["train.lr"] <= 5e-2 for point in points)
    far = values_of(Runs().run_all(spec_of(tmp_path, SEARCHED.replace("low: 5e-4", "low: 5e-3"))))
    assert 2e-3 not in {point["train.lr"] for point in far}


@pytest.mark.slow
def test_optuna_looks_where_it_was_good(tmp_path: Path) -> None:
    def far_from_the_best(sampler: str) -> float:
        body = SEARCHED.replace("trials: 7", f"trials: 40\n      sampler: {sampler}")
        points = values_of(Runs().run_all(spec_of(tmp_path, body)))
        return median(abs(math.log(point["train.lr"] / 0.01)) for point in points[20:])

    assert far_from_the_best("tpe") < far_from_the_best("random") / 2


def test_more_trials_of_the_same_search_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    runs = Runs()
    short = values_of(runs.run_all(spec_of(tmp_path, SEARCHED)))
    long = values_of(runs.run_all(spec_of(tmp_path, SEARCHED.replace("trials: 7", "trials: 9"))))
    assert long[:7] == short


def test_suggestions_are_kept_so_that_another_optuna_changes_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, runs, folder = spec_of(tmp_path, SEARCHED), Runs(), tmp_path / "searches"
    kept = values_of(runs.known(spec, folder, keeps=True))
    [path] = folder.glob("swiglu-*.json")
    monkeypatch.setattr(
        "orchestrator.planning.search.suggested",
        lambda *_: pytest.fail("it was suggested before"),
    )
    assert values_of(runs.known(spec, folder)) == kept
    monkeypatch.undo()
    path.write_text("{")
    assert values_of(runs.known(spec, folder)) == kept, "a damaged memory is none"
    path.unlink()
    assert values_of(runs.known(spec, folder)) == kept
    assert not path.exists(), "only the holder of the lease writes"


def test_a_space_that_can_be_counted_is_tried_once_through_and_a_grid_is_all_of_it(
    tmp_path: Path,
) -> None:
    few = SEARCHED.replace(LR, "train.lr: [1e-3, 2e-3]").replace("trials: 7", "trials: 50")
    known = Runs().run_all(spec_of(tmp_path, few))
    assert [tuple(point.values()) for point in values_of(known)] == [
        (lr, wd) for lr in (1e-3, 2e-3) for wd in (0.0, 0.05, 0.1)
    ]
    assert known.searches[0].goal == 6
    spaces = "model.depth: {low: 1, high: 3}, train.lr: {low: 1e-3, high: 4e-3, step: 1e-3}"
    grid = (
        SEARCHED.replace(LR, spaces)
        .replace(", train.weight_decay: [0.0, 0.05, 0.1]", "")
        .replace("trials: 7", "sampler: grid")
    )
    points = [tuple(point.values()) for point in values_of(Runs().run_all(spec_of(tmp_path, grid)))]
    assert points == [(depth, lr) for depth in (1, 2, 3) for lr in (1e-3, 2e-3, 3e-3, 4e-3)]
    assert all(isinstance(depth, int) for depth, _ in points)


def test_whole_numbers_are_whole_where_the_setting_is(tmp_path: Path) -> None:
    spaces = "model.depth: {low: 1, high: 300, log: true}, train.weight_decay: {low: 0, high: 1}"
    body = SEARCHED.replace(LR + ", train.weight_decay: [0.0, 0.05, 0.1]", spaces)
    points = values_of(Runs().run_all(spec_of(tmp_path, body)))
    assert all(isinstance(point["model.depth"], int) for point in points)
    assert len({point["train.weight_decay"] for point in points}) > 3


@pytest.mark.slow
def test_a_step_need_not_reach_the_other_end(tmp_path: Path) -> None:
    spaces = (
        "model.depth: {low: 1, high: 8, step: 3}, train.weight_decay: {low: 0, high: 1, step: "
        "0.3}, " + LR
    )
    body = SEARCHED.replace(LR + ", train.weight_decay: [0.0, 0.05, 0.1]", spaces).replace(
        "trials: 7", "trials: 30"
    )
    points = values_of(Runs().run_all(spec_of(tmp_path, body)))
    assert {point["model.depth"] for point in points} == {1, 4, 7}
    assert {point["train.weight_decay"] for point in points} == {0.0, 0.3, 0.6, 0.9}


def test_choices_may_be_groups_of_settings(tmp_path: Path) -> None:
    body = """
steps:
  - name: causal
    change: {model.attention: causal}
    search:
      space:
        train.soft_mask: [null, {schedule: linear, epochs: 2}, {schedule: linear, epochs: 4}]
      trials: 2
"""
    known = Runs(lambda trial: 60.0 if trial.config.train.soft_mask else 50.0).run_all(
        spec_of(tmp_path, body)
    )
    assert known.searches[0].chosen.values["train.soft_mask"]["schedule"] == "linear"  # type: ignore[union-attr]


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_the_metric_says_which_is_best_over_all_seeds_and_of_equals_the_first_is_taken(
    tmp_path: Path, mode: str, best: int
) -> None:
    ends = {
        (1, 100): 80.0,
        (1, 101): 90.0,
        (2, 100): 85.0,
        (2, 101): 81.0,
        (3, 100): 90.0,
        (3, 101): 80.0,
    }

    def end_of(trial: TrialSpec) -> TrialRecord | None:
        number = int(trial.variant.partition("@")[2] or 0)
        value = ends.get((number, trial.seed), 70.0)
        return record(value) if mode == "max" else replace(record(value), result=loss(value))

    def loss(value: float) -> Mapping[str, Any]:
        return {
            "outcome": "finished",
            "metrics": {"val/loss": value},
            "best": {"val/loss": value},
            "seconds": 1.0,
        }

    body = SEARCHED.replace("trials: 7", "trials: 3").replace("[1000]", "[100, 101]")
    body += "metric: {name: val/loss, mode: min}" if mode == "min" else ""
    spec, runs = spec_of(tmp_path, body), Runs()
    while todo := runs.to_do(spec):
        runs.ended |= {trial.fingerprint: end_of(trial) for trial in todo}  # type: ignore[misc]
    search = runs.known(spec).searches[0]
    assert [point.mean for point in search.tried] == [85.0, 83.0, 85.0]
    assert search.chosen is search.tried[best - 1]


@pytest.mark.slow
def test_a_point_that_diverged_or_collapsed_is_told_as_bad_and_never_chosen(tmp_path: Path) -> None:
    def end_of(trial: TrialSpec) -> End:
        if trial.is_of_search and trial.config.train.lr > 5e-3:
            return "diverged" if trial.config.train.lr > 1e-2 else ("collapsed", 99.0)
        return 10.0 + trial.config.train.lr

    known = Runs(end_of).run_all(spec_of(tmp_path, SEARCHED.replace("trials: 7", "trials: 24")))
    [search] = known.searches
    outcomes = [point.outcome for point in search.tried]
    assert {"diverged", "collapsed", "finished"} <= set(outcomes)
    assert outcomes[12:].count("finished") > outcomes[:12].count("finished"), (
        "it keeps away from them"
    )
    assert search.chosen
    assert search.chosen.outcome == "finished"


def test_where_nothing_trains_the_first_is_taken_and_a_step_that_expects_a_collapse_compares_those(
    tmp_path: Path,
) -> None:
    known = Runs(lambda trial: "diverged" if trial.is_of_search else 50.0).run_all(
        spec_of(tmp_path, SEARCHED)
    )
    assert known.searches[0].chosen == known.searches[0].tried[0]
    assert known.unknown == []
    spec = spec_of(tmp_path, SEARCHED.replace("    search:", "    expect: collapse\n    search:"))
    known = Runs(lambda trial: ("collapsed", float(by_lr(trial)))).run_all(spec)  # type: ignore[arg-type]
    assert known.searches[0].chosen == max(
        known.searches[0].tried, key=lambda point: point.mean or 0.0
    )


@pytest.mark.parametrize("outcome", ["failed", "out_of_memory", "timed_out"])
def test_a_trial_that_failed_holds_the_search_up_and_is_named(tmp_path: Path, outcome: str) -> None:
    spec = spec_of(tmp_path, SEARCHED)
    runs = Runs(lambda trial: outcome if trial.variant == "swiglu@2" else by_lr(trial))
    known = runs.run_all(spec)
    assert len(known.searches[0].tried) == 3
    assert known.searches[0].held_up_by == ["swiglu@2-seed1000"]
    plan = runs.plan(spec)
    assert [p.trial.name for p in plan.trials if p.action is Action.RETRY] == ["swiglu@2-seed1000"]
    assert names(plan.to_train(retry_failed=True)) == ["swiglu@2-seed1000"]
    text = render(runs.report(spec), "table").decode()
    assert (
        "is blocked by swiglu@2-seed1000, which failed; `orchestrator resume` retries"
        in " ".join(text.split())
    )
    runs.ended = {
        key: value for key, value in runs.ended.items() if value.outcome != Outcome(outcome)
    }
    runs.end_of = by_lr
    assert runs.run_all(spec).searches[0].chosen


def test_the_plan_counts_what_follows(tmp_path: Path) -> None:
    spec, runs = spec_of(tmp_path, SEARCHED), Runs()
    plan = runs.plan(spec)
    assert len(plan.trials) == 3 + 3
    assert {planned.action for planned in plan.trials} == {Action.NEW}
    assert len(plan.later) == 4 + 2 * 3
    assert plan.estimate.trials == 16
    shown = plan.to_json()
    assert (shown["later"], shown["searches"][0]["goal"], shown["searches"][0]["chosen"]) == (
        10,
        7,
        None,
    )
    runs.run_all(spec)
    plan = runs.plan(spec)
    assert (len(plan.trials), plan.later, plan.estimate.trials) == (16, (), 0)


def test_only_and_seeds_pick_steps_and_the_searches_that_they_wait_for(tmp_path: Path) -> None:
    spec, runs = spec_of(tmp_path, SEARCHED), Runs()
    first = [f"swiglu@{number}-seed1000" for number in (1, 2, 3)]
    assert names(p.trial for p in runs.plan(spec, only=["baseline"], seeds=[1]).trials) == [
        "baseline-seed1"
    ]
    for step in ("swiglu", "rope"):
        plan = runs.plan(spec, only=[step], seeds=[1])
        assert names(p.trial for p in plan.trials) == first
        assert names(plan.later) == [f"swiglu@{number}-seed1000" for number in (4, 5, 6, 7)] + [
            f"{step}-seed1"
        ]
    runs.run_all(spec)
    tried = [f"swiglu@{number}-seed1000" for number in range(1, 8)]
    assert names(p.trial for p in runs.plan(spec, only=["rope"], seeds=[1]).trials) == [
        *tried,
        "rope-seed1",
    ]


def test_only_the_searches_that_a_step_builds_on_are_asked_for(tmp_path: Path) -> None:
    search = f"search: {{space: {{{LR}}}, trials: 2, at_once: 2, seeds: [1000]}}"
    body = f"""
{search}
steps:
  - name: swiglu
    change: {{model.feed_forward: swiglu}}
    {search}
    side:
      aside: {{change: {{model.norm: rmsnorm}}, {search}}}
      control: {{on: baseline, change: {{model.norm: rmsnorm}}}}
  - {{name: rope, change: {{model.position: rope}}}}
"""
    spec, runs = spec_of(tmp_path, body), Runs()
    runs.run_all(spec)
    for only, searched in {
        "baseline": ["baseline"],
        "control": ["baseline"],
        "swiglu": ["baseline", "swiglu"],
        "aside": ["baseline", "swiglu", "aside"],
        "rope": ["baseline", "swiglu"],
    }.items():
        trials = [planned.trial for planned in runs.plan(spec, only=[only]).trials]
        assert (
            list(dict.fromkeys(t.variant.partition("@")[0] for t in trials if t.is_of_search))
            == searched
        )


def test_seeds_are_added_to_steps_and_never_to_searches(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "{{start: 2, max: 4, until: decided}}")
    noise = [0.0, 3.0, -2.0, 1.0]
    runs = Runs(
        lambda trial: (
            float(by_lr(trial))
            + (0 if trial.is_of_search else noise[trial.seed] * trial.config.model.depth)
        )
    )  # type: ignore[arg-type]
    known = runs.run_all(spec_of(tmp_path, SEARCHED, head=head))
    more = more_seeds(known, lookup_of(known, runs))
    assert more.keys() <= {"baseline", "swiglu", "rope"}
    assert more, "an undecided step gets more"
    trials = trials_of(known, digest, more_seeds=more)
    assert {trial.seed for trial in trials if trial.is_of_search} == {1000}
    assert {trial.seed for trial in trials if not trial.is_of_search} > {0, 1, 2}


def test_the_road_has_no_last_network_before_it_is_known(tmp_path: Path) -> None:
    spec, runs = spec_of(tmp_path, SEARCHED), Runs()
    with pytest.raises(UsageError, match="rope waits for a search"):
        representative(snapshot_of(runs.known(spec), [], runs))
    runs.run_all(spec)
    known = runs.known(spec)
    snapshot = snapshot_of(known, trials_of(known, digest), runs)
    assert representative(snapshot).trial.variant == "rope"


def test_the_baseline_a_side_step_and_a_step_without_a_change_search_too(tmp_path: Path) -> None:
    body = f"""
search: {{space: {{{LR}}}, trials: 3}}
steps:
  - name: swiglu
    change: {{model.feed_forward: swiglu}}
    side:
      retuned:
        change: {{model.norm: rmsnorm}}
        search: {{space: {{train.weight_decay: [0.0, 0.1]}}, trials: 2}}
  - name: warm
    search: {{space: {{train.warmup_epochs: {{low: 0, high: 3}}}}, trials: 2}}
  - {{name: rope, change: {{model.position: rope}}}}
"""
    spec, runs = spec_of(tmp_path, body), Runs()
    assert names(runs.to_do(spec)) == [
        f"baseline@{number}-seed{seed}" for number in (1, 2, 3) for seed in (1000, 1001, 1002)
    ]
    runs.run(runs.to_do(spec))
    found = {trial.variant for trial in runs.to_do(spec)}
    assert found == {"baseline", "swiglu", "retuned@1", "retuned@2", "warm@1", "warm@2"}
    known = runs.run_all(spec)
    variants = {variant.name: variant for variant in known.variants}
    assert list(variants) == ["baseline", "swiglu", "retuned", "warm", "rope"]
    lr = known.searches[0].chosen.values["train.lr"]  # type: ignore[union-attr]
    assert dict(variants["baseline"].changes) == {"train.lr": lr}
    assert {variant.config.train.lr for variant in known.variants} == {lr}
    assert dict(variants["retuned"].changes) == {
        "model.feed_forward": "swiglu",
        "model.norm": "rmsnorm",
        "train.weight_decay": 0.0,
    }
    assert list(variants["warm"].changes) == ["train.warmup_epochs"]
    assert variants["rope"].config.train.weight_decay == 0.05, "a side step's values are its own"


def test_cells_of_other_designs_take_what_was_found_on_the_road(tmp_path: Path) -> None:
    spec, runs = (
        spec_of(tmp_path, "design: [roadmap, one_factor, leave_one_out]" + SEARCHED),
        Runs(),
    )
    assert {variant.name for variant in runs.known(spec).unknown} == {
        "swiglu",
        "rope",
        "only.swiglu",
        "only.rope",
        "without.swiglu",
        "without.rope",
    }
    known = runs.run_all(spec)
    variants = {variant.name: variant for variant in known.variants}
    chosen = known.searches[0].chosen
    assert chosen
    assert variants["only.swiglu"].config.train.lr == chosen.values["train.lr"]
    assert variants["only.rope"].config.train.lr == 2e-3
    assert variants["without.swiglu"].config.train.lr == 2e-3


def test_the_report_works_before_during_and_after_and_never_counts_the_search(
    tmp_path: Path,
) -> None:
    spec, runs = spec_of(tmp_path, SEARCHED), Runs()
    runs.run(runs.to_do(spec))
    during = runs.report(spec)
    assert [(row.variant.name, len(row.values)) for row in during.rows] == [
        ("baseline", 3),
        ("swiglu", 0),
        ("rope", 0),
    ]
    text = " ".join(render(during, "table").decode().split())
    assert "swiglu: the search has tried 3 of 7 combinations" in text
    assert "Steps without results wait for a search" in text
    assert "(n=3)" in text
    runs.run_all(spec)
    whole = runs.report(spec)
    assert [row.variant.name for row in whole.rows] == ["baseline", "swiglu", "rope"]
    assert whole.seeds == [0, 1, 2]
    assert whole.total_seconds == 9 * 2.0
    for form in ("table", "md", "latex", "html"):
        text = " ".join(render(whole, form).decode().split())
        assert "found by a search over 7 combinations with seed 1000" in text
        assert "not counted anywhere else" in text
        assert "Pareto" not in text  # it goes by one metric
    shown = json.loads(render(whole, "json"))
    swiglu = shown["steps"][1]
    assert swiglu["changes"]["train.lr"] == swiglu["search"]["chosen"]["train.lr"]
    assert swiglu["search"]["space"] == {
        "train.lr": {"low": 5e-4, "high": 5e-2, "log": True},
        "train.weight_decay": {"choices": [0.0, 0.05, 0.1]},
    }
    assert len(swiglu["search"]["trials"]) == 7
    assert swiglu["seeds"] == [0, 1, 2]
    assert (shown["train_seconds"], shown["search_seconds"], shown["steps"][0]["search"]) == (
        18.0,
        14.0,
        None,
    )


@pytest.mark.parametrize("form", ["table", "json", "html", "md", "latex", "svg", "png"])
def test_a_report_is_there_before_anything_is_known(tmp_path: Path, form: str) -> None:
    spec = spec_of(tmp_path, f"search: {{space: {{{LR}}}, trials: 3}}" + SEARCHED)
    assert render(Runs().report(spec), form)


def test_a_value_beyond_which_nothing_was_tried_is_said_to_be_one(tmp_path: Path) -> None:
    body = f"steps: [{{name: tuned, search: {{space: {{{LR}}}, trials: 6}}}}]"
    spec, runs = spec_of(tmp_path, body), Runs(lambda trial: trial.config.train.lr)
    runs.run_all(spec)
    assert "no larger train.lr was tried" in render(runs.report(spec), "md").decode()
    inside = Runs()
    inside.run_all(spec)
    assert "was tried" not in render(inside.report(spec), "md").decode()


def test_the_page_draws_what_was_tried_over_each_setting(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, SEARCHED)
    runs = Runs(
        lambda trial: (
            "diverged" if trial.is_of_search and trial.config.train.lr > 2e-2 else by_lr(trial)
        )
    )
    chosen = runs.run_all(spec).searches[0].chosen
    assert chosen
    page = render(runs.report(spec), "html").decode()
    for key in ("train.lr", "train.weight_decay"):
        drawing = page[page.index(f'aria-label="swiglu: val/acc1 over {key}"') :].partition(
            "</svg>"
        )[0]
        assert drawing.count("<circle") == 7
        assert (
            drawing.count('class="tried ill"')
            == sum(point.mean is None for point in runs.known(spec).searches[0].tried)
            > 0
        )
        assert (
            f"swiglu@{chosen.variant.name.partition('@')[2]}: "
            in drawing.partition('class="tried chosen"')[2]
        )


@pytest.mark.slow
def test_a_step_that_is_tuned_against_one_that_is_not_is_warned_of(tmp_path: Path) -> None:
    def found(body: str) -> dict[str, str]:
        spec = spec_of(tmp_path, body, seeds=6)
        return {it.code: it.message for it in warnings_of(Runs().run_all(spec))} | {
            it.code: it.message for it in warnings_of(spec)
        }

    assert (
        "searches train.lr, train.weight_decay, but 'baseline'"
        in found(SEARCHED)["tuned-unequally"]
    )
    assert "confounded-step" not in found(SEARCHED)
    same = f"search: {{space: {{{LR}, train.weight_decay: [0.0, 0.05, 0.1]}}, trials: 7}}"
    assert "tuned-unequally" not in found(same + SEARCHED)
    shorter = found(same.replace("7", "4") + SEARCHED)["tuned-unequally"]
    assert "tries 7 combinations, but 'baseline', which it is compared with, 4" in shorter
    overwritten = found(
        same + SEARCHED + "    regimes: {}\n  - {name: slow, change: {train.lr: 1e-4}}"
    )
    assert "step 'slow' sets train.lr, which 'swiglu' searches" in overwritten["search-overwritten"]
    warning = next(
        it for it in warnings_of(spec_of(tmp_path, SEARCHED)) if it.code == "tuned-unequally"
    )
    assert "tuned-unequally" not in found(warning.control + SEARCHED), "the control resolves it"


def test_what_a_search_found_may_not_go_with_a_later_step_which_is_told_at_that_step(
    tmp_path: Path,
) -> None:
    body = """
steps:
  - name: depth
    search: {space: {model.depth: [4, 5]}, trials: 2}
  - name: mixed
    change: {model.attention: [causal, causal, causal, bidirectional]}
"""
    spec, runs = spec_of(tmp_path, body), Runs(lambda trial: float(trial.config.model.depth))
    with pytest.raises(SpecError, match="attention lists 4 blocks, but depth is 5"):
        runs.run_all(spec)


def test_in_mlflow_a_search_stands_beside_its_step_and_what_was_searched_is_a_param_of_its_trials(
    tmp_path: Path,
) -> None:
    spec, runs = spec_of(tmp_path, SEARCHED), Runs()
    before = shape.parents_in_order(runs.known(spec))
    known = runs.run_all(spec)
    parents = shape.parents_in_order(known)
    assert [name for _, name in parents.values()] == [
        "0 baseline",
        "1 swiglu: search",
        "1 swiglu",
        "2 rope",
    ]
    assert {label: name for label, (_, name) in before.items()} == {
        label: name for label, (_, name) in parents.items()
    }
    search, swiglu = parents["swiglu: search"][0], parents["swiglu"][0]
    assert shape.params_of(known, search)["train.lr"] == "searched"
    assert shape.params_of(known, swiglu)["train.lr"] == str(swiglu.changes["train.lr"])
    [*trials] = known.searches[0].trials
    shown = [shape.trial_params(known, trial, "swiglu") for trial in trials]
    assert [params["train.lr"] for params in shown] == [
        str(trial.config.train.lr) for trial in trials
    ]
    assert {shape.trial_tags(trial, {}, "any.yaml")["sweep.kind"] for trial in trials} == {"search"}
    assert (
        shown[0].keys() == shape.trial_params(known, trials_of(known, digest)[0], "baseline").keys()
    ), "comparable"


MISTAKES = [
    (
        "train.lr: {low: 5e-4",
        "train.rl: {low: 5e-4",
        "13:15: there is no setting 'train.rl'; did you mean 'train.lr'?",
    ),
    ("low: 5e-4", "low: 5e-1", "13:25: low 0.5 is not below high 0.05"),
    ("low: 5e-4", "low: 0", "13:25: with log, low must be above 0, found 0"),
    (
        f"{LR}, train.weight_decay: [0.0, 0.05, 0.1]",
        "",
        "13:14: steps.0.search.space: it should have at least one item",
    ),
    (
        "trials: 7",
        "trials: 0",
        "14:15: steps.0.search.trials: it should be greater than 0, found 0",
    ),
    (
        "trials: 7",
        "sampler: tpe",
        "13:7: key 'trials' is missing: the number of combinations to try",
    ),
    ("trials: 7", "trails: 7", "unknown key 'trails'"),
    (
        "trials: 7",
        "trials: 7\n      sampler: grid",
        "a grid tries every combination: leave out 'trials'",
    ),
    ("trials: 7", "sampler: grid", "14:16: a grid must be countable"),
    ("seeds: [1000]", "seeds: [7, 2]", "16:18: seed 2 is also a seed of the report"),
    ("seeds: [1000]", "seeds: [7, 7]", "16:18: seed 7 is given twice"),
    ("[0.0, 0.05, 0.1]", "[0.0, -0.05, 0.1]", "found -0.05"),
    ("[0.0, 0.05, 0.1]", "[0.1]", "a search needs two or more choices, all different"),
    ("[0.0, 0.05, 0.1]", "{low: -1, high: 1}", "found -1"),
    ("[0.0, 0.05, 0.1]", "{low: 0, high: 1, step: 2}", "step 2 leads beyond high 1"),
    ("[0.0, 0.05, 0.1]", "0.1", "it should be a mapping of keys to values"),
    ("[0.0, 0.05, 0.1]", "{high: 1}", "between `low` and `high`"),
    (
        "train.weight_decay: [0.0",
        "model.feed_forward: [gelu, swiglu], train.weight_decay: [0.0",
        "'model.feed_forward' is searched",
    ),
    ("train.weight_decay: [0.0, 0.05, 0.1]", "model.depth: {low: 1, high: 2.5}", "found 2.5"),
    (
        "train.weight_decay: [0.0, 0.05, 0.1]",
        "model.depth: {low: 1, high: 2, step: 0.5}",
        "its steps must be whole",
    ),
    ("name: swiglu", "name: swiglu@3", "'swiglu@3' cannot be a name"),
    (
        "steps:",
        "design: one_factor\nsteps:",
        "a step's search needs the roadmap, which this sweep does not have",
    ),
]


@pytest.mark.parametrize(
    ("right", "wrong", "message"), MISTAKES, ids=[message for _, _, message in MISTAKES]
)
def test_a_mistake_is_told_once_with_its_place(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in SEARCHED
    found = problems(tmp_path, SEARCHED.replace(right, wrong))
    assert len(found) == 1, found
    assert message in found[0]


def test_the_searchs_seeds_are_none_that_may_be_added_to_the_report(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "{{start: 3, max: 1200, until: decided}}")
    assert "seed 1000 is also a seed of the report" in problems(tmp_path, SEARCHED, head)[0]


def test_a_number_is_rounded_to_what_can_be_read_and_stays_inside(tmp_path: Path) -> None:
    [search] = spec_of(tmp_path, SEARCHED).searches
    wide = search.domains["train.lr"]
    assert isinstance(wide, Numbers)
    assert wide.rounded(0.00123456789) == 0.001235
    assert wide.rounded(5e-2 - 1e-12) == 5e-2
    narrow = Numbers(1.0001, 1.0009, log=False, step=None, is_whole=False)
    assert narrow.rounded(1.00051234) == 1.0005123
