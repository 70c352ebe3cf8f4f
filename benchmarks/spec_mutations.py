"""Random mutations of the shipped specs: nothing but a plan or a message with its place.

    python benchmarks/spec_mutations.py [--count 20000] [--seed 0] [--processes 2]

A mutation changes the text (letters, lines, indentation) or the tree (values, keys) of a spec.
Whatever else is raised than what the command line explains is a failure, and so is a place outside
the file or a plan that takes longer than five seconds.

Each mutation is read inside one of a few processes, which import what specs name once, and planned
only where it was not refused. A mutation depends on its number and the seed alone, however many
processes there are.
"""

import argparse
import atexit
import copy
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from orchestrator.driver import plan_sweep
from orchestrator.errors import OrchestratorError, SpecError, UsageError
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import Store

ROOT = Path(__file__).parents[1]
SPECS = sorted([*ROOT.glob("sweeps/*.yaml"), *ROOT.glob("docs/*_*/*.yaml")])
MODULES = sorted(ROOT.glob("docs/*_*/*.py"))
"""That some of the specs name."""
LONGEST_SECONDS = 5.0
AT_ONCE = 250
"""Mutations that a process is given at a time."""
WEIRD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 10**6, 10**9, 10**18, 10**20, -(10**20), 0.0, -0.5, 0.5),
    *(1e-320, 1e30, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "<<", "[key]", "name", "value", "\x1b[31m", "\u202e", "é", "a" * 300, "1", "true"),
    *("roadmap", "orders", "factorial", "tpe", "grid", "collapse", "baseline", "model.depth"),
    *("module:function", "os:getcwd", ":", "a:b:c", "val/loss", "train/loss", "{}", "*x", "&x"),
    *([], {}, [None], [[]], [{}], {"": 1}, {"[key]": 1}, {"<<": 1}, {"name": 1}, {"a": {"b": []}}),
    *([0, 0], [1, True], [0] * 50, list(range(40)), {"low": 1, "high": 10**12}, {"start": 3}),
    *({"start": 2, "max": 10**9}, {"low": 1e-9, "high": 1e300, "log": True}, {"change": {}}),
    *({"space": {"model.depth": [1, 10**9]}, "sampler": "grid"}, {"orders": 10**9}),
    *({"space": {"train.lr": {"low": 1e-4, "high": 1e-2}}, "trials": 10**6}, {"trials": 3}),
]
LETTERS = "\"'{}[]:,#&*!|>%@`- \n\t?<~0123456789.eEabc\x00\x07\x85\ufeff\u2028é"


def main() -> None:
    """Mutate, print what is wrong, and end with 1 where anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    began = time.monotonic()
    counts: Counter[str] = Counter()
    failures = []
    for some, wrong in _spread(options.count, options.seed, options.processes):
        counts += some
        failures += wrong
        for failure in wrong:
            print(failure, file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    what = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    print(f"{options.count:,} mutations in {seconds:.0f} s: {what}; {len(failures)} failures")
    sys.exit(bool(failures))


def _spread(count: int, seed: int, processes: int) -> Iterator[tuple[Counter[str], list[str]]]:
    """Mutate in several processes, and yield counts and failures of a few hundred at a time."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=fresh) as pool:
        starts = range(0, count, AT_ONCE)
        parts = [range(start, min(start + AT_ONCE, count)) for start in starts]
        for done in as_completed([pool.submit(mutate, part, seed) for part in parts]):
            yield done.result()


def mutate(
    numbers: Iterable[int], seed: int, specs: Sequence[Path] = SPECS
) -> tuple[Counter[str], list[str]]:
    """Count the ends of the mutations of these numbers, and describe each that is a failure."""
    texts = [path.read_text("utf-8") for path in specs]
    counts: Counter[str] = Counter()
    failures = []
    path, store = _desk(tuple(texts))
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        content = _mutated(draw.choice(texts), draw)
        path.write_bytes(content)
        came_to, wrong = _read_and_plan(path, store)
        counts[came_to] += 1
        if wrong:
            failures.append(f"seed {seed}, mutation {number}: {wrong}\n")
    return counts, failures


@cache
def _desk(texts: tuple[str, ...]) -> tuple[Path, Store]:
    """Return the file that this process writes each spec to, and a store without results.

    What is imported for the first time is not what is measured: every spec is planned once.
    """
    folder = Path(tempfile.mkdtemp(prefix="spec-mutations-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path, store = folder / "spec.yaml", Store(folder / "runs")
    for module in MODULES:
        shutil.copy(module, folder)
    for text in texts:
        path.write_text(text, "utf-8")
        plan_sweep(load_spec(path), store)
    return path, store


def content_of(number: int, seed: int = 0) -> bytes:
    """The spec of one mutation, to look at."""
    draw = random.Random(f"{seed} {number}")
    return _mutated(draw.choice([path.read_text("utf-8") for path in SPECS]), draw)


def _read_and_plan(path: Path, store: Store) -> tuple[str, str | None]:
    """Return the end of a spec in a word, and the fault in that, or None."""
    began = time.process_time()  # others may be at work on this machine, too
    try:
        with _at_most(12 * LONGEST_SECONDS):
            plan_sweep(load_spec(path), store).to_json()
        came_to, wrong = "plans", None
    except SpecError as error:
        came_to, wrong = "spec errors", _wrong_places(error, path)
    except UsageError:
        came_to, wrong = "usage errors", None
    except OrchestratorError as error:
        came_to, wrong = "other errors", f"{type(error).__name__}: {error}"
    except BaseException as error:  # that is what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        came_to, wrong = "tracebacks", traceback.format_exc(limit=-6)
    seconds = time.process_time() - began
    if seconds > LONGEST_SECONDS and not wrong:
        return "slow", f"took {seconds:.1f} s"
    return came_to, wrong


def _wrong_places(error: SpecError, path: Path) -> str | None:
    """The first problem whose place is not in the file, or that says nothing."""
    text = path.read_bytes().decode("utf-8-sig", "replace")
    lines = [*text.replace("\r\n", "\n").splitlines(), ""]
    for problem in error.problems:
        inside = 1 <= problem.line <= len(lines) + 1 and problem.column >= 1
        if inside and problem.line <= len(lines):
            inside = problem.column <= len(lines[problem.line - 1]) + 2
        if not inside or not problem.message.strip():
            return f"place outside of the file: {problem}"
    return None


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises `TimeoutError` inside."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _mutated(text: str, draw: random.Random) -> bytes:
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        text = draw.choice([_in_the_text, _in_the_lines, _in_the_tree, _in_the_tree])(text, draw)
    return text.encode("utf-8", "surrogatepass")


def _in_the_text(text: str, draw: random.Random) -> str:
    at, end = sorted(draw.choices(range(len(text) + 1), k=2))
    end = min(end, at + draw.randrange(6))
    return text[:at] + "".join(draw.choices(LETTERS, k=draw.randrange(4))) + text[end:]


def _in_the_lines(text: str, draw: random.Random) -> str:
    lines = text.split("\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[other])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] = draw.choice(["", " ", "  ", "    "]) + lines[at].lstrip(" ")
    return "\n".join(lines)


def _in_the_tree(text: str, draw: random.Random) -> str:
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    places = list(_places(tree))
    if not places:
        return text
    parent, key = draw.choice(places)
    changes: list[Callable[[], object]] = [
        lambda: parent.__setitem__(key, copy.deepcopy(draw.choice(WEIRD))),
        lambda: parent.__setitem__(key, copy.deepcopy(draw.choice(WEIRD))),
        lambda: parent.__delitem__(key),
        lambda: _add(parent, draw),
    ]
    draw.choice(changes)()
    return yaml.dump(tree, sort_keys=False, allow_unicode=True)


def _add(parent: Any, draw: random.Random) -> None:
    value = copy.deepcopy(draw.choice(WEIRD))
    if isinstance(parent, list):
        parent.insert(draw.randrange(len(parent) + 1), value)
    else:
        names = [
            "search",
            "side",
            "design",
            "seeds",
            "regimes",
            "steps",
            "depth",
            "",
            "[key]",
            "<<",
        ]
        parent[draw.choice(names)] = value


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of the tree as its parent and its key there."""
    keys: Iterable[Any] = ()
    if isinstance(tree, list):
        keys = range(len(tree))
    if isinstance(tree, dict):
        keys = list(tree)
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


if __name__ == "__main__":
    main()
