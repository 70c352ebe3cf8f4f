"""A loop of Lightning or Hugging Face is a trial: it reports, stops, and goes on to the same
figures.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from illama.config import resolve
from illama.config.imports import import_from
from illama.training.results import Stopped, TrainResult
from illama.training.trainer import train

EXAMPLES = Path(__file__).parents[2] / "docs" / "integrations"
Lines = list[tuple[dict[str, float], int]]


@pytest.fixture(autouse=True)
def folder() -> Iterator[None]:
    import_from(EXAMPLES)
    yield
    import_from(Path())


def run(
    name: str, folder: Path, should_stop: Callable[[], bool] = lambda: False
) -> tuple[TrainResult, Lines]:
    what = resolve({"train": {"name": f"{name}:train", "epochs": 2, "width": 8}, "seed": 1})
    lines: Lines = []

    def log(metrics: Any, at: int) -> None:
        lines.append((dict(metrics), at))
        seen.append(at)

    seen.clear()
    return train(what, log_metrics=log, checkpoint_dir=folder, should_stop=should_stop), lines


seen: list[int] = []
"""Iterations that the attempt under way has logged."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["lightning", "transformers"])
def test_interrupted_after_an_epoch_it_ends_with_the_same_figures(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = (library, "accelerate") if library == "transformers" else (library,)
    for package in needed:
        if not importlib.util.find_spec(package):
            pytest.skip(f"{package} is not there")
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    expected, lines = run(f"digits_{library}", tmp_path / "undisturbed")
    assert expected.final.keys() >= {"train/loss", "val/acc"}
    with pytest.raises(Stopped):
        run(f"digits_{library}", tmp_path / "trial", lambda: bool(seen))
    result, rest = run(f"digits_{library}", tmp_path / "trial")
    assert rest[-1][1] == lines[-1][1]
    # Hugging Face averages train/loss over the steps since the last time that it logged.
    same = {name for name in expected.final if library == "lightning" or "val/" in name}
    assert {n: result.final[n] for n in same} == {n: expected.final[n] for n in same}
    assert library in sys.modules
