"""Kills a sweep at random moments, starts it again by the same command until it is done, and checks that nothing was lost.

    python benchmarks/chaos.py sweeps/llamafy.yaml --kills 20 --seed 0

Faults: `driver`, `worker` and `raylet` are killed with SIGKILL; `torn` kills the driver and cuts or flips bits of a checkpoint.
Afterwards the same spec is run undisturbed in a second store, and the two are compared: every trial done once, no finished trial
begun again, metrics bit for bit the same (seconds apart), one MLflow run for each trial and each metric point once.
Seeded: a failure is replayed with the same faults in the same order. Exits with 1 and says what differs.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from orchestrator.files import read_json, read_json_lines

FAULTS = ("driver", "worker", "raylet", "torn")


def main() -> int:
    """Run the harness; returns the exit code."""
    arguments = _parse()
    with TemporaryDirectory(prefix="chaos-") as scratch:
        disturbed, calm = Path(scratch, "disturbed"), Path(scratch, "calm")
        started = time.monotonic()
        faults, redone = _disturb(arguments, disturbed)
        seconds = time.monotonic() - started
        _finish(arguments.spec, disturbed)
        _finish(arguments.spec, calm)
        problems = redone + list(_differences(disturbed, calm)) + list(_tracking_problems(disturbed))
    counts = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
    print(f"{sum(faults.values())} faults in {seconds:.0f} s ({counts}), seed {arguments.seed}")
    for problem in problems:
        print(f"WRONG: {problem}")
    print("nothing lost, nothing done twice, same bits" if not problems else f"{len(problems)} problems")
    return bool(problems)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--within", type=float, default=20.0, help="seconds from a driver's start within which a fault strikes")
    return parser.parse_args()


def _disturb(arguments: argparse.Namespace, store: Path) -> tuple[Counter[str], list[str]]:
    """Run and kill until all kills are spent or the sweep is done; returns the faults and what was done twice."""
    dice = random.Random(arguments.seed)
    faults: Counter[str] = Counter()
    redone: list[str] = []
    attempts_when_done: dict[str, int] = {}
    while sum(faults.values()) < arguments.kills:
        driver = _start(arguments.spec, store)
        fault = dice.choice(arguments.faults)
        if not _wait(driver, dice.uniform(0.5, arguments.within)):
            break
        faults[fault] += 1
        _strike(fault, driver, store, dice)
        if fault in ("driver", "torn", "raylet"):
            driver.wait()
        else:
            _wait(driver, dice.uniform(2.0, 6.0))
            _kill(driver)
        redone += _begun_again(store, attempts_when_done)
    return faults, redone


def _start(spec: Path, store: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "orchestrator", "run", str(spec), "--store", str(store)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait(driver: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether the driver is still at work after that time."""
    try:
        driver.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _strike(fault: str, driver: "subprocess.Popen[bytes]", store: Path, dice: random.Random) -> None:
    if fault == "worker":
        if workers := _processes(driver, "ray::"):
            dice.choice(workers).kill()
    elif fault == "raylet":
        for raylet in _processes(driver, "raylet"):
            raylet.kill()
        if _wait(driver, 5.0):
            _kill(driver)
    else:
        _kill(driver)
    if fault == "torn":
        _damage_a_checkpoint(store, dice)


def _kill(driver: "subprocess.Popen[bytes]") -> None:
    driver.send_signal(signal.SIGKILL)
    driver.wait()


def _processes(driver: "subprocess.Popen[bytes]", name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if name in command.split(" ")[0] and (name != "ray::" or "train" in command):
            found.append(process)
    return found


def _damage_a_checkpoint(store: Path, dice: random.Random) -> None:
    checkpoints = sorted(path for path in store.glob("*/trials/*/checkpoint.pt") if not (path.parent / "result.json").exists())
    if not checkpoints:
        return
    path = dice.choice(checkpoints)
    content = bytearray(path.read_bytes())
    if dice.random() < 0.5:
        content = content[: dice.randrange(len(content))]
    else:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def _begun_again(store: Path, attempts_when_done: dict[str, int]) -> list[str]:
    """Trials that were done and got another attempt all the same."""
    problems = []
    for result in store.glob("*/trials/*/result.json"):
        name = result.parent.name
        attempts = sum(line["event"] == "start" for line in read_json_lines(result.parent / "attempts.jsonl"))
        if attempts > attempts_when_done.setdefault(name, attempts):
            problems.append(f"{name} was done and began attempt {attempts}")
    return problems


def _finish(spec: Path, store: Path) -> None:
    code = _start(spec, store).wait()
    if code:
        raise SystemExit(f"the last run ended with exit code {code}")


def _differences(disturbed: Path, calm: Path) -> Iterator[str]:
    expected = {path.parent.name: path.parent for path in calm.glob("*/trials/*/trial.json")}
    found = {path.parent.name: path.parent for path in disturbed.glob("*/trials/*/trial.json")}
    yield from (f"trial {name} is in one store only" for name in sorted(expected.keys() ^ found.keys()))
    for name in sorted(expected.keys() & found.keys()):
        if not (found[name] / "result.json").exists():
            yield f"{name} has no result"
        elif _result(found[name]) != _result(expected[name]):
            yield f"{name} ended with other numbers than the undisturbed run"
        if _curve(found[name]) != _curve(expected[name]):
            yield f"the curves of {name} differ from those of the undisturbed run"


def _result(directory: Path) -> dict[str, Any]:
    result = read_json(directory / "result.json")
    return {key: _without_times(result[key]) for key in ("outcome", "metrics", "best", "best_epoch", "iterations", "params")}


def _curve(directory: Path) -> Sequence[tuple[int, Any]]:
    return [(line["iteration"], _without_times(line["metrics"])) for line in read_json_lines(directory / "metrics.jsonl")]


def _without_times(value: Any) -> Any:
    return {key: number for key, number in value.items() if not key.startswith("time/")} if isinstance(value, dict) else value


def _tracking_problems(store: Path) -> Iterator[str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=10_000)
    trials = Counter(run.data.tags["sweep.trial"] for run in runs if "sweep.trial" in run.data.tags)
    yield from (f"{trial} has {count} MLflow runs" for trial, count in trials.items() if count > 1)
    done = len(list(store.glob("*/trials/*/result.json")))
    if len(trials) != done:
        yield f"MLflow shows {len(trials)} trials, the store {done}"
    for run in runs:
        if "sweep.trial" in run.data.tags:
            steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, "train/loss"))
            yield from (f"{run.info.run_name} has a point twice at {step}" for step, count in steps.items() if count > 1)


if __name__ == "__main__":
    sys.exit(main())
