"""Damages each file of a small store in every way that disks, copies and people know, and asks for
everything again.

    python benchmarks/damage.py --cases 1500 --seed 0 [--of networks]

Stores: a finished sweep, one that was interrupted in the middle, and both as versions before there
were checksums wrote them; with `--of networks` a finished sweep of networks with measures. A case
is one store, one file of it and one damage (`damages`); after it `status`, `plan`, `report`, `run`
and, of networks, `measure` are asked for. There must be no traceback, no hang, no number that
differs from the undamaged one, and at the end every number again. Exits with 1 and names the cases
where that does not hold.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from damages import CHANGES, REPLACEMENTS, damage
from storm import (
    LOCAL,
    command,
    fork,
    hurry,
    prepare,
    prepare_networks,
    run_command,
    values_of,
    wait,
    warm_up,
)

from illama.config.imports import import_again_from
from orchestrator.driver import Job, plan_sweep, report_sweep, run_sweep
from orchestrator.errors import OrchestratorError
from orchestrator.executors.local import run_locally
from orchestrator.measuring import measure_sweep
from orchestrator.report.formats import render
from orchestrator.report.overview import plan_table
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store

SECONDS = 120.0
"""For the commands of a case, on a loaded machine."""


class Case(NamedTuple):
    """One damage: what is done to which file of which store."""

    store: str
    file: str
    damage: str


def main() -> int:
    """Run the storm; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", choices=sorted(STORES), default="trainings")
    parser.add_argument("--only", default="", help="cases with this in their name")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="damage-") as folder:
        scratch = Path(folder)
        warm_up(scratch)
        spec, stores = STORES[arguments.of](scratch)
        cases = chosen_cases(stores, arguments.cases, random.Random(arguments.seed), arguments.only)
        counts, problems = storm(scratch, spec, stores, cases)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


def chosen_cases(
    stores: Mapping[str, Path], count: int, dice: random.Random, only: str
) -> list[tuple[Case, random.Random]]:
    """So many cases, each with dice of its own; all of them again and again where there are
    fewer.
    """
    possible = [case for case in all_cases(stores) if only in "/".join(case)]
    chosen = [possible[i % len(possible)] for i in range(count)] if possible else []
    if count < len(possible):
        chosen = dice.sample(possible, count)
    return [(case, random.Random(dice.random())) for case in chosen]


def storm(
    scratch: Path,
    spec: SweepSpec,
    stores: Mapping[str, Path],
    cases: Sequence[tuple[Case, random.Random]],
) -> tuple[Counter[str], list[str]]:
    """Counts of what was tried, and what went wrong."""
    whole = next(iter(stores.values()))
    expected = values_of(render(report_sweep(spec, Store(whole)), "json").decode())
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for case, dice in cases:
        store = scratch / "case"
        shutil.copytree(stores[case.store], store, symlinks=True)
        damage(store / case.file, case.damage, dice)
        counts["cases"] += 1
        counts[f"in {case.store}"] += 1
        found = look(scratch, spec, store, expected)
        counts["that named a file"] += found.names_a_file
        problems += [f"{'/'.join(case)}: {what}" for what in found.problems]
        _remove(store)
    return counts, problems


def _plan(spec: SweepSpec, store: Store, scratch: Path) -> int:
    print(plan_table(plan_sweep(spec, store)))
    return 0


def _report(spec: SweepSpec, store: Store, scratch: Path) -> int:
    roadmap = report_sweep(spec, store)
    (scratch / "before.json").write_bytes(render(roadmap, "json"))
    render(roadmap, "html")
    return 0


def _run(spec: SweepSpec, store: Store, scratch: Path) -> int:
    ending = run_sweep(Job(spec, store, run_locally, tracking_uri=None))
    return int(ending.has_failures)


def _measure(spec: SweepSpec, store: Store, scratch: Path) -> int:
    if not spec.schema.measure:
        return 0
    ending = measure_sweep(Job(spec, store, run_locally, tracking_uri=None))
    return int(bool(ending.failures))


def _report_again(spec: SweepSpec, store: Store, scratch: Path) -> int:
    (scratch / "after.json").write_bytes(render(report_sweep(spec, store), "json"))
    return 0


class Found(NamedTuple):
    """Result of a case."""

    problems: list[str]
    names_a_file: bool


def look(  # noqa: C901  one case, told from its start to its end
    scratch: Path, spec: SweepSpec, store: Path, expected: Mapping[str, Mapping[str, float]]
) -> Found:
    """All commands on a damaged store: what each does, without reading the command line and the
    spec again.
    """
    log, marks = scratch / "log", scratch / "codes"

    def act() -> int:
        hurry()
        codes = [command("status", spec.name, "--store", store)]
        for do in (_plan, _report, _run, _measure, _report_again):
            import_again_from(spec.path.parent)  # each is a process of its own in life
            try:
                codes.append(do(spec, Store(store), scratch))
            except (OrchestratorError, OSError) as error:  # as the command line does
                print(f"error: {error}")
                codes.append(3)
        marks.write_text(" ".join(map(str, codes)))
        return 0

    for path in (marks, scratch / "before.json", scratch / "after.json"):
        path.unlink(missing_ok=True)
    ended = wait(fork(act, log), log, SECONDS)
    problems = []
    if ended.code is None:
        problems.append("it hung")
    if ended.has_traceback:
        problems.append(f"a traceback: {ended.text.splitlines()[-1]}")
    codes = marks.read_text().split() if marks.exists() else []
    if not problems and codes[1:] != ["0"] * 5:
        problems.append(f"exit codes {' '.join(codes)}: {' '.join(ended.text.split())[-300:]}")
    if codes and codes[0] not in ["0", "2", "3"]:
        problems.append(f"status by name ended with {codes[0]}")
    problems += _wrong_numbers(scratch, expected)
    return Found(problems, "damaged" in ended.text)


def _wrong_numbers(scratch: Path, expected: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    before, after = scratch / "before.json", scratch / "after.json"
    if before.exists():
        for step, values in values_of(before.read_text()).items():
            for seed, value in values.items():
                if value != expected[step][seed]:
                    yield f"{step} seed {seed} was shown as {value}, it is {expected[step][seed]}"
    if after.exists() and values_of(after.read_text()) != expected:
        yield f"after run: {values_of(after.read_text())}, expected {expected}"


def stores_of_networks(scratch: Path) -> tuple[SweepSpec, dict[str, Path]]:
    """A sweep of networks, all of them trained and measured."""
    spec, store, log = prepare_networks(scratch), scratch / "finished", scratch / "log"
    for name in ("run", "measure"):
        ended = run_command(log, SECONDS, name, spec, "--store", store, *LOCAL)
        assert ended.code == 0, ended.text
    return load_spec(spec), {"finished": store}


def stores_of_trainings(scratch: Path) -> tuple[SweepSpec, dict[str, Path]]:
    """A sweep of a user's training in four states; the finished one first."""
    spec = prepare(scratch)
    stores = {}
    for name in ("finished", "interrupted"):
        store = scratch / name
        log = scratch / "log"
        if name == "interrupted":
            _interrupt(log, spec, store)
        else:
            ended = run_command(log, SECONDS, "run", spec, "--store", store, *LOCAL)
            assert ended.code == 0, ended.text
        stores[name] = store
        old = scratch / f"{name}, without checksums"
        shutil.copytree(store, old)
        for path in old.rglob("*.json*"):
            path.write_bytes(without_checksums(path.read_bytes()))
        (old / "tiny" / "submitted.json").unlink()
        (old / "tiny" / "sessions.jsonl").unlink()
        stores[old.name] = old
    return load_spec(spec), stores


STORES = {"networks": stores_of_networks, "trainings": stores_of_trainings}


def without_checksums(content: bytes) -> bytes:
    """A file as it was written before."""
    content = re.sub(rb',\s*"(crc32|metrics_bytes)": ("\w+"|\d+)', b"", content)
    content = re.sub(rb'\s*"fingerprint": "\w+",(?=\s*"attempts")', b"", content)
    return content.replace(b'"format": 2', b'"format": 1')


def _interrupt(log: Path, spec: Path, store: Path) -> None:
    """One trial is done, and one on its way, when the driver is killed."""

    def act() -> int:
        from orchestrator.store import metrics_file

        hurry()
        append, count = metrics_file.append_json_line, 0

        def append_and_die(*arguments: object, **named: object) -> None:
            nonlocal count
            count += 1
            append(*arguments, **named)  # type: ignore[arg-type]
            if count == 10:
                os.kill(os.getpid(), signal.SIGKILL)

        metrics_file.append_json_line = append_and_die  # type: ignore[assignment]
        return command("run", spec, "--store", store, *LOCAL)

    assert wait(fork(act, log), log, SECONDS).code == -signal.SIGKILL


def all_cases(stores: Mapping[str, Path]) -> list[Case]:
    """Every damage to every file, of the sweep and of one or two of its trials."""
    cases = []
    for name, store in stores.items():
        sweep = next(store.glob("*/sweep.yaml")).parent
        trials = sorted((sweep / "trials").iterdir())
        wanted = trials[:1] if name.startswith("finished") else trials[:2]
        files = [path for path in sweep.iterdir() if path.is_file()]
        files += [path for trial in wanted for path in trial.rglob("*") if path.is_file()]
        for path in sorted(files):
            file = str(path.relative_to(store))
            kinds = [*CHANGES, *REPLACEMENTS]
            cases += [Case(name, file, kind) for kind in kinds]
    return cases


def _remove(store: Path) -> None:
    shutil.rmtree(store)


if __name__ == "__main__":
    sys.exit(main())
