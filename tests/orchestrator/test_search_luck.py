"""Luck of a search: what it happened to find is in no seed's spread, so it is repeated, or
nothing is decided by it.
"""

import json
import math
import random
from pathlib import Path

import pytest
from invented import HEAD, digest, spec_of
from test_search import LR, Runs, names, problems

from orchestrator.analysis.roadmap import Roadmap
from orchestrator.analysis.search_luck import (
    by_repeat,
    is_of_one_search,
    luck_text,
    search_luck_differs,
)
from orchestrator.planning.plan import later_trials, trials_of
from orchestrator.report.formats import render
from orchestrator.spec.search_schema import SearchSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.stats.inference import effect_of
from orchestrator.tracking import shape
from orchestrator.trial import TrialSpec

STEPS = """
steps:
  - name: swiglu
    change: {model.feed_forward: swiglu}
    search: *s
    side:
      same: {on: baseline, change: {model.feed_forward: swiglu}}
  - {name: rope, change: {model.position: rope}}
  - {name: slow, change: {train.lr: 1.5e-3}}
"""


def body(options: str) -> str:
    return f"search: &s {{space: {{{LR}}}, {options}}}" + STEPS


def by_rate(trial: TrialSpec) -> float:
    """Best at 0.006, with noise that is each trial's own; SwiGLU wants a larger one."""
    noise = random.Random(trial.fingerprint).gauss(0, 0.3)
    best = 2e-2 if trial.changes.get("model.feed_forward") else 6e-3
    return 90 - 4 * math.log10(trial.config.train.lr / best) ** 2 + noise


def known(tmp_path: Path, options: str, seeds: int = 6) -> tuple[SweepSpec, Runs]:
    runs = Runs(by_rate)
    return runs.run_all(spec_of(tmp_path, body(options), seeds=seeds)), runs


def deltas(roadmap: Roadmap) -> dict[str, tuple[float | None, str]]:
    return {
        row.variant.name: (row.delta_previous.effect.p_value, row.delta_previous.caveat)
        for row in roadmap.rows
        if row.delta_previous
    }


def test_a_search_has_three_seeds_by_default_that_no_repeat_shares() -> None:
    schema = SearchSchema.model_validate({"space": {"train.lr": [1, 2]}, "trials": 2})
    assert (schema.seeds, schema.repeats) == ([1000, 1001, 1002], 1)
    assert schema.seeds_of(2) == [1006, 1007, 1008]
    odd = schema.model_copy(update={"seeds": [7, 20]})
    assert [odd.seeds_of(repeat) for repeat in range(3)] == [[7, 20], [21, 34], [35, 48]]


def test_what_differs_by_one_search_is_shown_and_not_tested(tmp_path: Path) -> None:
    _, runs = known(tmp_path, "trials: 6")
    roadmap = runs.report(spec_of(tmp_path, body("trials: 6"), seeds=6))
    found = deltas(roadmap)
    for name, sides in (("swiglu", "each side"), ("slow", "one side")):
        p_value, caveat = found[name]
        assert p_value is None
        assert (
            f"conditional on one search on {sides}: the interval leaves out the search's own "
            "variation" in caveat
        )
    for name in ("same", "rope"):  # both have what the same search found
        p_value, caveat = found[name]
        assert p_value is not None
        assert not caveat
    swiglu = roadmap.rows[1]
    assert swiglu.delta_previous
    assert swiglu.delta_previous.effect.ci95
    text = " ".join(render(roadmap, "md").decode().split())
    assert "results are conditional on that search" in text
    assert "the best of 6, on the seeds that chose it, so optimistic" in text


def test_searches_that_came_to_the_same_leave_nothing_to_luck(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, body("trials: 2").replace(LR, "train.lr: [1e-3, 4e-3]"), seeds=6)
    runs = Runs(by_rate)
    found = runs.run_all(spec)
    first, swiglu, *_ = found.variants
    assert first.found_by == {"train.lr": "baseline"}
    assert swiglu.found_by == {"train.lr": "swiglu"}
    assert first.config.train.lr == swiglu.config.train.lr
    assert not search_luck_differs(first, swiglu)
    assert deltas(runs.report(spec))["swiglu"][0] is not None


@pytest.mark.slow
def test_each_repeat_is_a_road_of_its_own_and_seeds_take_them_in_turn(tmp_path: Path) -> None:
    spec, runs = known(tmp_path, "trials: 6, repeats: 3")
    assert [search.key for search in spec.searches] == [
        (label, repeat) for label in ("baseline", "swiglu") for repeat in range(3)
    ]
    assert [search.schema.seeds[0] for search in spec.searches] == [1000, 1003, 1006] * 2
    chosen = [search.chosen.values["train.lr"] for search in spec.searches if search.chosen]
    assert len(set(chosen[:3])) == 3
    trials = trials_of(spec, digest)
    for step, of_step in (("baseline", chosen[:3]), ("swiglu", chosen[3:]), ("rope", chosen[3:])):
        rates = [trial.config.train.lr for trial in trials if trial.variant == step]
        assert rates == [of_step[seed % 3] for seed in range(6)]
    assert runs.to_do(spec) == []
    assert {variant.search_repeats for variant in spec.variants} == {3, None}


@pytest.mark.slow
def test_an_effect_between_searches_is_over_repeats_and_within_one_over_seeds(
    tmp_path: Path,
) -> None:
    options = "trials: 6, repeats: 3"
    _, runs = known(tmp_path, options)
    roadmap = runs.report(spec_of(tmp_path, body(options), seeds=6))
    baseline, swiglu, same, rope, _ = roadmap.rows
    differences = {seed: swiglu.values[seed] - baseline.values[seed] for seed in range(6)}
    expected = effect_of(list(by_repeat(differences, 3).values()))
    assert swiglu.delta_previous
    assert same.delta_previous
    assert rope.delta_previous
    assert expected
    assert swiglu.delta_previous.effect.p_value == pytest.approx(expected.p_value)
    assert swiglu.delta_previous.effect.ci95 == pytest.approx(expected.ci95)
    assert swiglu.delta_previous.caveat == "over 3 searches, each averaged over its seeds"
    assert [row.delta_previous.effect.pairs for row in (same, rope) if row.delta_previous] == [6, 6]
    means = effect_of(list(by_repeat(swiglu.values, 3).values()))
    assert means
    assert swiglu.summary
    assert swiglu.summary.ci95 == means.ci95
    text = " ".join(render(roadmap, "table").decode().split())
    assert "Settings were searched 3 times" in text
    assert "swiglu, search 2: " in text
    shown = json.loads(render(roadmap, "json"))["steps"][1]["search"]
    assert [shown["repeat"], *(other["repeat"] for other in shown["repeated"])] == [0, 1, 2]


@pytest.mark.slow
def test_more_repeats_later_keep_the_first_search_and_its_trials(tmp_path: Path) -> None:
    once, runs = known(tmp_path, "trials: 6")
    thrice = runs.known(spec_of(tmp_path, body("trials: 6, repeats: 3"), seeds=6))
    assert thrice.searches[0].chosen == once.searches[0].chosen
    again = [names(search.trials) for search in thrice.searches if search.repeat == 0]
    assert again == [names(search.trials) for search in once.searches]


def test_the_plan_counts_every_repeat(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, body("trials: 6, repeats: 3"), seeds=6)
    later = later_trials(Runs().known(spec))
    planned = trials_of(Runs().known(spec), digest)
    searched = [trial for trial in [*later, *planned] if trial.is_of_search]
    assert len(searched) == 2 * 3 * 6 * 3


def test_points_of_version_0_1_with_its_one_seed_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "searches"
    older = spec_of(tmp_path, body("trials: 6, seeds: [1000]"))
    [*first] = Runs().known(older, folder, keeps=True).searches
    path = next(folder.glob("baseline-*.json"))
    points = json.loads(path.read_text())
    points["points"][1] = {"train.lr": 0.0123}
    del points["crc32"]  # version 0.1 wrote none
    path.write_text(json.dumps(points))
    spec = spec_of(tmp_path, body("trials: 6"))
    search = Runs().known(spec, folder).searches[0]
    assert search.tried[1].values == {"train.lr": 0.0123}
    assert first[0].tried[1].values != search.tried[1].values
    assert len(search.tried[1].trials) == 3


@pytest.mark.slow
def test_mlflow_shows_each_repeat_beside_its_step(tmp_path: Path) -> None:
    spec, _ = known(tmp_path, "trials: 6, repeats: 3")
    parents = shape.parents_in_order(spec)
    assert [name for _, name in parents.values()][:4] == [
        "0 baseline: search",
        "0 baseline: search 2",
        "0 baseline: search 3",
        "0 baseline",
    ]
    runs = {search.name for search in spec.searches if search.trials}
    assert runs == {variant.name for variant, _ in parents.values() if ": search" in variant.name}
    rates = shape.params_of(spec, spec.variants[0])["train.lr"].split(" or ")
    assert len(rates) == 3


@pytest.mark.slow
def test_a_design_over_cells_tests_no_step_whose_settings_one_search_found(tmp_path: Path) -> None:
    def lines(options: str) -> dict[str, tuple[float | None, str]]:
        road = body(options).partition("    side:")[0] + STEPS[STEPS.index("  - {name: rope") :]
        text = "design: [roadmap, {factorial: {steps: [swiglu, rope]}}]\n" + road
        runs = Runs(by_rate)
        spec = spec_of(tmp_path, text, seeds=6)
        runs.run_all(spec)
        return {
            line.label: (line.delta.effect.p_value, line.delta.caveat)
            for line in runs.report(spec).sections[0].lines
            if line.delta
        }

    once = lines("trials: 4, at_once: 4")
    assert once["rope"] == (pytest.approx(once["rope"][0]), "")
    for label in ("swiglu", "swiglu × rope"):
        assert once[label][0] is None
        assert "conditional on one search" in once[label][1]
    thrice = lines("trials: 4, at_once: 4, repeats: 3")
    assert thrice["swiglu"][0] is not None
    assert "over 3 searches" in thrice["swiglu"][1]


MISTAKES = [
    ("repeats: 3, seeds: [4, 5, 6]", 6, "seed 4 is also a seed of the report"),
    ("repeats: 3, seeds: [7, 8]", 10, "seed 9 (of search 2) is also a seed of the report"),
    ("repeats: 0", 6, "it should be greater than 0"),
    ("repeats: 4", 3, "none of the report's seeds is 3 modulo 4"),
]


@pytest.mark.parametrize(("options", "seeds", "message"), MISTAKES)
def test_repeats_that_cannot_be_are_refused(
    tmp_path: Path, options: str, seeds: int, message: str
) -> None:
    found = problems(tmp_path, body(f"trials: 6, {options}"), seeds=seeds)
    assert any(message in problem for problem in found)


def test_all_searches_of_a_sweep_are_repeated_alike_and_with_a_list_of_seeds(
    tmp_path: Path,
) -> None:
    text = body("trials: 6, repeats: 3").replace("*s", f"{{space: {{{LR}}}, trials: 6}}")
    [message] = problems(tmp_path, text, seeds=6)
    assert "repeats is 1 here and 3 in the sweep's first search" in message
    head = "seeds: {{start: 3, max: 12, until: decided}}\n"
    adaptive = HEAD.replace("seeds: [{seeds}]\n", head)
    found = problems(tmp_path, body("trials: 6, repeats: 3"), adaptive)
    assert "seeds that are added as needed do not replicate searches" in found[0]


def test_suggestions_of_repeats_are_kept_apart(tmp_path: Path) -> None:
    folder = tmp_path / "searches"
    spec = spec_of(tmp_path, body("trials: 6, repeats: 3"), seeds=6)
    Runs().known(spec, folder, keeps=True)
    assert len(list(folder.glob("baseline-*.json"))) == 3


@pytest.mark.slow
def test_sweeps_whose_searches_were_not_repeated_alike_are_compared_without_a_test(
    tmp_path: Path,
) -> None:
    once, thrice = (known(tmp_path, f"trials: 6{more}")[0] for more in ("", ", repeats: 3"))
    sides = once.variants[1], thrice.variants[1]
    assert is_of_one_search(*sides)
    assert "conditional on searches with different numbers of repeats" in luck_text(*sides)


def test_a_step_that_changes_a_part_of_what_was_found_is_a_road_for_each_repeat(
    tmp_path: Path,
) -> None:
    text = """
steps:
  - name: soft
    change: {model.attention: causal}
    search:
      space: {train.soft_mask: [{schedule: linear, epochs: 2}, {schedule: cosine, epochs: 2}]}
      trials: 2
      repeats: 2
  - {name: longer, change: {train.soft_mask.epochs: 4}}
"""

    def end_of(trial: TrialSpec) -> float:
        likes = "linear" if trial.seed in (1000, 1001, 1002) else "cosine"
        mask = trial.config.train.soft_mask
        return 90.0 + float(mask is not None and mask.schedule == likes)

    spec = Runs(end_of).run_all(spec_of(tmp_path, text, seeds=4))
    soft, longer = spec.variants[1:]
    for variant in (soft, longer):
        masks = [variant.of_seed(seed).config.train.soft_mask for seed in range(4)]
        assert [mask.schedule for mask in masks if mask] == ["linear", "cosine"] * 2
