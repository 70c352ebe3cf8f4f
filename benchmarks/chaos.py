"""Hurts a sweep at random moments, starts it again by the same command until it is done, and checks
that nothing was lost.

    python benchmarks/chaos.py sweeps/llamafy.yaml --kills 20 --seed 0 [--cluster]
                               [--faults driver worker ...]

Faults: `driver`, `worker`, `raylet` are killed with SIGKILL; `torn` kills the driver and cuts or
flips bits of a checkpoint; `full` fills the disk below the store (a small one in memory, which
takes root); `tracking` kills the MLflow server for some seconds. With `--cluster` the sweep runs on
three Ray nodes on this machine, and there are `node`, which goes with all that runs on it while
another comes, and `head`, which takes the cluster with it. Drivers that a fault must not end have
to live through it, and what finds nothing to hit is not counted. Afterwards the same spec is run
undisturbed in a second store, and the two are compared: every trial done once, no finished trial
begun again, metrics bit for bit the same (seconds and system load apart), one MLflow run for each
trial with every point once. Seeded: a failure is replayed with the same faults in the same order.
Exits with 1 and says what differs.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faults import (
    EVERYWHERE,
    FAULTS,
    ON_A_CLUSTER,
    ON_ONE_MACHINE,
    SURVIVED,
    Process,
    Surroundings,
    kill_with_children,
)

from orchestrator.errors import counted
from orchestrator.store.files import read_json
from orchestrator.store.store import TrialDirectory

UNSTABLE = ("time/", "system/")
"""Metrics of the machine, not of the training."""


def main() -> int:
    """Run the harness; returns the exit code."""
    arguments = _parse()
    possible = (*EVERYWHERE, *(ON_A_CLUSTER if arguments.cluster else ON_ONE_MACHINE))
    chosen = arguments.faults or possible
    if strange := set(chosen) - set(possible):
        raise SystemExit(
            f"{', '.join(sorted(strange))}: not here; with this --cluster setting there are "
            f"{', '.join(possible)}"
        )
    with TemporaryDirectory(prefix="chaos-") as folder:
        scratch = Path(folder)
        with Surroundings(scratch, chosen, cluster=arguments.cluster) as place:
            started = time.monotonic()
            faults, problems = _disturb(arguments, chosen, place)
            seconds = time.monotonic() - started
            if code := place.driver(arguments.spec).wait():
                problems.append(f"the last run ended with exit code {code}")
            calm = scratch / "calm"
            _run_undisturbed(arguments.spec, calm)
            problems += [*_differences(place.store, calm), *_tracking_problems(place)]
        if problems:
            print((scratch / "driver.log").read_text(errors="replace")[-5000:], file=sys.stderr)
    counts = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
    print(
        f"{counted(sum(faults.values()), 'fault')} in {seconds:.0f} s ({counts}), seed "
        f"{arguments.seed}"
    )
    for problem in problems:
        print(f"WRONG: {problem}")
    print(
        "nothing lost, nothing done twice, same bits"
        if not problems
        else counted(len(problems), "problem")
    )
    return bool(problems)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cluster", action="store_true", help="on three Ray nodes on this machine")
    parser.add_argument(
        "--faults", nargs="+", choices=FAULTS, help="default: all that are possible"
    )
    parser.add_argument(
        "--within", type=float, default=20.0, help="seconds between two faults, at most"
    )
    return parser.parse_args()


def _disturb(
    arguments: argparse.Namespace, chosen: Sequence[str], place: Surroundings
) -> tuple[Counter[str], list[str]]:
    """Run and hurt until all faults are spent or the sweep is done; returns the faults and what
    went wrong meanwhile.
    """
    dice = random.Random(arguments.seed)
    faults: Counter[str] = Counter()
    problems: list[str] = []
    attempts_when_done: dict[str, int] = {}
    driver: Process | None = None
    while sum(faults.values()) < arguments.kills:
        driver = driver or place.driver(arguments.spec)
        fault = dice.choice(chosen)
        if not _lives(driver, dice.uniform(0.5, arguments.within)):
            if driver.returncode == 0:
                break
            problems.append(
                f"after {dict(faults)} the driver ended by itself with exit code "
                f"{driver.returncode}"
            )
            driver = None
            continue
        has_hit = place.strike(fault, driver, dice)
        faults[fault] += has_hit
        what = (
            f"fault {sum(faults.values())}: {fault}"
            if has_hit
            else f"{fault}: nothing there to hit yet"
        )
        print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)
        if has_hit and fault not in SURVIVED:
            driver = None
        problems += _begun_again(place.store, attempts_when_done)
    if driver:
        kill_with_children(driver, only_itself=True)
    return faults, problems


def _run_undisturbed(spec: Path, store: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "run",
        str(spec),
        "--store",
        str(store),
        "--no-tracking",
    ]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _lives(driver: Process, seconds: float) -> bool:
    """Tell whether the driver is still at work after that time."""
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _begun_again(store: Path, attempts_when_done: dict[str, int]) -> list[str]:
    """Trials that were done and got another attempt all the same."""
    problems = []
    for result in store.glob("*/trials/*/result.json"):
        name = result.parent.name
        attempts = sum(
            line["event"] == "start" for line in TrialDirectory(result.parent).attempts()
        )
        if attempts > attempts_when_done.setdefault(name, attempts):
            problems.append(f"{name} was done and began attempt {attempts}")
    return problems


def _differences(disturbed: Path, calm: Path) -> Iterator[str]:
    expected = {path.parent.name: path.parent for path in calm.glob("*/trials/*/trial.json")}
    found = {path.parent.name: path.parent for path in disturbed.glob("*/trials/*/trial.json")}
    yield from (
        f"trial {name} is in one store only" for name in sorted(expected.keys() ^ found.keys())
    )
    for name in sorted(expected.keys() & found.keys()):
        if not (found[name] / "result.json").exists():
            yield f"{name} has no result"
        elif _result(found[name]) != _result(expected[name]):
            yield f"{name} ended with other numbers than the undisturbed run"
        if _curve(found[name]) != _curve(expected[name]):
            yield f"the curves of {name} differ from those of the undisturbed run"


def _result(directory: Path) -> dict[str, Any]:
    result = read_json(directory / "result.json")
    return {
        key: _without_times(result[key])
        for key in ("outcome", "metrics", "best", "best_epoch", "iterations", "params")
    }


def _curve(directory: Path) -> Sequence[tuple[int, Any]]:
    return [
        (line["iteration"], _without_times(line["metrics"]))
        for line in TrialDirectory(directory).metrics()
    ]


def _without_times(value: Any) -> Any:
    return (
        {key: number for key, number in value.items() if not key.startswith(UNSTABLE)}
        if isinstance(value, dict)
        else value
    )


def _tracking_problems(place: Surroundings) -> Iterator[str]:
    from mlflow import MlflowClient

    client = MlflowClient(place.tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [
        run
        for run in client.search_runs(experiments, max_results=10_000)
        if "sweep.trial" in run.data.tags
    ]
    trials = Counter(run.data.tags["sweep.trial"] for run in runs)
    yield from (f"{trial} has {count} MLflow runs" for trial, count in trials.items() if count > 1)
    directories = {
        path.parent.name: path.parent for path in place.store.glob("*/trials/*/result.json")
    }
    if len(trials) != len(directories):
        yield f"MLflow shows {len(trials)} trials, the store {len(directories)}"
    for run in runs:
        directory = directories[
            f"{run.info.run_name.replace('/', '--')}-{run.data.tags['sweep.fingerprint'][:8]}"
        ]
        written = [line["iteration"] for line in TrialDirectory(directory).metrics()]
        shown = sorted(
            point.step for point in client.get_metric_history(run.info.run_id, "train/loss")
        )
        if shown != written:
            yield (
                f"{run.info.run_name} has {len(shown)} points of train/loss in MLflow and "
                f"{len(written)} in the store"
            )


if __name__ == "__main__":
    sys.exit(main())
