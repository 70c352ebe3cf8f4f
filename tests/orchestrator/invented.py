"""Sweeps whose trials ended as a test says, without any training."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.analysis.roadmap import Roadmap, build_roadmap
from orchestrator.analysis.snapshot import Snapshot
from orchestrator.outcomes import Outcome, State
from orchestrator.planning.lookup import Lookup
from orchestrator.planning.plan import trials_of
from orchestrator.planning.survey import survey
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store
from orchestrator.trial import KnownTrial, TrialRecord, TrialSpec

HEAD = """
name: invented
seeds: [{seeds}]
baseline:
  model: {{name: vit_digits}}
  data: {{name: digits}}
  train: {{epochs: 6, batch_size: 64, lr: 2e-3}}
"""

ROAD = """
steps:
  - name: rmsnorm
    change: {model.norm: rmsnorm}
  - name: causal
    change: {model.attention: causal}
    side:
      additive: {change: {model.mask_form: additive}, expect: collapse}
  - name: last
    change: {model.class_token: last}
"""

NORM = "steps: [{name: norm, change: {model.norm: rmsnorm}}]\n"
"""A road of one step."""

End = float | tuple[str, float] | str
"""A metric reached, an outcome with the metric reached, or an outcome without one."""


def spec_of(folder: Path, body: str = ROAD, seeds: int = 3, head: str = HEAD) -> SweepSpec:
    """Write and load a spec."""
    path = folder / "sweep.yaml"
    path.write_text(head.format(seeds=", ".join(map(str, range(seeds)))) + body)
    return load_spec(path)


def record(end: End, path: str = "", seconds: float = 2.0) -> TrialRecord:
    """What the store would say of a trial that ended so."""
    if isinstance(end, str):
        outcome = Outcome(end)
        if outcome.is_result:
            result = {"outcome": end, "metrics": {}, "best": {}, "seconds": seconds}
            return TrialRecord(
                State.DONE, outcome, cause=f"{end} it is", attempts=1, result=result, path=path
            )
        return TrialRecord(State.FAILED, outcome, cause=f"{end} it is", attempts=1, path=path)
    name, value = ("finished", end) if isinstance(end, int | float) else end
    metrics = {"val/acc1": value, "val/acc5": 99.0, "val/loss": 1.0, "train/loss": 2 - value / 100}
    result = {
        "outcome": name,
        "metrics": metrics,
        "best": metrics | {"val/acc1": value + 1},
        "seconds": seconds,
    }
    return TrialRecord(State.DONE, Outcome(name), attempts=1, result=result, path=path, epoch=6.0)


def records(
    ends: Mapping[str, Sequence[End | None]], path_of: Callable[[TrialSpec], str] | None = None
) -> Callable[[TrialSpec], TrialRecord]:
    """The store's answer for every trial: `ends` has one end for each seed of a variant; none is
    a trial not begun.
    """

    def record_of(trial: TrialSpec) -> TrialRecord:
        label = f"{trial.regime}/{trial.variant}" if trial.regime else trial.variant
        of_variant = ends.get(label, [])
        end = of_variant[trial.seed] if trial.seed < len(of_variant) else None
        own = f"/runs/{trial.sweep}/trials/{trial.directory_name}"
        path = path_of(trial) if path_of else own
        return TrialRecord(State.PENDING, path=path) if end is None else record(end, path)

    return record_of


def digest(_: Any) -> str:
    """Of any dataset."""
    return "invented"


RecordOf = Callable[[TrialSpec], TrialRecord]


def snapshot_of(
    spec: SweepSpec,
    trials: Iterable[TrialSpec],
    record_of: RecordOf,
    later: Iterable[TrialSpec] = (),
) -> Snapshot:
    """A sweep and what became of its trials, as a test says."""
    known = tuple(KnownTrial(trial, record_of(trial)) for trial in trials)
    return Snapshot(spec, known, tuple(later))


@dataclass(frozen=True)
class Told:
    """A store that answers as a function says."""

    record_of: RecordOf

    def record(self, trial: TrialSpec, live_session: str | None = None) -> TrialRecord:
        return self.record_of(trial)


def lookup_of(spec: SweepSpec, record_of: RecordOf) -> Lookup:
    """Trials of a sweep that ended as a function says."""
    return Lookup(spec, digest, Told(record_of))


def roadmap_of(spec: SweepSpec, ends: Mapping[str, Sequence[End | None]]) -> Roadmap:
    """The report of a sweep that ended so."""
    return build_roadmap(snapshot_of(spec, trials_of(spec, digest), records(ends)))


def write_trials(
    spec: SweepSpec, ends: Mapping[str, Sequence[End | None]], root: Path
) -> Callable[[TrialSpec], TrialRecord]:
    """As `records`, with the files that curves and provenance are read from."""

    def path_of(trial: TrialSpec) -> str:
        return str(root / trial.sweep / "trials" / trial.directory_name)

    for trial in trials_of(spec, digest):
        folder = Path(path_of(trial))
        folder.mkdir(parents=True, exist_ok=True)
        provenance = {
            "python": "3.11.7",
            "platform": "Linux",
            "packages": {"torch": "2.13.0"},
            "git_commit": "0123abc",
            "git_diff": None,
        }
        (folder / "trial.json").write_text(
            json.dumps({**trial.to_json(), "provenance": provenance})
        )
        lines = [
            {"iteration": 10 * n, "time": 1.0, "metrics": {"epoch": float(n), "val/acc1": 10.0 * n}}
            for n in (1, 2, 3)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return records(ends, path_of)


def write_results(spec: SweepSpec, root: Path) -> Store:
    """A store in which every trial of a sweep has finished: later seeds and later steps are
    better.
    """
    store = Store(root)
    variants = [variant.label for variant in spec.road]
    for trial in survey(spec, store).specs:
        place = variants.index(trial.variant_label)
        value = 70.0 + trial.seed + place * (1 + trial.seed % 3)
        metrics = {"val/acc1": value, "val/loss": 1 / value}
        directory = store.directory(trial)
        directory.write_trial(trial, {})
        content = {"metrics": metrics, "best": metrics, "seconds": 1.0}
        directory.write_result(Outcome.FINISHED, content)
    return store
