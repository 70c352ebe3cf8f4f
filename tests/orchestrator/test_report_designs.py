"""What the other designs show: the effects that were put in come out, and nothing is claimed
that the cells cannot show.
"""

from pathlib import Path

import numpy as np
import pytest
from invented import End, roadmap_of, spec_of

from orchestrator.analysis.sections import INTERACTION, MAIN, PLACE, Section
from orchestrator.report.formats import render
from orchestrator.spec.fractions import cells_of
from orchestrator.stats.contrasts import PlacedEffect, factorial_contrasts, order_contrasts
from orchestrator.stats.inference import LEVEL

STEPS = """
steps:
  - {name: a, change: {model.norm: rmsnorm}}
  - {name: b, change: {model.feed_forward: swiglu}}
  - {name: c, change: {model.position: learned+rope}}
"""


def effect(section: Section, label: str) -> float:
    line = next(line for line in section.lines if line.label == label)
    assert line.delta is not None
    return line.delta.effect.mean


def value(cell: tuple[str, ...], seed: int) -> float:
    """a gives 1, b gives 2, c gives 4; a and b together 3 more."""
    return (
        50
        + seed
        + sum({"a": 1, "b": 2, "c": 4}[name] for name in cell)
        + 3 * ({"a", "b"} <= set(cell))
    )


def section_of(tmp_path: Path, design: str, sick: tuple[str, ...] = ()) -> Section:
    spec = spec_of(tmp_path, f"design: [roadmap, {design}]" + STEPS)
    ends: dict[str, list[End | None]] = {
        v.name: [
            ("collapsed", 10.0) if v.name in sick else value(v.cell.steps, seed)
            for seed in range(3)
        ]
        for v in spec.variants
    }
    return roadmap_of(spec, ends).sections[0]


def test_one_factor_gives_each_step_alone(tmp_path: Path) -> None:
    section = section_of(tmp_path, "one_factor")
    assert [effect(section, name) for name in "abc"] == [1, 2, 4]


def test_leave_one_out_gives_what_the_final_model_owes_to_each_step(tmp_path: Path) -> None:
    section = section_of(tmp_path, "leave_one_out")
    assert [effect(section, name) for name in "abc"] == [1 + 3, 2 + 3, 4]


def test_without_a_whole_model_nothing_is_owed(tmp_path: Path) -> None:
    steps = (
        "\nsteps:\n- {name: a, change: {model.norm: rmsnorm}}\n"
        "- {name: b, conflicts: [a], change: {model.position: rope}}\n"
    )
    section = roadmap_of(spec_of(tmp_path, "design: leave_one_out" + steps), {}).sections[0]
    assert [(line.delta, line.note) for line in section.lines] == [
        (None, "the steps exclude one another")
    ] * 2


def test_factorial_gives_main_effects_and_interactions(tmp_path: Path) -> None:
    section = section_of(tmp_path, "factorial")
    assert [effect(section, name) for name in "abc"] == pytest.approx([1 + 1.5, 2 + 1.5, 4])
    assert [effect(section, name) for name in ("a × b", "a × c", "b × c")] == pytest.approx(
        [3, 0, 0], abs=1e-9
    )


def test_orders_give_averages_over_places_and_what_depends_on_them(tmp_path: Path) -> None:
    section = section_of(tmp_path, "{orders: 5}")
    assert effect(section, "a") == pytest.approx(
        1 + 3 / 2
    )  # all six orders: b is there before a in half of them
    assert effect(section, "c") == pytest.approx(4)
    assert effect(section, "a × b") == pytest.approx(3)
    assert effect(section, "a × c") == pytest.approx(0)
    assert effect(section, "b, step 2 of the road") == 2 + 3
    assert [line.label for line in section.lines if " × " in line.label] == [
        "a × b",
        "a × c",
        "b × c",
    ]  # each pair once


def test_a_collapsed_cell_is_left_out_by_name(tmp_path: Path) -> None:
    section = section_of(tmp_path, "factorial", sick=("factorial.111",))
    assert section.left_out == ["factorial.111: all 3 collapsed"]
    assert effect(section, "a × b") == pytest.approx(3)  # the other seven cells still tell
    assert abs(effect(section, "c") - 4) < 1e-6


def test_a_place_of_the_road_that_an_average_lacks_is_told_too(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 2}]" + STEPS)
    ends: dict[str, list[End | None]] = {
        v.name: [value(v.cell.steps, seed) for seed in range(3)] for v in spec.variants
    }
    road = roadmap_of(spec, ends | {"b": [("collapsed", 10.0), *ends["b"][1:]]})
    assert "b: 1 collapsed, 2 finished" in road.sections[0].left_out


def test_a_fraction_says_what_it_cannot_tell_apart() -> None:
    cells, resolution = cells_of(3, 1)
    names = ("a", "b", "c")
    values = {
        cell: {
            s: value(tuple(n for n, on in zip(names, cell, strict=True) if on), s) for s in range(3)
        }
        for cell in cells
    }
    contrasts = factorial_contrasts(values, names)
    assert resolution == 3
    assert [c.aliases[0] for c in contrasts[:3]] == [("b", "c"), ("a", "c"), ("a", "b")]
    assert [(c.effect, c.aliases) for c in contrasts[3:]] == [
        (None, (("c",),)),
        (None, (("b",),)),
        (None, (("a",),)),
    ]


def test_a_fraction_of_resolution_5_gives_all_interactions() -> None:
    names = ("a", "b", "c", "d", "e")
    cells, resolution = cells_of(5, 1)
    assert resolution == 5
    values = {cell: {0: 2.0 * cell[0] + 3.0 * (cell[1] and cell[4]), 1: 0.0} for cell in cells}
    found = {c.factors: c.effect for c in factorial_contrasts(values, names)}
    assert found[("a",)].mean == pytest.approx(1.0)  # type: ignore[union-attr]
    assert found[("b", "e")].mean == pytest.approx(1.5)  # type: ignore[union-attr]


FOUR_STEPS = STEPS + "  - {name: d, change: {train.lr: 1e-3}}\n"


def test_a_fraction_names_the_interaction_that_an_effect_may_be(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, {factorial: {fraction: 1/2}}]" + FOUR_STEPS)
    ends: dict[str, list[End | None]] = {
        v.name: [50.0 + 4 * ({"b", "c", "d"} <= set(v.cell.steps)) + seed for seed in range(3)]
        for v in spec.variants
    }
    roadmap = roadmap_of(spec, ends)
    [section] = roadmap.sections
    line = section.lines[0]
    assert (line.label, line.note) == ("a", "aliased with b × c × d")
    assert line.delta is not None
    assert abs(line.delta.effect.mean) == pytest.approx(1.0)
    assert "This is 1/2 of all combinations of 4 steps, of resolution IV" in section.explanation
    for form in ("md", "latex", "html"):
        text = render(roadmap, form).decode().replace(r"$\times$", "×")
        assert "aliased with b × c × d" in text
        assert "resolution IV" in text


def test_what_holds_in_some_regimes_alone_is_told_with_their_names(tmp_path: Path) -> None:
    body = "design: {factorial: {fraction: 1/2}}\nregimes: {one: {}, two: {}}" + FOUR_STEPS
    body = body.replace("d, change: {train.lr: 1e-3}", "d, regimes: {one: {train.lr: 1e-3}}")
    [section] = roadmap_of(spec_of(tmp_path, body), {}).sections
    assert (
        "one: This is 1/2 of all combinations of 4 steps, of resolution IV" in section.explanation
    )
    assert (
        "two: This is 1/2 of all combinations of 3 steps, of resolution III" in section.explanation
    )


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (
            3,
            "Balanced over these 4 orders: every step stands at every place equally often, and "
            "every",
        ),
        (
            1,
            "As balanced over the places as 2 orders can be: a at 1, 4; b at 2, 3; c at 2, 3; d "
            "at 1, 4",
        ),
    ],
)
def test_orders_say_how_balanced_they_are_and_what_the_interval_is_for(
    tmp_path: Path, count: int, expected: str
) -> None:
    spec = spec_of(tmp_path, f"design: [roadmap, {{orders: {count}}}]" + FOUR_STEPS)
    [section] = roadmap_of(spec, {}).sections
    assert expected in section.explanation
    assert "The intervals hold for these orders only" in section.explanation


def test_orders_that_are_not_balanced_say_where_the_steps_stand(tmp_path: Path) -> None:
    steps = FOUR_STEPS.replace("c, change", "c, requires: [a, b], change")
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 3}]" + steps)
    [section] = roadmap_of(spec, {}).sections
    assert "Not as balanced over the places as 4 orders can be: a at 1, " in section.explanation
    assert "not every step comes before every other as often as after it" in section.explanation


def test_an_average_that_lacks_a_place_says_so(tmp_path: Path) -> None:
    section = section_of(tmp_path, "{orders: 2}", sick=("order1.c",))
    notes = {line.label: line.note for line in section.lines if line.kind == MAIN}
    assert notes["c"] == "over 2 of 3 places"


def test_a_failed_trial_is_told_of_by_all_effects_that_lack_its_seed(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: factorial" + STEPS)
    ends: dict[str, list[End | None]] = {
        v.name: [value(v.cell.steps, seed) for seed in range(3)] for v in spec.variants
    }
    ends["factorial.111"][1] = "failed"
    ends["factorial.011"][2] = ends["factorial.001"][2] = None
    [section] = roadmap_of(spec, ends).sections
    assert {line.delta and line.delta.caveat for line in section.lines} == {
        "over 1 of 3 seeds so far"
    }
    assert section.left_out == [
        "seed 1: failed in factorial.111, so it is left out of all averages over that",
        "seed 2: pending in 2 cells, so it is left out of all averages over that",
    ]


def test_lines_know_the_two_variants_that_they_are_the_difference_of(tmp_path: Path) -> None:
    for design, expected in (
        ("one_factor", ("only.a", "baseline")),
        ("leave_one_out", ("c", "without.a")),
    ):
        pair = section_of(tmp_path, design).lines[0].pair
        assert pair is not None
        assert (pair[0].name, pair[1].name) == expected
    assert section_of(tmp_path, "factorial").lines[0].pair is None


def test_effects_at_places_are_described_and_all_others_tested(tmp_path: Path) -> None:
    lines = section_of(tmp_path, "{orders: 2}").lines
    assert {(line.kind, line.is_tested) for line in lines} == {
        *((MAIN, True), (INTERACTION, True), (PLACE, False))
    }
    assert all(
        line.delta is None or (line.delta.adjusted_p_value is None) != line.is_tested
        for line in lines
    )


@pytest.mark.slow
def test_interactions_of_sweeps_without_any_are_found_at_most_at_the_nominal_rate() -> None:
    generator = np.random.default_rng(5)
    cells, _ = cells_of(3, 0)
    found = 0
    for _ in range(600):
        noise = generator.normal(size=(len(cells), 5))
        values = {
            cell: dict(enumerate(row.tolist())) for cell, row in zip(cells, noise, strict=True)
        }
        p_value = next(
            c.effect.p_value
            for c in factorial_contrasts(values, "abc")
            if c.factors == ("a", "b") and c.effect
        )
        found += p_value is not None and p_value < LEVEL
    assert 0.02 < found / 600 < 0.09


def test_seeds_that_a_place_lacks_count_nowhere() -> None:
    placed = [PlacedEffect("a", {0: 1.0, 1: 3.0}), PlacedEffect("a", {0: 5.0})]
    cells = {
        frozenset[str](): {0: 0.0, 1: 0.0},
        frozenset("a"): {0: 1.0, 1: 3.0},
        frozenset("b"): {0: 2.0},
    }
    cells[frozenset("ab")] = {0: 7.0, 1: 9.0}
    main, _, interaction = order_contrasts(placed, cells, ("a", "b"))
    assert (main.effect.mean, main.effect.pairs) == (3.0, 1)  # type: ignore[union-attr]
    assert interaction.factors == ("a", "b")
    assert (interaction.effect.mean, interaction.effect.pairs) == (pytest.approx(4.0), 1)  # type: ignore[union-attr]


def test_what_another_step_does_on_the_way_is_not_taken_for_an_interaction() -> None:
    # only a and b act on each other; wherever c comes before b, so does a
    def value(cell: frozenset[str]) -> float:
        return 1.0 * ("c" in cell) + 10.0 * ({"a", "b"} <= cell)

    cells = {
        cell: {0: value(cell), 1: value(cell)}
        for order in ("acb", "bca", "cab")
        for cell in _prefixes(order)
    }
    found = {contrast.factors: contrast for contrast in order_contrasts([], cells, ("a", "b", "c"))}
    assert {
        pair: contrast.effect and round(contrast.effect.mean, 9)
        for pair, contrast in found.items()
        if len(pair) == 2
    } == {
        ("a", "b"): 10.0,
        ("a", "c"): 0.0,
        ("b", "c"): 0.0,
    }
    few = {cell: values for cell, values in cells.items() if cell in _prefixes("acb")}
    assert all(
        contrast.effect is None and contrast.aliases
        for contrast in order_contrasts([], few, ("a", "b", "c"))
        if len(contrast.factors) == 2
    )


def _prefixes(order: str) -> list[frozenset[str]]:
    return [frozenset(order[:end]) for end in range(len(order) + 1)]


def test_the_page_shows_each_step_at_every_place_that_has_a_figure(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 2}]" + STEPS)
    ends: dict[str, list[End | None]] = {
        v.name: [value(v.cell.steps, seed) for seed in range(3)] for v in spec.variants
    }
    ends[next(v.name for v in spec.variants if v.design == "orders" and v.step == "c")] = [
        "diverged"
    ] * 3
    page = render(roadmap_of(spec, ends), "html").decode()
    strips = page[page.index('class="road forest places"') :].partition("</figure>")[0]
    assert page.index("At each place") < page.index("Interactions")
    rows = {row.partition("</div>")[0]: row for row in strips.split('<div class="name">')[1:]}
    assert list(rows) == ["a", "b", "c"]
    assert [row.count("road-place") for row in rows.values()] == [1, 1, 1]
    assert rows["c"].count('class="point') == 2  # a place that has no figure has no point
    assert "step 1 of the road: +1.00" in rows["a"]
