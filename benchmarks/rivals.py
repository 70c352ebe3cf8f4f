"""Starts several drivers at once: eight on one sweep, and two on sweeps that ask for the same
trainings.

    python benchmarks/rivals.py --rounds 10

Of eight on one sweep one works and seven end with exit code 3 and say who it is. Of two sweeps both
end with all results, and no training is done twice. Exits with 1 and names the rounds where that
does not hold.
"""

import argparse
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from storm import LOCAL, command, finished_twice, fork, hurry, prepare, results_of, wait, warm_up

DRIVERS = 8
SECONDS = 180.0


def main() -> int:
    """Run the rounds; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    problems: list[str] = []
    with TemporaryDirectory(prefix="rivals-") as folder:
        scratch = Path(folder)
        warm_up(scratch)
        for number in range(arguments.rounds):
            for kind in (_eight_on_one_sweep, _two_sweeps):
                store = scratch / "case"
                problems += [f"round {number}: {what}" for what in kind(scratch, store, counts)]
                shutil.rmtree(store)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


def _eight_on_one_sweep(scratch: Path, store: Path, counts: Counter[str]) -> Iterator[str]:
    spec = prepare(scratch)
    logs = [scratch / f"log{number}" for number in range(DRIVERS)]
    began = time.monotonic()
    pids = [fork(lambda: _run(spec, store), log) for log in logs]
    ended = [wait(pid, log, SECONDS) for pid, log in zip(pids, logs, strict=True)]
    counts["rounds of eight"] += 1
    codes = Counter(one.code for one in ended)
    counts["refused"] += codes[3]
    if set(codes) - {0, 3} or not codes[0]:
        yield f"exit codes {dict(codes)} after {time.monotonic() - began:.0f} s"
    for one in ended:
        if one.has_traceback or (one.code == 3 and "is being worked on by process" not in one.text):
            yield one.text[-300:]
    yield from (f"{name} was finished twice" for name in finished_twice(store))


def _two_sweeps(scratch: Path, store: Path, counts: Counter[str]) -> Iterator[str]:
    specs = [prepare(scratch, name) for name in ("one", "two")]
    logs = [scratch / f"log{number}" for number in range(2)]
    pids = [
        fork(lambda spec=spec: _run(spec, store), log)  # type: ignore[misc]
        for spec, log in zip(specs, logs, strict=True)
    ]
    ended = [wait(pid, log, SECONDS) for pid, log in zip(pids, logs, strict=True)]
    counts["rounds of two sweeps"] += 1
    for one in ended:
        if one.code != 0 or one.has_traceback:
            yield f"ended with {one.code}: {one.text[-300:]}"
    trained = [name.rpartition("-")[2] for name in results_of(store)]
    counts["trainings of two sweeps"] += len(trained)
    if sorted(trained) != sorted(set(trained)) or len(trained) != 4:
        yield f"trained: {trained}"


def _run(spec: Path, store: Path) -> int:
    hurry()
    return command("run", spec, "--store", store, *LOCAL)


if __name__ == "__main__":
    sys.exit(main())
