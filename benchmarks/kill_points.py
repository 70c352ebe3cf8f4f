"""Kills a driver at its file operations, gives the same command again, and compares with a run that
nobody disturbed.

    python benchmarks/kill_points.py --points 300 --seed 0 [--kills 3] [--of measure]

A point is an operation on the store (`file_operations`) and whether the kill falls before it, in
its middle or after it. With `--kills` the command that follows is killed as well, so often. At the
end there must be the same results and curves, nothing finished twice, and no temporary file. The
command is `run` or, with `--of measure`, `measure` on a store whose networks are trained: then
there must be the same measurements. Exits with 1 and names the points where that does not hold.
"""

import argparse
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    measured_in,
    prepare,
    prepare_networks,
    results_of,
    run_command,
    wait,
    warm_up,
)

SECONDS = 120.0


@dataclass(frozen=True)
class Command:
    """A command that is killed, and what there is before it is given."""

    name: str
    prepare: Callable[[Path], Path]
    """Writes the files of a sweep into a folder and returns the spec's path."""
    before: Sequence[str] = ()
    """Commands that are given first and in peace."""


COMMANDS = {
    "run": Command("run", prepare),
    "measure": Command("measure", prepare_networks, before=("run",)),
}


def main() -> int:
    """Run the storm; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--kills", type=int, default=1, help="of one command after the other")
    parser.add_argument("--of", choices=sorted(COMMANDS), default="run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="kill-points-") as folder:
        case = Case(Path(folder), COMMANDS[arguments.of])
        counts, problems = storm(case, arguments.points, arguments.kills, arguments.seed)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


class Case:
    """A command on one store after the other, each as it is before the command is given."""

    def __init__(self, scratch: Path, asked: Command) -> None:
        self.asked = asked
        self.scratch = scratch
        self.log = scratch / "log"
        self.calm, self.store = scratch / "calm", scratch / "case"
        self._before = scratch / "before"
        warm_up(scratch)
        self.spec = asked.prepare(scratch)
        for name in asked.before:
            self.command(name, self._before)
        if self._before.exists():  # a run measures as well
            for found in self._before.glob("*/trials/*/measures"):
                shutil.rmtree(found)

    def begin(self, store: Path) -> None:
        """Bring the store to where it is before the command."""
        shutil.rmtree(store, ignore_errors=True)
        if self._before.exists():
            shutil.copytree(self._before, store)

    def command(self, name: str, store: Path) -> Ended:
        """Give the command in peace."""
        return run_command(self.log, SECONDS, name, self.spec, "--store", store, *LOCAL)

    def count_operations(self) -> int:
        """Operations of an undisturbed command, which leaves the calm store behind."""
        self.begin(self.calm)
        return count_operations(self.scratch, self.spec, self.calm, self.asked.name)

    def killed_at(self, at: int, place: str) -> bool:
        """Give the command and kill it; tells whether it had not ended before."""

        def act() -> int:
            hurry()
            kill = Operations(self.store, lambda: os.kill(os.getpid(), signal.SIGKILL), at, place)
            kill.watch()
            return command(self.asked.name, self.spec, "--store", self.store, *LOCAL)

        return wait(fork(act, self.log), self.log, SECONDS).code == -signal.SIGKILL


def storm(case: Case, points: int, kills: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Counts of what was tried, and what went wrong."""
    operations = case.count_operations()
    dice = random.Random(seed)
    every = [(at, place) for at in range(1, operations + 1) for place in PLACES]
    chosen = dice.sample(every, min(points, len(every)))
    counts: Counter[str] = Counter(points=len(chosen), operations=operations)
    problems: list[str] = []
    for at, place in chosen:
        case.begin(case.store)
        counts["kills"] += case.killed_at(at, place)
        for _ in range(kills - 1):
            counts["kills"] += case.killed_at(dice.randint(1, operations), dice.choice(PLACES))
        last = case.command(case.asked.name, case.store)
        found = differences(case.store, case.calm, last)
        problems += [f"{place} operation {at}: {what}" for what in found]
    return counts, problems


def count_operations(scratch: Path, spec: Path, store: Path, name: str = "run") -> int:
    """Operations of an undisturbed command on the store."""
    log, result = scratch / "log", scratch / "operations"

    def act() -> int:
        hurry()
        operations = Operations(store, lambda: None, 0, "before")
        operations.watch()
        code = command(name, spec, "--store", store, *LOCAL)
        result.write_text(str(operations.count))
        return code

    ended = wait(fork(act, log), log, SECONDS)
    assert ended.code == 0, ended.text
    return int(result.read_text())


def differences(store: Path, calm: Path, last: Ended) -> list[str]:
    """Describe all that is not as in the undisturbed store after the last command."""
    problems = []
    if last.code != 0 or last.has_traceback:
        problems.append(f"the last command ended with {last.code}: {last.text[-300:]}")
    if results_of(store) != results_of(calm):
        problems.append("results differ")
    if curves_of(store) != curves_of(calm):
        problems.append("curves differ")
    if measured_in(store) != measured_in(calm):
        problems.append("measurements differ")
    problems += [f"{name} was finished twice" for name in finished_twice(store)]
    problems += [f"left behind: {name}" for name in litter_of(store)]
    return problems


if __name__ == "__main__":
    sys.exit(main())
