"""Cost of the view in MLflow: a thousand finished trials mirrored into SQLite, and one trial
more when many are there.

    python benchmarks/tracking.py    # writes benchmarks/results/tracking.{json,md}, a few minutes

The store is made up: trials of 100 epochs, or of one, with 10 metrics each, as files like those of
a real sweep of 10 variants. The mirror is the one that `run` and `sync` call, on an empty database
whose tables are there already.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store
from orchestrator.tracking import MlflowMirror, default_tracking_uri
from orchestrator.tracking.database import prepare_database
from orchestrator.trial import TrialSpec

RESULTS = Path(__file__).parent / "results"
TRIALS, EPOCHS, METRICS, VARIANTS = 1000, 100, 10, 10
SIZES = ((10, EPOCHS), (1000, EPOCHS), (10, 1), (100, 1), (1000, 1), (10_000, 1))
"""Trials that are mirrored already when one more comes, and their epochs."""
FURTHER = 20
"""Trials that come one by one."""
BEGAN = 1_700_000_000.0


@dataclass(frozen=True)
class Figure:
    """One measurement."""

    what: str
    seconds: float
    cpu_seconds: float
    note: str = ""


def main() -> None:
    """Measure everything and write the results."""
    parser = argparse.ArgumentParser(description="Seconds that mirroring into MLflow takes.")
    parser.add_argument("--trials", type=int, default=TRIALS, help="a multiple of 10")
    trials = parser.parse_args().trials
    figures = []
    with TemporaryDirectory(prefix="tracking-") as scratch:
        figures += whole_sweep(Path(scratch, "whole"), trials)
        figures += [
            one_more(Path(scratch, f"after-{size}-{epochs}"), size, epochs)
            for size, epochs in SIZES
            if size <= 10 * trials
        ]
    versions = {name: version(name) for name in ("mlflow", "sqlalchemy")} | {
        "python": platform.python_version()
    }
    RESULTS.mkdir(exist_ok=True)
    content = {"metrics": METRICS, "cores": os.cpu_count(), "versions": versions}
    (RESULTS / "tracking.json").write_text(
        json.dumps(content | {"figures": [asdict(f) for f in figures]}, indent=2) + "\n"
    )
    text = to_markdown(figures)
    (RESULTS / "tracking.md").write_text(text)
    print(text)


def whole_sweep(folder: Path, count: int) -> list[Figure]:
    """Mirror a finished sweep, and mirror it again when nothing changed, as a fresh process
    would.
    """
    spec, trials, store = invent(folder, count, EPOCHS)
    prepare_database(default_tracking_uri(store))
    before = resident_mib()
    first, again = (
        seconds_of(MlflowMirror(default_tracking_uri(store), spec, trials, store), None)
        for _ in range(2)
    )
    points = count * EPOCHS * METRICS
    size = sum(path.stat().st_size for path in folder.rglob("mlflow.db*")) / 2**20
    return [
        Figure(
            f"{count:,} trials, {points:,} points, into an empty database",
            *first,
            f"database {size:.0f} MiB",
        ),
        Figure(
            "the same again: nothing changed",
            *again,
            f"process grew by {resident_mib() - before:.0f} MiB at most",
        ),
    ]


def one_more(folder: Path, count: int, epochs: int) -> Figure:
    """The driver's cost of one further finished trial: the median of some."""
    spec, trials, store = invent(folder, count, epochs, further=FURTHER)
    prepare_database(default_tracking_uri(store))
    mirror = MlflowMirror(default_tracking_uri(store), spec, trials, store)
    mirror.sync(trials[:count])
    times = []
    for index in range(count, count + FURTHER):
        write_trial(store, trials, index, epochs)
        times.append(seconds_of(mirror, [trials[index]]))
    wall, cpu = zip(*times, strict=True)
    what = f"one trial more of {epochs * METRICS:,} points, {count:,} there already"
    return Figure(what, statistics.median(wall), statistics.median(cpu))


def seconds_of(mirror: MlflowMirror, trials: Sequence[TrialSpec] | None) -> tuple[float, float]:
    """Time the mirroring of some trials or all, on the clock and of this process."""
    started, began = time.perf_counter(), time.process_time()
    mirror.sync(trials)
    return time.perf_counter() - started, time.process_time() - began


def invent(
    folder: Path, count: int, epochs: int, further: int = 0
) -> tuple[SweepSpec, list[TrialSpec], Store]:
    """A store with the files of so many finished trials, of a sweep that has some more."""
    folder.mkdir(parents=True)
    text = {
        "name": "invented",
        "seeds": list(range((count + further) // VARIANTS)),
        "baseline": {
            "model": {"name": "vit_digits"},
            "data": {"name": "digits"},
            "train": {"epochs": epochs, "batch_size": 64, "lr": 0.001},
        },
        "steps": [
            {"name": f"step{index}", "change": {"train.lr": 0.002 + index / 1e6}}
            for index in range(VARIANTS - 1)
        ],
    }
    path = folder / "invented.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    spec, store = load_spec(path), Store(folder / "runs")
    trials = trials_of(spec, lambda data: "sha256:" + "0" * 64)
    store.prepare(spec.name)
    store.submit(spec.name, spec.content)
    for index in range(count):
        write_trial(store, trials, index, epochs)
    return spec, trials, store


def write_trial(store: Store, trials: Sequence[TrialSpec], index: int, epochs: int) -> None:
    """The files of a finished trial, without the waiting for the disk that a real one has."""
    trial, began = trials[index], BEGAN + 60 * index
    directory = store.directory(trial)
    directory.path.mkdir()
    lines = [
        {"iteration": 21 * epoch, "time": began + epoch / 2, "metrics": metrics(epoch, trial.seed)}
        for epoch in range(1, epochs + 1)
    ]
    last = {"outcome": "finished", "time": began + epochs / 2}
    start = {
        "event": "start",
        "attempt": 1,
        "session": "invented",
        "host": "invented",
        "pid": 1,
        "time": began,
    }
    about = {
        "format": 1,
        **trial.to_json(),
        "provenance": {"packages": {}, "git_commit": None, "git_diff": None},
    }
    final = {
        "metrics": lines[-1]["metrics"],
        "best": lines[-1]["metrics"],
        "params": 100_000,
        "seconds": 50.0,
        "attempts": 1,
    }
    write_lines(directory.path / "trial.json", [about])
    write_lines(
        directory.attempts_path, [start, {"event": "end", "attempt": 1, "cause": None, **last}]
    )
    write_lines(directory.metrics_path, lines)
    write_lines(directory.result_path, [{"format": 1, **last, **final}])


def metrics(epoch: int, seed: int) -> dict[str, float]:
    """Curves that go up, one a little above the other."""
    value = 90.0 - 80.0 / epoch + seed / 7
    return {"epoch": float(epoch), "val/acc1": value} | {
        f"train/metric{n}": value + n for n in range(METRICS - 2)
    }


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    """Write each value as a line of JSON."""
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def resident_mib() -> float:
    """The most memory that this process has had."""
    kib_or_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib_or_bytes / (2**20 if sys.platform == "darwin" else 2**10)


def to_markdown(figures: Sequence[Figure]) -> str:
    """The figures as a table."""
    lines = [
        "# Cost of the view in MLflow",
        "",
        (
            f"Trials with {METRICS} metrics an epoch, {VARIANTS} variants, into SQLite, on "
            f"{os.cpu_count()} cores"
        ),
        f"(`python benchmarks/tracking.py`). One trial more: the median of {FURTHER}.",
        "",
        "| what | seconds | of CPU | |",
        "|---|--:|--:|---|",
    ]
    return (
        "\n".join(
            [
                *lines,
                *(
                    f"| {f.what} | {f.seconds:.3g} | {f.cpu_seconds:.3g} | {f.note} |"
                    for f in figures
                ),
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
