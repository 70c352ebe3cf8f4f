"""Two sweeps or regimes side by side."""

import json
from pathlib import Path

import pytest
from invented import HEAD, roadmap_of, spec_of

from orchestrator.errors import UsageError
from orchestrator.report.comparison import (
    Comparison,
    compare,
    comparison_markdown,
    select,
    split_reference,
    told_apart,
)

BODY = """
regimes: {one: {}, two: {train.lr: 1e-3}}
steps: [{name: rmsnorm, change: {model.norm: rmsnorm}}]
"""


def two_regimes(tmp_path: Path) -> Comparison:
    ends = {
        "one/baseline": [1.0, 2.0],
        "one/rmsnorm": [3.0, 4.0],
        "two/baseline": [11.0, 12.0],
        "two/rmsnorm": [13.0, 15.0],
    }
    roadmap = roadmap_of(spec_of(tmp_path, BODY, 2), ends)  # type: ignore[arg-type]
    return compare(select(roadmap, "invented", "one"), select(roadmap, "invented", "two"))


def test_regimes_are_paired_step_by_step_and_seed_by_seed(tmp_path: Path) -> None:
    differences = {pair.step: pair.difference for pair in two_regimes(tmp_path).pairs}
    assert differences["baseline"].effect.mean == 10  # type: ignore[union-attr]
    assert differences["rmsnorm"].effect.mean == 10.5  # type: ignore[union-attr]
    assert differences["rmsnorm"].versus == "invented:one"  # type: ignore[union-attr]


def test_a_step_that_only_one_has_is_shown_with_a_gap(tmp_path: Path) -> None:
    one = roadmap_of(
        spec_of(tmp_path, "steps: [{name: rmsnorm, change: {model.norm: rmsnorm}}]", 2),
        {"rmsnorm": [1.0, 2.0]},
    )
    other = roadmap_of(
        spec_of(tmp_path, "steps: [{name: rope, change: {model.position: rope}}]", 2),
        {"rope": [1.0, 2.0]},
    )
    found = compare(select(one, "a", ""), select(other, "b", ""))
    assert [(p.step, p.left is None, p.right is None) for p in found.pairs][1:] == [
        ("rmsnorm", False, True),
        ("rope", True, False),
    ]
    value = "1.50 ± 0.71".replace(" ", "\N{NO-BREAK SPACE}")
    assert f"| rope |  |  | {value} |" in comparison_markdown(found)


def test_json_goes_through(tmp_path: Path) -> None:
    value = json.loads(json.dumps(two_regimes(tmp_path).to_json()))
    assert [step["name"] for step in value["steps"]] == ["baseline", "rmsnorm"]
    assert value["steps"][1]["difference"]["mean"] == 10.5


def test_regimes_must_be_named_and_must_be_there(tmp_path: Path) -> None:
    roadmap = roadmap_of(spec_of(tmp_path, BODY, 2), {})
    with pytest.raises(UsageError, match="invented:one, invented:two"):
        select(roadmap, "invented", "")
    with pytest.raises(UsageError, match="did you mean 'one'"):
        select(roadmap, "invented", "onee")


def test_what_is_the_same_twice_is_refused_and_two_specs_of_a_name_are_told_apart(
    tmp_path: Path,
) -> None:
    body = "steps: [{name: norm, change: {model.norm: rmsnorm}}]"
    once = select(roadmap_of(spec_of(tmp_path, body, 2), {"norm": [1.0, 2.0]}), "a", "")
    with pytest.raises(UsageError, match=r"'a' and 'b\.yaml' are the same trials"):
        told_apart([once, once], ("a", "b.yaml"))
    edited = body.replace("model.norm: rmsnorm", "model.position: rope")
    again = select(roadmap_of(spec_of(tmp_path, edited, 2), {"norm": [1.0, 3.0]}), "b", "")
    nothing_yet = [
        select(roadmap_of(spec_of(tmp_path, text, 2), {}), "a", "") for text in (body, edited)
    ]
    assert len(told_apart(nothing_yet, ("a", "b.yaml"))) == 2
    found = compare(*told_apart([once, again], ("a", "b.yaml")))
    head = comparison_markdown(found).splitlines()[2].strip("| ").split(" | ")
    assert head[1:6] == ["a", "Δ in a", "b.yaml", "Δ in b.yaml", "b.yaml − a [95 % CI]"]
    assert len({*head}) == len(head)


def test_different_metrics_are_not_compared(tmp_path: Path) -> None:
    one = roadmap_of(spec_of(tmp_path, "steps: []"), {})
    other = roadmap_of(spec_of(tmp_path, "metric: {name: val/loss, mode: min}\nsteps: []"), {})
    with pytest.raises(UsageError, match="cannot be compared"):
        compare(select(one, "a", ""), select(other, "b", ""))
    best = roadmap_of(spec_of(tmp_path, "metric: {epoch: best}\nsteps: []"), {})
    with pytest.raises(
        UsageError,
        match="at the last epoch and invented reports val/acc1 at the best epoch: they cannot",
    ):
        compare(select(one, "a", ""), select(best, "b", ""))


def test_stars_are_explained_in_markdown_too(tmp_path: Path) -> None:
    text = comparison_markdown(two_regimes(tmp_path))
    assert "| +10.00\\* |" in text
    assert "\n\\* baseline: the same difference for every seed" in text
    assert "paired t-tests (seed-paired differences" in text


def test_sides_that_validate_on_other_images_are_told(tmp_path: Path) -> None:
    assert "two test sets" not in comparison_markdown(two_regimes(tmp_path))
    spec = spec_of(tmp_path, BODY.replace("train.lr: 1e-3", "data.val_fraction: 0.5"), 2)
    roadmap = roadmap_of(spec, {})
    sides = [select(roadmap, "invented", regime) for regime in ("one", "two")]
    text = comparison_markdown(compare(*sides))
    assert (
        "use different data at baseline, rmsnorm. Unless the validation images are the same" in text
    )


def test_sides_that_declare_other_rules_are_told(tmp_path: Path) -> None:
    ends = {"baseline": [70.0, 71.0, 73.0]}
    one = select(roadmap_of(spec_of(tmp_path, "steps: []"), ends), "a", "")
    flips = "metric: {test: sign_flip, matters: 0.5}\nsteps: []"
    other = select(roadmap_of(spec_of(tmp_path, flips), ends), "b", "")
    assert "declares" not in comparison_markdown(compare(one, one))
    assert (
        "declares mode: max, test: paired, matters: nothing and invented mode: max, "
        "test: sign_flip, matters: 0.5: all verdicts here follow invented."
    ) in comparison_markdown(compare(one, other)).replace("\\_", "_")


def test_seeds_that_were_added_until_something_was_decided_are_paid_for(tmp_path: Path) -> None:
    body, ends = "steps: []", {"baseline": [70.0, 71.0, 73.0]}
    adaptive = HEAD.replace("seeds: [{seeds}]", "seeds: {{start: 3, max: 6, until: decided}}")
    other = {"baseline": [71.0, 73.5, 74.0]}
    plain, *paid = (
        compare(
            select(roadmap_of(spec_of(tmp_path, body, head=one), ends), "a", ""),
            select(there, "b", ""),
        )
        .pairs[0]
        .difference
        for one, there in (
            (HEAD, roadmap_of(spec_of(tmp_path, body), other)),
            (HEAD, roadmap_of(spec_of(tmp_path, body, head=adaptive), other)),
            (adaptive, roadmap_of(spec_of(tmp_path, body), other)),
        )
    )
    assert plain is not None
    assert [found.effect.p_value for found in paid if found] == [
        pytest.approx(2 * plain.effect.p_value)
    ] * 2  # type: ignore[operator]


def test_a_reference_is_split_at_its_colon_unless_it_is_a_file() -> None:
    assert split_reference("llamafy:tiny", lambda _: False) == ("llamafy", "tiny")
    assert split_reference("llamafy", lambda _: False) == ("llamafy", "")
    assert split_reference("odd:name.yaml", lambda _: True) == ("odd:name.yaml", "")


def test_trials_held_against_themselves_are_called_so_and_tested_nowhere(tmp_path: Path) -> None:
    body = "steps: [{name: norm, change: {model.norm: rmsnorm}}]"
    ends = {"baseline": [1.0, 2.0, 2.5], "norm": [3.0, 4.1, 5.0]}
    one, other = (
        select(roadmap_of(spec_of(tmp_path, body), ends), name, "")  # type: ignore[arg-type]
        for name in ("a", "b")
    )
    found = compare(one, other)
    assert found.family.size == 0
    assert [pair.of_effects for pair in found.pairs] == [None, None]
    assert "\\* norm: the same trials on both sides" in comparison_markdown(found)
