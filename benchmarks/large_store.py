"""Times `orchestrator plan` on an invented store of many finished trials.

    python benchmarks/large_store.py --trials 1000 10000 --times 3 [--keep FOLDER]

The trials are those of a user training that costs nothing; their files are written by the store itself, without waiting for
the disk. With `--keep` the stores stay, so that two versions of the code can be timed on the same files.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.planning.survey import survey
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import MetricsLog, Store
from orchestrator.trial import Outcome

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
    with TemporaryDirectory(prefix="large-store-") as scratch:
        for trials in arguments.trials:
            folder = (arguments.keep or Path(scratch)) / str(trials)
            spec = _invent(folder, trials)
            seconds = sorted(_timed(spec, folder / "runs") for _ in range(arguments.times))
            middle = statistics.median(seconds)
            spread = f"{seconds[0]:.2f} to {seconds[-1]:.2f}"
            print(f"{trials:6d} trials: {middle:.2f} s of CPU ({spread})", flush=True)
    return 0


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


def _timed(spec: Path, store: Path) -> float:
    """Seconds of CPU, which other work on the machine changes less than those of the clock."""
    command = [sys.executable, "-m", "orchestrator", "plan", str(spec), "--store", str(store)]
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


if __name__ == "__main__":
    sys.exit(main())
