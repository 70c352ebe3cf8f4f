"""Stops a driver at its file operations, lets another take the sweep over, and wakes the first.

    python benchmarks/sleep.py --points 100 --seed 0

The lease is shortened to a second. The first driver is stopped (SIGSTOP) at an operation on the
store, the second is started once the lease has expired, and when it has ended the first goes on
(SIGCONT). Then: the first ends with exit code 3 and says who came, or it had ended its work
already; nothing is finished twice, no curve has a point twice, results are those of an undisturbed
run. Where the first slept with a lock in its hand the second says so instead of waiting, and a
third run ends it. Exits with 1 and names the points where that does not hold.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from file_operations import PLACES, Operations
from kill_points import count_operations
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
    wait,
    warm_up,
)

EXPIRY = 1.0
SECONDS = 120.0


def main() -> int:
    """Run the storm; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="sleep-") as folder:
        counts, problems = storm(Path(folder), arguments.points, arguments.seed)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


def storm(scratch: Path, points: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Counts of what was tried, and what went wrong."""
    warm_up(scratch)
    spec, calm = prepare(scratch), scratch / "calm"
    operations = count_operations(scratch, spec, calm)
    dice = random.Random(seed)
    every = [(at, place) for at in range(1, operations + 1) for place in PLACES]
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for at, place in dice.sample(every, min(points, len(every))):
        store = scratch / "case"
        found = list(_sleep_at(scratch, spec, store, (at, place), counts))
        if results_of(store) != results_of(calm):
            found.append("results differ")
        if curves_of(store) != curves_of(calm):
            found.append(f"curves differ: {curves_of(store)}")
        found += [f"{name} was finished twice" for name in finished_twice(store)]
        found += [f"left behind: {name}" for name in litter_of(store)]
        problems += [f"{place} operation {at}: {what}" for what in found]
        shutil.rmtree(store)
    return counts, problems


def _sleep_at(
    scratch: Path, spec: Path, store: Path, point: tuple[int, str], counts: Counter[str]
) -> Iterator[str]:
    """List what goes wrong with the drivers themselves."""
    logs = [scratch / f"log{number}" for number in range(3)]
    run = ("run", spec, "--store", store, *LOCAL)
    sleeper = fork(lambda: _run_and_stop(store, point, run), logs[0])
    counts["points"] += 1
    if not _has_stopped(sleeper):
        counts["ended before the point"] += 1
        return
    time.sleep(1.5 * EXPIRY)
    second = wait(fork(lambda: _run(run), logs[1]), logs[1], SECONDS)
    os.kill(sleeper, signal.SIGCONT)
    first = wait(sleeper, logs[0], SECONDS)
    counts[f"first ended with {first.code}"] += 1
    counts[f"second ended with {second.code}"] += 1
    yield from _wrong_words("the first", first)
    yield from _wrong_words("the second", second)
    if second.code == 3 and "has been locked for" not in second.text:
        yield f"the second was refused: {second.text[-300:]}"
    if second.code == 0 and first.code == 3 and "taken over" not in first.text:
        yield f"the first does not say who came: {first.text[-300:]}"
    third = wait(fork(lambda: _run(run), logs[2]), logs[2], SECONDS)
    if third.code != 0:
        yield f"the third ended with {third.code}: {third.text[-300:]}"


def _wrong_words(who: str, ended: Ended) -> Iterator[str]:
    if ended.code not in (0, 3) or ended.has_traceback:
        yield f"{who} ended with {ended.code}: {ended.text[-400:]}"


def _run(arguments: tuple[object, ...]) -> int:
    hurry(EXPIRY)
    return command(*arguments)


def _run_and_stop(store: Path, point: tuple[int, str], arguments: tuple[object, ...]) -> int:
    hurry(EXPIRY)
    Operations(store, lambda: os.kill(os.getpid(), signal.SIGSTOP), *point).watch()
    return command(*arguments)


def _has_stopped(pid: int) -> bool:
    """Wait until the process is stopped, or has ended."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    return os.WIFSTOPPED(status)


if __name__ == "__main__":
    sys.exit(main())
