"""Seeds are added where a step is not decided, and nowhere else."""

from pathlib import Path

import pytest
from invented import HEAD, End, digest, lookup_of, records, snapshot_of, spec_of

from orchestrator.analysis.roadmap import build_roadmap
from orchestrator.errors import SpecError
from orchestrator.planning.adaptive import more_seeds
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.warnings import warnings_of

STEPS = """
steps:
  - {name: clear, change: {model.norm: rmsnorm}}
  - {name: unclear, change: {model.position: rope}}
"""
BASELINE: list[End | None] = [70.0, 71.0, 72.0]
CLEAR: list[End | None] = [90.0, 91.01, 91.99]
UNCLEAR: list[End | None] = [91.0, 90.0, 93.0]


def adaptive(tmp_path: Path, seeds: str = "{start: 3, max: 12, until: decided}") -> SweepSpec:
    return spec_of(
        tmp_path, STEPS, head=HEAD.replace("[{seeds}]", seeds.replace("{", "{{").replace("}", "}}"))
    )


def wanted(spec: SweepSpec, ends: dict[str, list[End | None]]) -> dict[str, list[int]]:
    return {
        label: list(seeds)
        for label, seeds in more_seeds(spec, lookup_of(spec, records(ends))).items()
    }


def test_the_first_seeds_are_those_of_every_variant(tmp_path: Path) -> None:
    spec = adaptive(tmp_path)
    assert spec.schema.seeds == [0, 1, 2]
    assert wanted(spec, {}) == {}
    assert wanted(spec, {"baseline": BASELINE, "clear": [90.0, None, 92.0]}) == {}


def test_the_plan_counts_with_the_most_seeds_that_there_may_be(tmp_path: Path) -> None:
    assert warnings_of(adaptive(tmp_path)) == []
    assert [w.code for w in warnings_of(adaptive(tmp_path, "{start: 3, max: 4}"))] == ["few-seeds"]


def test_an_undecided_step_and_what_it_is_held_against_get_the_next_looks_seeds(
    tmp_path: Path,
) -> None:
    ends = {"baseline": BASELINE, "clear": CLEAR, "unclear": UNCLEAR}
    assert wanted(adaptive(tmp_path), ends) == {"clear": [3, 4, 5], "unclear": [3, 4, 5]}


def test_a_look_waits_for_all_its_trials_and_the_last_one_ends_it(tmp_path: Path) -> None:
    spec = adaptive(tmp_path)
    six: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "clear": [*CLEAR, 90.0, 90.5, 91.0],
        "unclear": [*UNCLEAR, 91.0, 89.5, None],
    }
    assert wanted(spec, six)["unclear"] == [3, 4, 5]
    six["unclear"][-1] = 91.0
    assert wanted(spec, six)["unclear"] == list(range(3, 12))
    twelve = {name: [*values, *values] for name, values in six.items()}
    assert wanted(spec, twelve)["unclear"] == list(range(3, 12))


def test_a_step_where_some_trials_collapsed_gets_no_more(tmp_path: Path) -> None:
    ends: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "clear": CLEAR,
        "unclear": [91.0, ("collapsed", 10.0), 93.0],
    }
    assert wanted(adaptive(tmp_path), ends) == {}


def test_the_added_seeds_are_planned_and_reported_with_their_price(tmp_path: Path) -> None:
    spec = adaptive(tmp_path)
    ends = {
        "baseline": BASELINE,
        "clear": [*CLEAR, 90.0, 90.5, 91.0],
        "unclear": [*UNCLEAR, 91.0, 89.5, 91.5],
    }
    trials = trials_of(spec, digest, more_seeds=more_seeds(spec, lookup_of(spec, records(ends))))
    assert [t.seed for t in trials if t.variant == "baseline"] == [0, 1, 2]
    assert [t.seed for t in trials if t.variant == "unclear"] == list(range(12))
    rows = {
        row.variant.name: row
        for row in build_roadmap(snapshot_of(spec, trials, records(ends))).rows
    }
    delta = rows["clear"].delta_previous
    assert delta is not None
    assert (delta.effect.pairs, delta.caveat) == (3, "")
    assert delta.adjusted_p_value < 0.05  # type: ignore[operator]


def test_without_adaptive_seeds_nothing_is_added(tmp_path: Path) -> None:
    assert (
        more_seeds(
            spec_of(tmp_path, STEPS),
            lookup_of(spec_of(tmp_path, STEPS), records({"baseline": BASELINE, "clear": UNCLEAR})),
        )
        == {}
    )


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ("{start: 3, max: 3}", "max 3 must be larger than start 3"),
        ("{start: 3}", "key 'max' is missing"),
        ("{start: x, max: 4}", "valid integer"),
    ],
)
def test_a_wrong_long_form_is_told(tmp_path: Path, seeds: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        adaptive(tmp_path, seeds)


def test_an_undecided_side_step_gets_more_seeds_and_cells_of_other_designs_none(
    tmp_path: Path,
) -> None:
    steps = STEPS.replace("rmsnorm}}", "rmsnorm}, side: {aside: {model.feed_forward: swiglu}}}")
    head = HEAD.replace("[{seeds}]", "{{start: 3, max: 12, until: decided}}")
    spec = spec_of(tmp_path, "design: [roadmap, leave_one_out, {orders: 1}]" + steps, head=head)
    ends: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "clear": CLEAR,
        "aside": [70.0, 73.0, 71.0],
    }
    ends |= {
        "unclear": [110.0, 111.1, 111.9],
        "without.clear": [110.0, 111.5, 111.9],
        "order1.unclear": [70.1, 71.3, 71.9],
    }
    assert wanted(spec, ends) == {"aside": [3, 4, 5], "baseline": [3, 4, 5]}


def test_what_other_designs_show_rests_on_the_first_seeds(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "{{start: 3, max: 12, until: decided}}")
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 1}]" + STEPS, head=head)
    more = {
        "baseline": [*BASELINE, 0.0, 0.0, 0.0],
        "clear": [*CLEAR, 50.0, 50.0, 50.0],
        "unclear": [*UNCLEAR, 9.0, 8.0, 9.0],
    }
    trials = trials_of(spec, digest, more_seeds={name: [3, 4, 5] for name in more})
    lines = {
        line.label: line
        for line in build_roadmap(snapshot_of(spec, trials, records(more))).sections[0].lines
    }
    place = lines["clear, step 1 of the road"].delta
    assert place is not None
    assert (place.effect.pairs, place.effect.mean, place.caveat) == (3, pytest.approx(20.0), "")


def test_without_a_road_each_cell_counts_like_a_step_and_pays_for_its_looks(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "{{start: 3, max: 12, until: decided}}")
    spec = spec_of(tmp_path, "design: one_factor" + STEPS, head=head)
    first: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "only.clear": CLEAR,
        "only.unclear": UNCLEAR,
    }
    first["only.unclear"] = [71.0, 70.0, 73.0]
    assert wanted(spec, first) == {"baseline": [3, 4, 5], "only.unclear": [3, 4, 5]}
    trials = trials_of(spec, digest, more_seeds=more_seeds(spec, lookup_of(spec, records(first))))
    roadmap = build_roadmap(snapshot_of(spec, trials, records(first)))
    shown = {line.label: line.delta for line in roadmap.sections[0].lines}
    in_table = {row.variant.step: row.delta_previous for row in roadmap.rows}
    for step in ("clear", "unclear"):
        assert shown[step].effect == in_table[step].effect  # type: ignore[union-attr]


def test_a_step_that_is_too_small_to_matter_is_settled(tmp_path: Path) -> None:
    head = HEAD.replace("[{seeds}]", "{{start: 3, max: 12, until: decided}}")
    ends: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "clear": CLEAR,
        "unclear": [90.02, 91.0, 92.0],
    }
    assert wanted(spec_of(tmp_path, STEPS, head=head), ends) == {
        "clear": [3, 4, 5],
        "unclear": [3, 4, 5],
    }
    matters = "metric: {matters: 1.0}" + STEPS
    assert wanted(spec_of(tmp_path, matters, head=head), ends) == {}


def test_what_is_still_to_come_does_not_ask_for_seeds(tmp_path: Path) -> None:
    """`unclear` has not ended, so `clear` is judged by what is known, and is decided."""
    ends: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "clear": [90.0, 92.0, 91.0],
        "unclear": [91.0, None, None],
    }
    spec = adaptive(tmp_path)
    [_, clear, _] = build_roadmap(snapshot_of(spec, trials_of(spec, digest), records(ends))).rows
    delta = clear.delta_previous
    assert delta is not None
    assert delta.adjusted_p_value == pytest.approx(2 * delta.p_value)  # type: ignore[operator]
    assert wanted(spec, ends) == {}


def test_a_look_that_lost_its_last_seed_is_over(tmp_path: Path) -> None:
    ends: dict[str, list[End | None]] = {
        "baseline": BASELINE,
        "clear": [*CLEAR, 90.0, 90.5, 91.0],
        "unclear": [*UNCLEAR, 91.0, 89.5, "failed"],
    }
    spec = adaptive(tmp_path)
    more = more_seeds(spec, lookup_of(spec, records(ends)))
    assert {label: list(seeds) for label, seeds in more.items()} == {
        "clear": [3, 4, 5],
        "unclear": [3, 4, 5],
    }
    rows = build_roadmap(
        snapshot_of(spec, trials_of(spec, digest, more_seeds=more), records(ends))
    ).rows
    delta = rows[-1].delta_previous
    assert delta is not None
    assert delta.to_come is None
    assert delta.rates is not None
    assert delta.rates.text == "1 of 6 failed against 0 of 6"
    assert delta.p_value is not None
