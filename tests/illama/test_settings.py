"""Settings take what is meant: `true` is no number, and what is not finite by default stays with
the function.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from illama.config import Settings, UserTraining, resolve
from illama.config.functions import arguments_of
from illama.config.imports import import_from


class Some(Settings):
    number: float = 1.0
    bounded: Annotated[int, Field(gt=0)] | None = None
    numbers: list[int] = []
    switch: bool = False
    either: int | bool = 1
    anything: Any = None


@pytest.mark.parametrize(
    ("name", "value"),
    [("number", True), ("bounded", True), ("numbers", [1, True]), ("number", False)],
)
def test_true_is_no_number(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Some(**{name: value})  # type: ignore[arg-type]
    [problem] = caught.value.errors()
    assert problem["loc"] == (name,)
    assert problem["msg"] == "Input should be a number"


@pytest.mark.parametrize("name", ["switch", "either", "anything"])
def test_true_is_taken_where_it_may_be_meant(name: str) -> None:
    assert getattr(Some(**{name: True}), name) is True  # type: ignore[arg-type]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[Callable[..., UserTraining]]:
    """`training("signature", option=1)` resolves a training of that signature."""

    def make(parameters: str, **options: Any) -> UserTraining:
        (tmp_path / "mine.py").write_text(
            "import math\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Clip:\n    low: float = 0.0\n    high: float = math.inf\n"
            f"def train(*, {parameters}, seed): return {{'m': 1.0}}\n"
        )
        import_from(tmp_path)
        config = resolve({"train": {"name": "mine:train", **options}})
        assert isinstance(config, UserTraining)
        return config

    yield make
    import_from(Path())  # forget it


def test_a_default_that_is_not_finite_stays_with_the_function(
    training: Callable[..., UserTraining],
) -> None:
    left = training("clip: float = math.inf, lr: float = 0.1")
    assert left.train.options == {"lr": 0.1}
    assert arguments_of("train", left.train.function, left.train.options)["clip"] == float("inf")
    given = training("clip: float = math.inf, lr: float = 0.1", clip=2.0)
    assert given.train.options == {"clip": 2.0, "lr": 0.1}


def test_a_part_of_such_a_default_cannot_be_set_alone(
    training: Callable[..., UserTraining],
) -> None:
    with pytest.raises(ValidationError, match=r"(?s)clip\.high.*Field required"):
        training("clip: Clip = Clip()", clip={"low": 1.0})
    whole = training("clip: Clip = Clip()", clip={"low": 1.0, "high": 2.0})
    assert whole.train.options == {"clip": {"low": 1.0, "high": 2.0}}
