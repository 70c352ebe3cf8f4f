"""Looks at a sweep's results are remembered, once for each declaration of seeds, and forgotten
by nobody.
"""

import os
import shutil
from pathlib import Path

import pytest
from invented import HEAD, spec_of

from orchestrator.driver import report_sweep
from orchestrator.planning.survey import survey
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.looks import Look, Seeds, earlier_looks, looks_at, remember_look
from orchestrator.store.store import Store

NORM = "steps: [{name: norm, change: {model.norm: rmsnorm}}]"
ACC = "val/acc1"


def look(seeds: Seeds, metric: str = ACC) -> Look:
    return Look(1.0, seeds, 3, metric, "0" * 64, "report")


def finish(spec: SweepSpec, store: Store, time: float | None = None, only: int = 99) -> None:
    """A result for every trial that has none, as if it had been trained."""
    for trial in survey(spec, store).specs:
        directory = store.directory(trial)
        if directory.result_path.exists() or trial.seed >= only:
            continue
        value = 70.0 + trial.seed + (trial.variant == "norm") * (1 + trial.seed % 3)
        metrics = {ACC: value, "val/loss": 1 / value}
        directory.write_trial(trial, {})
        directory.write_result("finished", {"metrics": metrics, "best": metrics, "seconds": 1.0})  # type: ignore[arg-type]


def reported(spec: SweepSpec, store: Store, metric: str | None = None) -> int:
    value = report_sweep(spec, store, metric, shown_by="report").to_json()["family"]["looks_before"]
    assert isinstance(value, int)
    return value


def test_the_same_declaration_is_written_once(tmp_path: Path) -> None:
    for seeds in ([0, 1, 2], [2, 1, 0], [0, 1, 2]):
        remember_look(tmp_path, look(seeds))
    assert looks_at(tmp_path) == [look([0, 1, 2])]
    assert len((tmp_path / "looks.jsonl").read_bytes().splitlines()) == 1


def test_other_declarations_before_this_one_are_counted(tmp_path: Path) -> None:
    assert earlier_looks(tmp_path, [0, 1], ACC) == 0
    for seeds in ([0, 1], [0, 1, 2], {"start": 3, "max": 6}):
        remember_look(tmp_path, look(seeds))  # type: ignore[arg-type]
    counts = [earlier_looks(tmp_path, s, ACC) for s in ([0, 1], [0, 1, 2], [7])]
    assert counts == [0, 1, 3], "a look that was taken is not made dearer by those since"
    assert earlier_looks(tmp_path, {"start": 3, "max": 12}, ACC) == 3, "raising max is a change"
    assert earlier_looks(tmp_path, [7], "val/loss") == 0


def test_damaged_lines_count_as_not_there(tmp_path: Path) -> None:
    remember_look(tmp_path, look([0]))
    with (tmp_path / "looks.jsonl").open("ab") as file:
        file.write(b'garbage\n[1]\n{"seeds": "all"}\n{"time": "x", "seeds": [0]}\n\xff\xfe\n{"torn')
    assert earlier_looks(tmp_path, [1], ACC) == 1
    remember_look(tmp_path, look([1]))
    assert [one.seeds for one in looks_at(tmp_path)] == [[0], [1]]


def no_space(*arguments: object, **options: object) -> None:
    raise OSError(28, "No space left on device")


def test_where_nothing_can_be_written_nothing_is_remembered_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_look(tmp_path / "no sweep", look([0]))
    assert looks_at(tmp_path / "no sweep") == []
    monkeypatch.setattr("orchestrator.store.files._write", no_space)
    remember_look(tmp_path, look([0]))
    assert looks_at(tmp_path) == []


def test_seeds_that_are_added_after_a_report_are_paid_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    spec = spec_of(tmp_path, NORM, 3)
    finish(spec, store)
    assert [reported(spec, store) for _ in range(10)] == [0] * 10
    assert len(looks_at(store.sweep_path("invented"))) == 1
    more = spec_of(tmp_path, NORM, 5)
    assert reported(more, store) == 1
    finish(more, store)
    assert reported(more, store) == 1
    assert reported(spec, store) == 0
    [first, second] = looks_at(store.sweep_path("invented"))
    assert (first.seeds, first.comparisons, first.metric) == ([0, 1, 2], 1, ACC)
    assert (second.seeds, second.command) == ([0, 1, 2, 3, 4], "report")


def test_an_interim_report_is_no_look(tmp_path: Path) -> None:
    store, spec = Store(tmp_path / "runs"), spec_of(tmp_path, NORM, 4)
    finish(spec, store, only=3)
    reported(spec, store)
    assert looks_at(store.sweep_path("invented")) == []
    finish(spec, store)
    report_sweep(spec, store)
    assert looks_at(store.sweep_path("invented")) == [], "nobody was shown it"


def test_another_metric_and_another_sweep_are_other_looks(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    spec = spec_of(tmp_path, NORM, 3)
    finish(spec, store)
    assert reported(spec, store, "val/loss") == 0
    more = spec_of(tmp_path, NORM, 4)
    finish(more, store)
    assert reported(more, store) == 0
    assert reported(more, store, "val/loss") == 1
    head = HEAD.replace("invented", "another")
    other = spec_of(tmp_path, NORM, 5, head)
    finish(other, store)
    assert reported(other, store) == 0


def test_a_store_that_is_copied_keeps_its_looks(tmp_path: Path) -> None:
    store, spec = Store(tmp_path / "runs"), spec_of(tmp_path, NORM, 3)
    finish(spec, store)
    reported(spec, store)
    shutil.copytree(store.root, tmp_path / "copy")
    os.rename(store.root, tmp_path / "renamed")
    more = spec_of(tmp_path, NORM, 4)
    assert reported(more, Store(tmp_path / "copy")) == 1
    assert reported(more, Store(tmp_path / "renamed")) == 1
