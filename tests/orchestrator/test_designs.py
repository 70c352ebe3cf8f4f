"""From steps to variants: every design, what each variant is, and which cells make no sense."""

from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import End, digest, roadmap_of, spec_of

from orchestrator.analysis.design_effects import EFFECTS
from orchestrator.errors import SpecError
from orchestrator.planning.plan import trials_of
from orchestrator.spec.designs import DESIGNS, Design, Ground, PlannedCell
from orchestrator.spec.latin_squares import is_balanced_for_order, most_uneven
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.trial import Cell, Place, Variant

STEPS = """
steps:
  - {name: norm, change: {model.norm: rmsnorm}}
  - {name: last, change: {model.class_token: last}}
  - {name: causal, requires: [last], change: {model.attention: causal}}
  - {name: soft, requires: [causal], change: {train.soft_mask: {schedule: linear, epochs: 2}}}
"""


def variants(spec: SweepSpec, design: str) -> dict[str, Variant]:
    return {variant.name: variant for variant in spec.variants if variant.design == design}


def problems(tmp_path: Path, body: str) -> str:
    with pytest.raises(SpecError) as caught:
        spec_of(tmp_path, body)
    return str(caught.value)


def test_the_road_adds_each_step_to_the_one_before(tmp_path: Path) -> None:
    road = variants(spec_of(tmp_path, STEPS), "roadmap")
    assert list(road) == ["baseline", "norm", "last", "causal", "soft"]
    assert road["soft"].cell.steps == ("norm", "last", "causal", "soft")
    final = road["soft"].config
    assert (final.model.norm, final.model.class_token, final.model.attention) == (
        "rmsnorm",
        "last",
        "causal",
    )
    assert road["soft"].follows == "causal"


def test_one_factor_changes_the_baseline_by_one_step_alone(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: one_factor" + STEPS)
    alone = variants(spec, "one_factor")
    assert list(alone) == ["only.norm", "only.last"]
    assert alone["only.last"].config.model.norm == "layernorm"
    assert {cell.name: cell.reason for cell in spec.skipped} == {
        "only.causal": "causal requires last, which is absent",
        "only.soft": "soft requires causal, which is absent",
    }


def test_leave_one_out_lacks_one_step_and_shows_what_it_had_before(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, leave_one_out]" + STEPS)
    without = variants(spec, "leave_one_out")
    assert list(without) == ["without.norm", "without.soft"]
    assert without["without.norm"].changes == {"model.norm": "layernorm"}
    assert without["without.norm"].follows == "soft"
    assert without["without.norm"].config.train.soft_mask is not None
    assert without["without.soft"].config == variants(spec, "roadmap")["causal"].config


def test_without_a_road_the_whole_model_is_trained_too(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: leave_one_out" + STEPS)
    assert [
        v.name for v in spec.variants if v.cell.steps == ("norm", "last", "causal", "soft")
    ] == ["all_steps"]


def test_leaving_out_a_step_that_later_ones_overwrite_is_no_cell(tmp_path: Path) -> None:
    steps = (
        "steps:\n- {name: rope, change: {model.position: rope}}\n"
        "- {name: both, change: {model.position: learned+rope}}\n"
    )
    spec = spec_of(tmp_path, "design: [roadmap, leave_one_out]\n" + steps)
    assert [(cell.name, cell.reason) for cell in spec.skipped] == [
        ("without.rope", "later steps overwrite all that rope changes")
    ]


def test_factorial_has_all_combinations_that_make_sense(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: factorial" + STEPS)
    cells = variants(spec, "factorial")
    assert len(cells) + len([cell for cell in spec.skipped if cell.design == "factorial"]) == 16
    assert set(cells) == {
        f"factorial.{norm}{rest}" for norm in "01" for rest in ("000", "100", "110", "111")
    }
    assert cells["factorial.1110"].cell.steps == ("norm", "last", "causal")


def test_a_fraction_is_a_balanced_part(tmp_path: Path) -> None:
    body = "design: {factorial: {fraction: 1/2, steps: [a, b, c]}}\nsteps:\n"
    body += (
        "- {name: a, change: {model.norm: rmsnorm}}\n"
        "- {name: b, change: {model.feed_forward: swiglu}}\n"
    )
    body += "- {name: c, change: {model.position: rope}}\n- {name: d, change: {train.lr: 1e-3}}\n"
    cells = variants(spec_of(tmp_path, body), "factorial")
    assert len(cells) == 4
    for step in "abc":
        assert sum(step in variant.cell.steps for variant in cells.values()) == 2
    assert all("d" not in variant.cell.steps for variant in cells.values())


def test_orders_are_others_than_the_road_and_keep_what_steps_require(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 3}]" + STEPS)
    orders = {v.cell.steps for v in variants(spec, "orders").values() if len(v.cell.steps) == 4}
    assert orders == {
        ("last", "norm", "causal", "soft"),
        ("last", "causal", "norm", "soft"),
        ("last", "causal", "soft", "norm"),
    }  # with norm first it would be the road


def test_orders_are_the_same_each_time_and_others_for_another_seed(tmp_path: Path) -> None:
    steps = "\nsteps:\n" + "".join(
        f"- {{name: s{i}, change: {{{change}}}}}\n"
        for i, change in enumerate(
            (
                "model.norm: rmsnorm",
                "model.position: rope",
                "train.lr: 1e-3",
                "train.weight_decay: 0",
            )
        )
    )
    names = [
        [
            v.cell.steps
            for v in spec_of(
                tmp_path, f"design: {{orders: {{count: 2, balanced: false, seed: {s}}}}}{steps}"
            ).variants
        ]
        for s in (0, 0, 1)
    ]
    assert names[0] == names[1]
    assert names[0] != names[2]


FREE_STEPS = """
steps:
  - {name: a, change: {model.norm: rmsnorm}}
  - {name: b, change: {model.feed_forward: swiglu}}
  - {name: c, change: {model.position: rope}}
  - {name: d, change: {train.lr: 1e-3}}
"""


def orders_of(spec: SweepSpec) -> list[tuple[str, ...]]:
    """The orders that go through all steps, the road's first where the sweep trains it."""
    return [
        variant.cell.steps
        for variant in spec.variants
        if variant.cell.place and variant.cell.place.position == len(spec.schema.steps)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_as_many_orders_as_steps_are_a_latin_square_with_the_road_in_it(
    tmp_path: Path, seed: int
) -> None:
    spec = spec_of(
        tmp_path, f"design: [roadmap, {{orders: {{count: 3, seed: {seed}}}}}]" + FREE_STEPS
    )
    orders = orders_of(spec)
    assert orders[:2] == [("a", "b", "c", "d"), ("d", "c", "b", "a")]
    assert all(len({order[place] for order in orders}) == 4 for place in range(4))
    assert is_balanced_for_order(orders)


@pytest.mark.slow
def test_asking_for_more_orders_keeps_the_first_ones(tmp_path: Path) -> None:
    for steps in (FREE_STEPS, STEPS.replace("requires: [last]", "requires: [norm]")):
        few, many = (
            orders_of(spec_of(tmp_path, f"design: [roadmap, {{orders: {count}}}]" + steps))
            for count in (2, 9)
        )
        assert many[:3] == few
        assert len(set(many)) == len(many)


def test_without_a_road_its_order_is_the_first(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: {orders: 4}" + FREE_STEPS)
    assert orders_of(spec)[0] == ("a", "b", "c", "d")
    assert most_uneven(orders_of(spec)) == 0
    assert {variant.cell.place.order for variant in spec.variants if variant.cell.place} == {
        *(1, 2, 3, 4)
    }


def test_orders_that_do_not_exist_are_told_of(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, {orders: 9}]" + STEPS)
    assert [(cell.name, cell.reason) for cell in spec.skipped] == [
        ("order4 to order9", "only 3 other orders could be found that the steps allow")
    ]


def test_a_step_that_changes_nothing_in_a_regime_is_no_factor_there(tmp_path: Path) -> None:
    body = "design: {factorial: {steps: [slower, norm]}}\nregimes: {one: {}, two: {}}\nsteps:\n"
    body += "- {name: slower, regimes: {one: {train.lr: 1e-3}}}\n"
    body += "- {name: norm, change: {model.norm: rmsnorm}}\n"
    spec = spec_of(tmp_path, body)
    factors = {v.regime: tuple(v.cell.levels) for v in variants(spec, "factorial").values()}
    assert factors == {"one": ("slower", "norm"), "two": ("norm",)}


def test_cells_know_their_steps_levels_and_places(tmp_path: Path) -> None:
    designs = "design: [roadmap, factorial, leave_one_out, {orders: 1}]"
    found = {v.name: v.cell for v in spec_of(tmp_path, designs + FREE_STEPS).variants}
    assert found["baseline"] == Cell()
    assert found["b"] == Cell(("a", "b"), place=Place(0, 2))
    levels = {"a": False, "b": True, "c": False, "d": True}
    assert found["factorial.0101"] == Cell(("b", "d"), levels)
    assert found["without.c"] == Cell(("a", "b", "d"))
    assert found["order1.c"] == Cell(("d", "c"), place=Place(1, 2))


class Pairs(Design):
    """A design of a test: each step with the one behind it."""

    title: ClassVar[str] = "Pairs"
    explanation: ClassVar[str] = "What two neighbours do together."

    def cells(self, ground: Ground) -> list[PlannedCell]:
        return [
            PlannedCell(self.name, f"pair.{one}", Cell((one, other)), "baseline", one)
            for one, other in pairwise(ground.steps)
        ]


def test_another_design_is_a_class_and_a_line_in_each_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DESIGNS, "pairs", Pairs)
    monkeypatch.setitem(EFFECTS, "pairs", EFFECTS["one_factor"])
    spec = spec_of(tmp_path, "design: [roadmap, pairs]" + FREE_STEPS)
    assert list(variants(spec, "pairs")) == ["pair.a", "pair.b", "pair.c"]
    ends: dict[str, list[End | None]] = {
        v.name: [50.0 + len(v.cell.steps), 51.0 + len(v.cell.steps)] for v in spec.variants
    }
    [section] = roadmap_of(spec, ends).sections
    assert section.title == "Pairs"
    assert [line.delta and line.delta.effect.mean for line in section.lines] == [2.0] * 3


def test_every_design_beside_the_road_has_its_effects() -> None:
    assert {name for name, design in DESIGNS.items() if not design.is_road} == EFFECTS.keys()


def test_coinciding_cells_have_one_fingerprint(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, "design: [roadmap, one_factor, factorial]" + STEPS, seeds=1)
    prints = {trial.variant: trial.fingerprint for trial in trials_of(spec, digest)}
    assert prints["norm"] == prints["only.norm"] == prints["factorial.1000"]
    assert prints["baseline"] == prints["factorial.0000"]
    assert prints["norm"] != prints["only.last"]


def test_conflicting_steps_never_share_a_cell(tmp_path: Path) -> None:
    steps = (
        "\nsteps:\n- {name: a, change: {model.norm: rmsnorm}}\n"
        "- {name: b, conflicts: [a], change: {model.position: rope}}\n"
    )
    spec = spec_of(tmp_path, "design: factorial" + steps)
    assert [cell.reason for cell in spec.skipped] == ["b conflicts with a"]
    assert "conflicts with 'a', which comes before it on the road" in problems(tmp_path, steps)


def test_settings_that_do_not_fit_together_are_skipped_with_the_settings_own_reason(
    tmp_path: Path,
) -> None:
    steps = "\nsteps:\n- {name: open, change: {model.attention: modified_causal}}\n"
    steps += "- {name: last, change: {model.class_token: last}}\n"
    spec = spec_of(tmp_path, "design: factorial" + steps)
    assert [cell.name for cell in spec.skipped] == ["factorial.11"]
    assert "modified_causal opens the first row" in spec.skipped[0].reason


def test_regimes_and_recipes_cross_with_every_design(tmp_path: Path) -> None:
    body = "design: [roadmap, one_factor]\nregimes: {narrow: {model.embed_dim: 32}, wide: {}}\n"
    body += (
        "recipes: {short: {}, long: {train.epochs: 12}}\n"
        "steps: [{name: norm, change: {model.norm: rmsnorm}}]"
    )
    spec = spec_of(tmp_path, body)
    shape = {v.label: (v.config.model.embed_dim, v.config.train.epochs) for v in spec.variants}
    assert len(shape) == 4 * 3
    assert shape["narrow.long/only.norm"] == (32, 12)
    assert shape["wide.short/norm"] == (64, 6)


def test_a_step_changes_more_or_other_things_in_some_regimes(tmp_path: Path) -> None:
    body = """
regimes: {one: {}, two: {}}
steps:
  - name: slower
    regimes: {one: {train.lr: 1e-3}}
    reference: {one: {value: 74.3, source: paper}, two: {value: 81.3, source: paper}}
  - name: norm
    change: {model.norm: rmsnorm}
    regimes: {two: {train.lr: 5e-4}}
    reference: {value: 1.0, source: paper}
"""
    spec = spec_of(tmp_path, body)
    found = {v.label: v for v in spec.variants}
    assert found["one/slower"].config.train.lr == 1e-3
    assert "two/slower" not in found
    assert [(c.regime, c.name) for c in spec.skipped] == [("two", "slower")]
    assert found["two/norm"].changes == {"model.norm": "rmsnorm", "train.lr": 5e-4}
    assert found["one/slower"].reference == {"value": 74.3, "source": "paper"}
    assert found["two/norm"].reference == {"value": 1.0, "source": "paper"}


def test_a_control_changes_the_step_that_it_names(tmp_path: Path) -> None:
    body = """
steps:
  - {name: norm, change: {model.norm: rmsnorm}}
  - name: slower
    change: {train.lr: 1e-3}
    side:
      slower_baseline: {on: baseline, change: {train.lr: 1e-3}}
      slower_still: {train.lr: 5e-4}
"""
    found = {v.name: v for v in spec_of(tmp_path, body).variants}
    control = found["slower_baseline"]
    assert (control.config.model.norm, control.config.train.lr, control.on, control.follows) == (
        "layernorm",
        1e-3,
        *["baseline"] * 2,
    )
    assert (found["slower_still"].config.model.norm, found["slower_still"].config.train.lr) == (
        "rmsnorm",
        5e-4,
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("design: roadmaps", "design.0.name cannot be 'roadmaps'; allowed: roadmap"),
        (
            "design: {one_factor: {count: 3}}",
            "design one_factor has no option 'count'; it takes no options",
        ),
        (
            "design: {factorial: {steps: [x]}}\nsteps: [{name: a, change: {train.lr: 1}}]",
            "factorial: the road has no step 'x'; allowed: a",
        ),
        (
            "design: [roadmap, {factorial: {steps: [norm, lats]}}]" + STEPS,
            "sweep.yaml:8:46: factorial: the road has no step 'lats'; did you mean 'last'?",
        ),
        (
            "design:\n- {name: factorial, steps: [norm, norm]}" + STEPS,
            "sweep.yaml:9:35: factorial: step 'norm' is named twice",
        ),
        (
            "design: {factorial: {fraction: 1/8}}" + STEPS.replace("requires", "conflicts"),
            "a fraction of 1/8 of 4 steps would alias main effects with each other; "
            "possible: 1, 1/2",
        ),
        (
            "design: {factorial: {fraction: 1/3}}",
            "design.0.fraction cannot be '1/3'; allowed: 1, 1/2, 1/4, 1/8",
        ),
        (
            "design: {factorial: {fractoin: 1/2}}",
            "design factorial has no option 'fractoin'; it takes fraction, steps; "
            "did you mean 'fraction'?",
        ),
        (
            "design: {factorial: 3}",
            "design factorial: 3 is not a mapping of options; it takes fraction",
        ),
        ("design: {orders: none}", "design.0.count: it should be a valid integer, found 'none'"),
        ("design: {orders: {balanced: maybe}}", "design.0.balanced: it should be a valid boolean"),
        ("design: [roadmap, {ordres: 3}]", "design.1.name cannot be 'ordres'; allowed: roadmap"),
        ("design: [3]", "design.0: it should be"),
        ("design: [{steps: [a]}]", "design.0.name cannot be 'steps'"),
        (
            "design: [{orders: 1}, {orders: 2}]" + STEPS,
            "design orders is listed twice; its cells would have the same names",
        ),
        ("steps: [{name: order12.a, change: {train.lr: 1}}]", "looks like a cell of a design"),
        (
            "design: {factorial: {fraction: 1/4}}" + STEPS.replace("requires", "conflicts"),
            "would alias main effects",
        ),
        ("steps: [{name: a, requires: [b], change: {train.lr: 1}}]", "there is no other step 'b'"),
        (
            "steps: [{name: a, requires: [b], change: {train.lr: 1}}, {name: b, change: "
            "{train.lr: 2}}]",
            "which comes later on the road",
        ),
        ("steps: [{name: only.a, change: {train.lr: 1}}]", "looks like a cell of a design"),
        (
            "steps: [{name: a, change: {train.lr: 1}, side: {b: {on: c, change: {train.lr: 2}}}}]",
            "there is no step 'c' up to here",
        ),
        (
            "steps: [{name: a, regimes: {x: {train.lr: 1}}}]",
            "there is no regime 'x'; the spec has none",
        ),
        ("regimes: {x: {}}\nrecipes: {x: {}}", "'x' is already a regime"),
        (
            "design: one_factor\nsteps: [{name: a, change: {model.depth: 0}}]",
            "step 'a' does not fit into any cell of the design: model.depth",
        ),
        ("design: []", "design: it should have at least one item"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, body: str, expected: str) -> None:
    assert expected in problems(tmp_path, body)


def test_a_factorial_of_too_many_steps_is_refused_with_a_way_out(tmp_path: Path) -> None:
    steps = "".join(f"- {{name: s{i}, change: {{train.lr: {i + 1}e-4}}}}\n" for i in range(9))
    assert "512 cells, more than 256; name fewer with 'steps', or a 'fraction'" in problems(
        tmp_path, "design: factorial\nsteps:\n" + steps
    )


CHANGES = {
    "a": "model.norm: rmsnorm",
    "b": "model.class_token: last",
    "c": "model.attention: causal",
    "d": "model.position: rope",
    "e": "train.lr: 1e-3",
}


@pytest.mark.slow
@settings(deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(CHANGES)), unique=True, min_size=1, max_size=4),
    designs=st.lists(
        st.sampled_from(["roadmap", "one_factor", "leave_one_out", "factorial", "{orders: 2}"]),
        unique=True,
        min_size=1,
    ),
)
def test_any_design_of_any_steps_names_each_variant_once_and_trains_what_its_cell_says(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], designs: list[str]
) -> None:
    body = f"design: [{', '.join(designs)}]\nsteps:\n" + "".join(
        f"- {{name: {n}, change: {{{CHANGES[n]}}}}}\n" for n in names
    )
    spec = spec_of(tmp_path_factory.mktemp("any"), body)
    labels = [variant.label for variant in spec.variants]
    assert len(labels) == len(set(labels))
    for variant in spec.variants:
        model, train = variant.config.model, variant.config.train
        assert (model.norm == "rmsnorm") == ("a" in variant.cell.steps)
        assert (model.attention == "causal") == ("c" in variant.cell.steps)
        assert (train.lr == 1e-3) == ("e" in variant.cell.steps)
