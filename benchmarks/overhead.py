"""Cost of a trial beside its training: this project and its peers, side by side, on trials that
do nothing or sleep a second.

    python benchmarks/overhead.py [--trials 20 200 1000] [--seconds 0] [--repeats 5]
                                  [--share 30] [--limit 180] [--add]

Every figure is the wall time of a whole fresh process, imports and the start of Ray included; the
contenders take turns, so that whatever else the machine does hits all. A size that, going by the
last ones, would take a contender longer than --limit is left out, and one that takes twice as long
all the same is ended; one that has had its --share of seconds is not repeated. `ms a further trial`
is the slope between a contender's two largest sizes, less the sleep; `ratio` compares it with the
first contender's. The peers need: pip install hydra-core optuna joblib. Figures go to
benchmarks/results/overhead.md and .json, those of trials that sleep a second to overhead_1s; with
--add to what is there already, as further sizes or contenders.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from contenders import CONTENDERS, ONE_AT_A_TIME, SLOTS

RESULTS = Path(__file__).parent / "results"
Times = dict[str, dict[int, list[float]]]
"""Contender -> number of trials -> wall seconds of each repeat."""


def main() -> None:
    """Time all contenders and write the table, or, with `--one`, be one of them."""
    arguments = _parse()
    if arguments.one:
        CONTENDERS[arguments.one](arguments.trials[0], arguments.seconds, arguments.scratch)
        return
    results = RESULTS / (
        "overhead.json" if arguments.seconds == 0 else f"overhead_{arguments.seconds:g}s.json"
    )
    times = _earlier(results) if arguments.add else {}
    for size in sorted(arguments.trials):
        for _ in range(arguments.repeats):
            for name in arguments.contenders:
                _time(times.setdefault(name, {}), name, size, arguments)
    times = {name: dict(sorted(times[name].items())) for name in CONTENDERS if name in times}
    report = {"seconds": arguments.seconds, "machine": _machine(), "times": times}
    results.write_text(json.dumps(report, indent=2) + "\n")
    results.with_suffix(".md").write_text(_table(times, arguments.seconds))
    print(_table(times, arguments.seconds))


def _earlier(results: Path) -> Times:
    """Raises `SystemExit` where they were taken on another machine or with other versions: they
    cannot stand in one table.
    """
    report = json.loads(results.read_text())
    if report["machine"] != _machine():
        raise SystemExit(
            f"{results} is of {report['machine']}; this is {_machine()}: run without --add"
        )
    return {
        name: {int(size): seconds for size, seconds in found.items()}
        for name, found in report["times"].items()
    }


def _time(
    times: dict[int, list[float]], name: str, size: int, arguments: argparse.Namespace
) -> None:
    """Add one run of a contender, where there is time for it."""
    if sum(times.get(size, [])) >= arguments.share or _expected(times, size) > arguments.limit:
        return
    taken = _wall_seconds(name, size, arguments.seconds, 2 * arguments.limit)
    if taken is not None:
        times.setdefault(size, []).append(taken)
    print(
        f"{name}: {size} trials {'ended' if taken is None else f'in {taken:.2f} s'}",
        file=sys.stderr,
        flush=True,
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trials", type=int, nargs="+", default=[20, 200, 1000], help="multiples of 10"
    )
    parser.add_argument("--seconds", type=float, default=0.0, help="that each trial sleeps")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--share",
        type=float,
        default=30.0,
        help="seconds after which a contender's size is not repeated",
    )
    parser.add_argument("--limit", type=float, default=180.0, help="seconds that one run may take")
    parser.add_argument("--add", action="store_true", help="to the figures that are there")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _wall_seconds(name: str, trials: int, seconds: float, limit: float) -> float | None:
    """None where it took longer than the limit. Raises `SystemExit` where it failed."""
    with TemporaryDirectory(prefix="overhead-", ignore_cleanup_errors=True) as scratch:
        command = [sys.executable, __file__, "--one", name, "--scratch", scratch]
        command += ["--trials", str(trials), "--seconds", str(seconds)]
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                child.kill()
            process.wait()
            return None
        taken = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{name} with {trials} trials failed:\n{out[-1000:]}{err[-2000:]}")
    return taken


def _expected(times: dict[int, list[float]], size: int) -> float:
    """Seconds that a run of this size will take: in proportion to one that is done, along the
    line through two.
    """
    if not times or size in times:
        return statistics.median(times.get(size, [0.0]))
    largest = max(times)
    seconds = statistics.median(times[largest])
    slope = _slope(times)
    return seconds * size / largest if slope is None else seconds + slope / 1000 * (size - largest)


def _slope(times: dict[int, list[float]]) -> float | None:
    """Milliseconds for each further trial."""
    if len(times) < 2:
        return None
    small, large = sorted(times)[-2:]
    return (
        1000 * (statistics.median(times[large]) - statistics.median(times[small])) / (large - small)
    )


def _table(times: Times, seconds: float) -> str:
    sizes = sorted({size for found in times.values() for size in found})
    slopes = {}
    for name, found in times.items():
        slope, sleep = _slope(found), 1000 * seconds / (1 if name in ONE_AT_A_TIME else SLOTS)
        slopes[name] = None if slope is None else slope - sleep
    ours = next(iter(slopes.values()))
    what = "do nothing" if seconds == 0 else f"sleep {seconds:g} s"
    lines = [
        f"# Trials that {what}",
        "",
        f"Wall seconds of a whole process, median (least to most of up to five); {_machine()}.",
        (
            f"{SLOTS} trials at once; one: {'; '.join(sorted(ONE_AT_A_TIME))}. Empty: longer than "
            "the limit of a run."
        ),
        *([] if seconds == 0 else ["A further trial is told without the seconds that it sleeps."]),
        "`python benchmarks/overhead.py` makes this table.",
        "",
        f"| | {' | '.join(f'{size:,} trials' for size in sizes)} | ms a further trial | ratio |",
        f"|---|{'--:|' * (len(sizes) + 2)}",
    ]
    for name, found in times.items():
        cells = [_spread(found[size]) if size in found else "" for size in sizes]
        slope = slopes[name]
        ratio = f"{slope / ours:.2f}" if slope is not None and ours and ours > 0 else ""
        lines.append(
            f"| {name} | {' | '.join(cells)} | {'' if slope is None else f'{slope:.1f}'} | "
            f"{ratio} |"
        )
    return "\n".join(lines) + "\n"


def _spread(seconds: list[float]) -> str:
    if len(seconds) == 1:
        return f"{seconds[0]:.1f}"
    return f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f})"


def _machine() -> str:
    packages: dict[str, Any] = {
        name: version(name) for name in ("ray", "mlflow", "hydra-core", "optuna", "joblib")
    }
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
