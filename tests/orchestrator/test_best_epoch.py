"""The best epoch is that of the metric that a report goes by, whatever the training remembered."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from invented import digest, snapshot_of, spec_of, write_trials
from rich.console import Console

from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.planning.estimates import _effects
from orchestrator.planning.plan import trials_of
from orchestrator.planning.search import _reached
from orchestrator.planning.status import SweepStatus
from orchestrator.report.formats import render
from orchestrator.report.overview import status_view
from orchestrator.spec.schema import MetricSchema
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.store.store import TrialDirectory
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec

CURVE = [(60.0, 1.5, 4.0), (75.0, 0.75, 3.0), (75.0, 1.25, 2.5), (70.0, 0.75, 1.0)]
"""val/acc1, val/loss and train/loss by epoch: accuracy and loss are best at others, and each
twice."""
ENDS = {"baseline": [70.0], "a": [70.0]}


@pytest.fixture
def store(tmp_path: Path) -> Callable[[SweepSpec], Callable[[TrialSpec], TrialRecord]]:
    def records_of(spec: SweepSpec) -> Callable[[TrialSpec], TrialRecord]:
        record_of = write_trials(spec, ENDS, tmp_path / "runs")
        for trial in trials_of(spec, digest):
            lines = [
                {
                    "iteration": 10 * epoch,
                    "time": 1.0,
                    "metrics": {
                        "epoch": float(epoch),
                        "val/acc1": acc1,
                        "val/loss": loss,
                        "train/loss": train,
                    },
                }
                for epoch, (acc1, loss, train) in enumerate(CURVE, 1)
            ]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (Path(record_of(trial).path) / "metrics.jsonl").write_text(text)
        return record_of

    return records_of


def report(
    folder: Path,
    store: Callable[[SweepSpec], Callable[[TrialSpec], TrialRecord]],
    metric: str,
    by: MetricSchema | None = None,
) -> Roadmap:
    spec = spec_of(folder, f"metric: {metric}\nsteps: []", seeds=1)
    return build_roadmap(snapshot_of(spec, trials_of(spec, digest), store(spec)), by)


def test_it_is_the_epoch_at_which_the_sweeps_own_metric_was_best(
    tmp_path: Path, store: Callable[..., Callable[[TrialSpec], TrialRecord]]
) -> None:
    [row] = report(tmp_path, store, "{name: val/loss, epoch: best, also: [train/loss]}").rows
    assert row.values == {0: 0.75}
    assert row.also["train/loss"].values == {0: 3.0}, "read at that epoch, the first of equals"


def test_one_training_serves_every_metric(
    tmp_path: Path, store: Callable[..., Callable[[TrialSpec], TrialRecord]]
) -> None:
    by = MetricSchema(name="train/loss", mode="min", epoch="best", also=["val/acc1"])
    [row] = report(tmp_path, store, "{epoch: best}", by).rows
    assert (row.values, row.also["val/acc1"].values) == ({0: 1.0}, {0: 70.0})


def test_the_json_has_it_beside_the_last_epoch(
    tmp_path: Path, store: Callable[..., Callable[[TrialSpec], TrialRecord]]
) -> None:
    roadmap = report(tmp_path, store, "{name: val/loss}")
    step = json.loads(render(roadmap, "json"))["steps"][0]
    assert (step["mean"], step["best_epoch_mean"]) == (1.0, 0.75)


def test_no_curve_is_read_where_nobody_asks_or_the_result_knows(
    tmp_path: Path,
    store: Callable[..., Callable[[TrialSpec], TrialRecord]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unread(directory: TrialDirectory) -> None:
        raise AssertionError(f"{directory.path} was read")

    monkeypatch.setattr(TrialDirectory, "metrics", unread)
    assert report(tmp_path, store, "{name: val/loss}").rows[0].values == {0: 1.0}
    assert report(tmp_path, store, "{epoch: best}").rows[0].values == {0: 71.0}


def test_a_search_goes_by_the_same_epoch(
    tmp_path: Path, store: Callable[..., Callable[[TrialSpec], TrialRecord]]
) -> None:
    spec = spec_of(tmp_path, "metric: {name: val/loss, epoch: best}\nsteps: []", seeds=1)
    [trial] = trials_of(spec, digest)
    assert _reached(KnownTrial(trial, store(spec)(trial)), "val/loss", spec.schema.metric) == 0.75


def test_status_and_plan_read_the_same_epoch_as_the_report(
    tmp_path: Path, store: Callable[..., Callable[[TrialSpec], TrialRecord]]
) -> None:
    body = "metric: {name: val/loss, epoch: best}\nsteps: [{name: a, change: {model.depth: 3}}]"
    spec = spec_of(tmp_path, body, seeds=1)
    record_of = store(spec)
    trials = [KnownTrial(trial, record_of(trial)) for trial in trials_of(spec, digest)]
    [baseline, _] = trials
    (Path(baseline.record.path) / "metrics.jsonl").write_text(
        '{"iteration": 1, "time": 1.0, "metrics": {"epoch": 1.0, "val/loss": 0.5}}\n'
    )
    status = SweepStatus(spec.name, trials, None, {}, metric=spec.reported_metric)
    text = Console(width=80, file=StringIO(), record=True)
    text.print(status_view(status))
    lines = [line.split() for line in text.export_text().splitlines()]
    assert [line[-1] for line in lines if line[:1] in (["baseline"], ["a"])] == ["0.5000", "0.7500"]
    [effect] = _effects(spec, trials)
    assert effect
    assert effect.mean == 0.25
