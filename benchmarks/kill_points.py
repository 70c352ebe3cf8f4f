"""Kills a driver at its file operations, gives the same command again, and compares with a run that nobody disturbed.

    python benchmarks/kill_points.py --points 300 --seed 0 [--kills 3]

A point is an operation on the store (`file_operations`) and whether the kill falls before it, in its middle or after it. With
`--kills` the command that follows is killed as well, so often. At the end there must be the same results and curves, nothing
finished twice, and no temporary file. Exits with 1 and names the points where that does not hold.
"""

import argparse
import os
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from file_operations import PLACES, Operations
from storm import (
    LOCAL,
    Ended,
    command,
    curves_of,
    finished_twice,
    fork,
    hurry,
    litter_of,
    prepare,
    results_of,
    run_command,
    wait,
    warm_up,
)

SECONDS = 120.0


def main() -> int:
    """Run the storm; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--kills", type=int, default=1, help="of one command after the other")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="kill-points-") as folder:
        counts, problems = storm(Path(folder), arguments.points, arguments.kills, arguments.seed)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


def storm(scratch: Path, points: int, kills: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Counts of what was tried, and what went wrong."""
    warm_up(scratch)
    spec, calm = prepare(scratch), scratch / "calm"
    operations = count_operations(scratch, spec, calm)
    dice = random.Random(seed)
    every = [(at, place) for at in range(1, operations + 1) for place in PLACES]
    chosen = dice.sample(every, min(points, len(every)))
    counts: Counter[str] = Counter(points=len(chosen), operations=operations)
    problems: list[str] = []
    for at, place in chosen:
        store = scratch / "case"
        first = _killed_at(scratch, spec, store, at, place)
        counts["kills"] += first.code == -signal.SIGKILL
        for _ in range(kills - 1):
            more = _killed_at(
                scratch, spec, store, dice.randint(1, operations), dice.choice(PLACES)
            )
            counts["kills"] += more.code == -signal.SIGKILL
        last = run_command(scratch / "log", SECONDS, "run", spec, "--store", store, *LOCAL)
        found = differences(store, calm, last)
        problems += [f"{place} operation {at}: {what}" for what in found]
        shutil.rmtree(store)
    return counts, problems


def count_operations(scratch: Path, spec: Path, store: Path) -> int:
    """Operations of an undisturbed run."""
    log, result = scratch / "log", scratch / "operations"

    def act() -> int:
        hurry()
        operations = Operations(store, lambda: None, 0, "before")
        operations.watch()
        code = command("run", spec, "--store", store, *LOCAL)
        result.write_text(str(operations.count))
        return code

    ended = wait(fork(act, log), log, SECONDS)
    assert ended.code == 0, ended.text
    return int(result.read_text())


def differences(store: Path, calm: Path, last: Ended) -> list[str]:
    """What is not as in the undisturbed store after the last command."""
    problems = []
    if last.code != 0 or last.has_traceback:
        problems.append(f"the last run ended with {last.code}: {last.text[-300:]}")
    if results_of(store) != results_of(calm):
        problems.append("results differ")
    if curves_of(store) != curves_of(calm):
        problems.append("curves differ")
    problems += [f"{name} was finished twice" for name in finished_twice(store)]
    problems += [f"left behind: {name}" for name in litter_of(store)]
    return problems


def _killed_at(scratch: Path, spec: Path, store: Path, at: int, place: str) -> Ended:
    log = scratch / "log"

    def act() -> int:
        hurry()
        kill = Operations(store, lambda: os.kill(os.getpid(), signal.SIGKILL), at, place)
        kill.watch()
        return command("run", spec, "--store", store, *LOCAL)

    return wait(fork(act, log), log, SECONDS)


if __name__ == "__main__":
    sys.exit(main())
