"""Every kind of training is met through one interface, one of a third party included."""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar, Self

import pytest

from illama.config import Settings, Workload, kind_of, read_workload, resolve, workloads
from illama.cost import size_of
from illama.training.results import TrainResult
from illama.training.trainer import train
from orchestrator.fingerprint import fingerprint
from orchestrator.trial import TrialSpec

BUILT_IN = {
    "model": {"name": "vit_digits"},
    "data": {"name": "digits"},
    "train": {"epochs": 3, "batch_size": 8, "lr": 0.1},
}


class Toy(Workload):
    """A kind that a package of somebody else might add: it counts."""

    trainer: ClassVar[str] = f"{__name__}:count"

    count_to: int
    seed: int = 0

    @classmethod
    def is_meant_by(cls, settings: Mapping[Any, Any]) -> bool:
        return "count_to" in settings

    @classmethod
    def schema_of(cls, settings: Mapping[str, Any]) -> type[Settings]:
        return cls

    @classmethod
    def resolved(cls, settings: Mapping[str, Any], data_dir: Path | None) -> Self:
        return cls.model_validate(settings)

    @classmethod
    def titled(cls, settings: Mapping[Any, Any]) -> str:
        return "counting"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"count_to": self.count_to}

    @property
    def length(self) -> int:
        return self.count_to


def count(workload: Toy, runtime: Any, *, log_metrics: Any, **_: Any) -> TrainResult:
    for at in range(1, workload.count_to + 1):
        log_metrics({"count": float(at)}, at)
    return TrainResult(
        iterations=workload.count_to,
        epochs=0,
        final={"count": float(workload.count_to)},
        best={},
        best_epoch=0,
        collapsed=False,
        params=None,
        seconds=0.0,
        peak_memory_bytes=0,
    )


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Workload:
    monkeypatch.setattr(workloads, "kinds", lambda: (Toy, *workloads.KINDS))
    return resolve({"count_to": 3, "seed": 1})


def test_a_kind_of_a_third_party_is_trained_read_back_and_identified(toy: Workload) -> None:
    lines: list[int] = []
    assert train(toy, log_metrics=lambda _, at: lines.append(at)).final == {"count": 3.0}
    assert lines == [1, 2, 3]
    assert read_workload(toy.model_dump(mode="json")) == toy
    assert fingerprint(toy, "") != fingerprint(resolve({"count_to": 4, "seed": 1}), "")
    assert (toy.title, toy.setting("count_to"), size_of(toy)) == ("counting", 3, (None, None))


def test_a_trial_of_it_says_how_far_it_is_and_what_it_lacks(toy: Workload) -> None:
    trial = TrialSpec("s", "v", "", 1, {}, toy, "f" * 64, metric="other")
    assert (trial.reached_text(2), trial.reached(9)) == ("iteration 2/3", 3.0)
    assert trial.with_half_the_memory is None
    lacking = trial.lacking({"metrics": {"count": 3.0}}) or ""
    assert lacking.startswith("counting returned count, but the sweep compares other")


@pytest.mark.parametrize("kind", workloads.KINDS)
def test_every_kind_names_a_function_that_trains_it(kind: type[Workload]) -> None:
    assert callable(resolve_name(kind.trainer))


def test_the_built_in_kind_takes_what_no_other_does() -> None:
    assert kind_of(BUILT_IN) is kind_of({"train": {"epochs": 1}}) is workloads.KINDS[-1]
    config = resolve(BUILT_IN)
    assert read_workload(config.model_dump(mode="json")) == config
    assert (config.unit, config.length, config.batch_size) == ("epoch", 3, 8)
    assert config.setting("train.lr") == 0.1
    assert config.setting("train.nothing") is None
