"""Names, params and tags that read as the roadmap."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.outcomes import Outcome, State
from orchestrator.report.words import rounded_p
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.tracking.shape import (
    params_of,
    road_names,
    source_of,
    state_of,
    state_tags,
)
from orchestrator.trial import TrialRecord

MakeSpec = Callable[..., SweepSpec]


@pytest.fixture
def spec_of(write_spec: Callable[..., Path]) -> MakeSpec:
    return lambda **changes: load_spec(write_spec(**changes))


def test_names_sort_as_the_road_reads(spec_of: MakeSpec) -> None:
    side = {f"wide{index}": {"model.embed_dim": 64 + 32 * index} for index in range(2)}
    steps = [
        {
            "name": f"lr{index}",
            "change": {"train.lr": 0.02 + index / 100},
            "side": side if index == 1 else {},
        }
        for index in range(10)
    ]
    names = list(road_names(spec_of(steps=steps).variants).values())
    assert names[:5] == ["00 baseline", "01 lr0", "02 lr1", "02a wide0", "02b wide1"]
    assert names[-1] == "10 lr9"
    assert sorted(names) == names


def test_each_regime_counts_its_own_road(spec_of: MakeSpec) -> None:
    regimes = {"small": {"model.embed_dim": 32}, "large": {"model.embed_dim": 64}}
    names = road_names(
        spec_of(
            steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}}], regimes=regimes
        ).variants
    )
    assert names == {
        "small/baseline": "small/0 baseline",
        "small/rms": "small/1 rms",
        "large/baseline": "large/0 baseline",
        "large/rms": "large/1 rms",
    }


def test_params_are_the_step_and_what_any_step_changes(spec_of: MakeSpec) -> None:
    soft = {"schedule": "linear", "epochs": 1}
    spec = spec_of(
        steps=[
            {
                "name": "rms",
                "change": {"model.norm": "rmsnorm"},
                "side": {"fast": {"train.lr": 0.5}},
            },
            {"name": "soft", "change": {"model.attention": "causal", "train.soft_mask": soft}},
        ]
    )
    shown = {variant.name: params_of(spec, variant) for variant in spec.variants}
    assert {name: params["step"] for name, params in shown.items()} == {
        "baseline": "baseline",
        "rms": "rms",
        "fast": "rms",
        "soft": "soft",
    }
    assert {frozenset(params) for params in shown.values()} == {
        frozenset(
            {"step", "variant", "model.norm", "train.lr", "model.attention", "train.soft_mask"}
        )
    }
    assert shown["fast"]["train.lr"] == "0.5"
    assert shown["baseline"]["train.soft_mask"] == "none"
    assert json.loads(shown["soft"]["train.soft_mask"]).items() >= soft.items()


def test_a_long_value_is_cut_and_not_refused(
    spec_of: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}}])
    baseline = spec.variants[0]
    monkeypatch.setattr("illama.config.Workload.setting", lambda *_: "x" * 10_000)
    shown = params_of(spec, baseline)["model.norm"]
    assert len(shown) == 250
    assert shown.endswith("x…")


def test_tags_say_where_and_how_it_ended() -> None:
    events = [
        {"event": "start", "host": "a", "device": "x"},
        {"event": "end"},
        {"event": "start", "host": "b", "device": "y"},
    ]
    record = TrialRecord(
        State.FAILED, outcome=Outcome.FAILED, cause="no " * 5_000, attempts=2, iteration=7
    )
    tags = state_tags(record, events, state_of(record, 99))
    assert (tags["sweep.host"], tags["sweep.device"], tags["sweep.attempts"]) == ("a, b", "y", "2")
    assert (tags["sweep.outcome"], tags["sweep.iteration"]) == ("failed", "7")
    assert len(tags["sweep.cause"]) < 5_000
    assert state_of(record, 99) != state_of(record, 100)
    assert state_of(record, 99) != state_of(replace(record, state=State.RUNNING, outcome=None), 99)


def test_the_source_is_the_file_that_was_given_and_not_the_stores_copy(
    spec_of: MakeSpec, tmp_path: Path
) -> None:
    spec = spec_of(steps=[{"name": "rms", "change": {"model.norm": "rmsnorm"}}])
    assert source_of(replace(spec, path=tmp_path / "mine.yaml")) == "mine.yaml"
    assert source_of(replace(spec, path=tmp_path / "sweep.yaml")) == "sweep.yaml"
    copy = tmp_path / spec.name / "sweep.yaml"
    assert source_of(replace(spec, path=copy)) == f"{spec.name}.yaml"


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (1.0, "1.0"),
        (0.0272642, "0.0273"),
        (0.00123456, "0.00123"),
        (0.000123456, "0.000123"),
        (7.76e-10, "0.0001"),
        (0.0, "0.0001"),
        (0.04997, "0.04997"),
        (0.0499999, "0.0499999"),
        (0.05, "0.05"),
    ],
)
def test_a_p_value_has_three_digits_no_exponent_and_its_side_of_the_level(
    p: float, shown: str
) -> None:
    assert str(rounded_p(p)) == shown


def test_no_p_value_stays_none() -> None:
    assert rounded_p(None) is None
