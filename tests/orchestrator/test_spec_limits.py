"""What no plan could look at is refused at its place, at once, and what Python calls equal is
told apart where code would.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SpecError
from orchestrator.spec.sweep_spec import load_spec

Found = Callable[..., list[str]]
LR = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
SPEC: dict[str, Any] = {
    "name": "x",
    "seeds": [0, 1],
    "baseline": {
        "model": {"name": "vit_digits"},
        "data": {"name": "digits"},
        "train": {"epochs": 3, "lr": 0.01, "batch_size": 64},
    },
    "steps": [{"name": "rms", "change": {"model.norm": "rmsnorm"}}],
}


@pytest.fixture
def problems(tmp_path: Path) -> Found:
    """`line: message` of what is wrong with the spec, some of its values changed."""

    def find(**changes: Any) -> list[str]:
        spec = copy.deepcopy(SPEC)
        for place, value in changes.items():
            *parents, last = place.split("__")
            group: Any = spec
            for part in parents:
                group = group[int(part) if part.isdigit() else part]
            group[last] = value
        path = tmp_path / "x.yaml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        try:
            load_spec(path)
        except SpecError as error:
            return [f"{problem.line}: {problem.message}" for problem in error.problems]
        return []

    return find


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("baseline__model__depth", 10**9, "model.depth: it should be less than or equal to 10000"),
        ("baseline__model__embed_dim", 10**18, "model.embed_dim: it should be less than"),
        ("baseline__model__img_size", 10**18, "model.img_size: it should be less than"),
        ("baseline__train__epochs", True, "train.epochs: it should be a number, found True"),
        ("seeds", list(range(9000)), "18,000 trials, more than 10,000"),
        ("seeds", {"start": True, "max": 9}, "it should be a number, found True"),
        (
            "regimes",
            {f"r{i}": {"train.lr": 1 / (i + 9)} for i in range(1500)},
            "3,000 variants in all regimes and recipes, more than 2,000",
        ),
        ("design", ["roadmap", {"orders": 10**9}], "it should be less than or equal to 1000"),
        ("steps__0__search", {"space": LR, "trials": 10**6}, "less than or equal to 5000"),
        ("steps__0__search", {"space": LR, "trials": 9, "at_once": 10**9}, "equal to 5000"),
        (
            "steps__0__search",
            {"space": LR, "trials": 900, "seeds": list(range(100, 200))},
            "this search asks for 90,000 trials, more than 10,000",
        ),
        (
            "steps__0__search",
            {"space": {"train.epochs": {"low": 1, "high": 10**9}}, "sampler": "grid"},
            "this search asks for 3,000,000,000 trials, more than 10,000",
        ),
        ("steps__0__search", {"space": {"model.depth": [1, 10**9]}, "trials": 1}, "model.depth"),
    ],
)
def test_what_no_plan_could_look_at_is_refused_at_once(
    problems: Found, place: str, value: object, message: str
) -> None:
    found = problems(**{place: value})
    assert any(message in one for one in found), found
    assert all(int(one.partition(":")[0]) > 1 for one in found)


@pytest.mark.slow
def test_one_and_true_are_two_settings_for_code_of_others(tmp_path: Path) -> None:
    (tmp_path / "kw.py").write_text("def train(*, seed, **more): return {'m': 1.0}\n")
    spec = {"name": "x", "seeds": [0], "metric": {"name": "m", "mode": "max"}}
    spec |= {"baseline": {"train": {"name": "kw:train", "flag": 1}}}
    spec |= {"steps": [{"name": "on", "change": {"train.flag": True}}]}
    spec["steps"] += [{"name": "s", "change": {"train.b": 2}, "search": {"trials": 2}}]  # type: ignore[operator]
    spec["steps"][1]["search"]["space"] = {"train.flag": [1, True]}  # type: ignore[index]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(spec))
    assert [variant.name for variant in load_spec(tmp_path / "x.yaml").road][:2] == [
        "baseline",
        "on",
    ]
