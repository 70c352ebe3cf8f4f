"""Times `orchestrator plan`, `status`, `report` and `sync` on an invented store of many finished
trials.

    python benchmarks/large_store.py --trials 1000 10000 --times 3 [--keep FOLDER]

Writes `benchmarks/results/large_store.md`. The trials are those of a user training that costs
nothing; their files are written by the store itself, without waiting for the disk. Each `sync`
makes the whole view, database and all. With `--keep` the stores stay, so that two versions of the
code can be timed on the same files.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.outcomes import Outcome
from orchestrator.planning.survey import survey
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import MetricsLog, Store

COMMANDS = ("plan", "status", "report", "sync")
RESULTS = Path(__file__).parent / "results" / "large_store.md"
STEPS = 9
"""Beside the baseline."""
EPOCHS = 10

TRAINING = """
def train(*, width: int = 1, iterations: int = 10, seed, log_metrics):
    return {"val/x": float(width + seed)}
"""


def main() -> int:
    """Run the benchmark; returns the exit code."""
    arguments = _parse()
    rows = []
    with TemporaryDirectory(prefix="large-store-") as scratch:
        for trials in arguments.trials:
            folder = (arguments.keep or Path(scratch)) / str(trials)
            spec = _invent(folder, trials)
            for command in COMMANDS:
                timed = [_timed(command, spec, folder / "runs") for _ in range(arguments.times)]
                rows.append(_row(trials, command, timed))
                print(rows[-1], flush=True)
    RESULTS.write_text("\n".join([*_head(arguments.times), *rows]) + "\n")
    return 0


def _head(times: int) -> list[str]:
    return [
        "# Commands on large stores",
        "",
        (
            f"A sweep of {STEPS + 1} variants with {EPOCHS} epochs a trial, all finished, on "
            f"{os.cpu_count()} cores"
        ),
        (
            f"(`python benchmarks/large_store.py`); {times} runs of each, the median and in "
            "brackets the range. `sync` makes the"
        ),
        (
            "whole view, from no database. Seconds of CPU are those of the command, user and "
            "system; on the clock it also waited"
        ),
        "for the disk and for whatever else ran: on average",
        f"{os.getloadavg()[2]:.1f} processes wanted the {os.cpu_count()} cores.",
        "",
        "| trials | command | s of CPU | s on the clock |",
        "|--:|---|--:|--:|",
    ]


def _row(trials: int, command: str, timed: list[tuple[float, float]]) -> str:
    cells = [_middle(list(values)) for values in zip(*timed, strict=True)]
    return f"| {trials:,} | `{command}` | {' | '.join(cells)} |"


def _middle(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


def _invent(folder: Path, trials: int) -> Path:
    """A spec and its store, unless they are there."""
    spec = folder / "large.yaml"
    if spec.exists():
        return spec
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "large.py").write_text(TRAINING)
    steps = "\n".join(
        f"  - {{name: step{n}, change: {{train.width: {n + 1}}}}}" for n in range(1, STEPS + 1)
    )
    seeds = list(range(trials // (STEPS + 1)))
    head = "name: large\nmetric: {name: val/x, mode: max}\n"
    head += f"seeds: {seeds}\nbaseline: {{train: {{name: 'large:train', width: 1}}}}\n"
    spec.write_text(f"{head}steps:\n{steps}\n")
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # nothing here is worth a wait
    loaded, store = load_spec(spec), Store(folder / "runs")
    store.prepare(loaded.name)
    for trial in survey(loaded, store).specs:
        directory = store.directory(trial)
        directory.write_trial(trial, {"python": "3", "packages": {}, "git_commit": None})
        number = directory.start_attempt("invented", {"host": "here", "pid": 1})
        log = MetricsLog(directory)
        metrics = {"val/x": 1.0, "train/loss": 0.5, "time/epoch_seconds": 0.1}
        for epoch in range(1, EPOCHS + 1):
            log(metrics, epoch)
        content = {"attempts": number, "metrics": metrics, "best": {}, "best_epoch": 0}
        content |= {"iterations": EPOCHS, "epochs": 0, "params": None, "seconds": 1.0}
        content |= {"peak_memory_bytes": 1_000_000}
        directory.write_result(Outcome.FINISHED, content)
        directory.end_attempt(number, Outcome.FINISHED)
    return spec


def _timed(name: str, spec: Path, store: Path) -> tuple[float, float]:
    """Seconds of CPU, which other work on the machine changes less, and on the clock."""
    if name == "sync":
        shutil.rmtree(store / "mlartifacts", ignore_errors=True)
        for path in store.glob("mlflow.db*"):
            path.unlink()
    command = [sys.executable, "-m", "orchestrator", name, str(spec), "--store", str(store)]
    before, began = os.times(), time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4]), time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
