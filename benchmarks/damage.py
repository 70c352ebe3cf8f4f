"""Damages each file of a small store in every way that disks, copies and people know, and asks for everything again.

    python benchmarks/damage.py --cases 1500 --seed 0 [--list]

Stores: a finished sweep, one that was interrupted in the middle, and both as versions before there were checksums wrote them.
A case is one store, one file of it and one damage; after it `status`, `plan`, `report` and `run` are asked for. There must be
no traceback, no hang, no number that differs from the undamaged one, and at the end every number again. Exits with 1 and names
the cases where that does not hold.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from storm import (
    LOCAL,
    command,
    fork,
    hurry,
    prepare,
    run_command,
    values_of,
    wait,
    warm_up,
)

from illama.config.imports import import_again_from
from orchestrator.driver import Job, plan_sweep, report_sweep, run_sweep
from orchestrator.errors import OrchestratorError
from orchestrator.executors.local import run_locally
from orchestrator.report.formats import render
from orchestrator.report.overview import plan_table
from orchestrator.spec.sweep_spec import SweepSpec, load_spec
from orchestrator.store.store import Store

SECONDS = 120.0
"""For the commands of a case, on a loaded machine."""

Change = Callable[[bytes, random.Random], bytes]


class Case(NamedTuple):
    """What is done to which file of which store."""

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
    parser.add_argument("--only", default="", help="cases with this in their name")
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="damage-") as folder:
        counts, problems = storm(Path(folder), arguments.cases, arguments.seed, arguments.only)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for problem in problems:
        print(f"WRONG: {problem}")
    return bool(problems)


def storm(scratch: Path, cases: int, seed: int, only: str = "") -> tuple[Counter[str], list[str]]:
    """Counts of what was tried, and what went wrong."""
    warm_up(scratch)
    spec = prepare(scratch)
    stores = make_stores(scratch, spec)
    loaded = load_spec(spec)
    expected = values_of(render(report_sweep(loaded, Store(stores["finished"])), "json").decode())
    dice = random.Random(seed)
    possible = [case for case in all_cases(stores) if only in "/".join(case)]
    chosen = [possible[i % len(possible)] for i in range(cases)] if possible else []
    if cases < len(possible):
        chosen = dice.sample(possible, cases)
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for case in chosen:
        store = scratch / "case"
        shutil.copytree(stores[case.store], store, symlinks=True)
        damage(store / case.file, case.damage, dice)
        counts["cases"] += 1
        counts[f"in {case.store}"] += 1
        found = look(scratch, loaded, store, expected)
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


def _report_again(spec: SweepSpec, store: Store, scratch: Path) -> int:
    (scratch / "after.json").write_bytes(render(report_sweep(spec, store), "json"))
    return 0


class Found(NamedTuple):
    """What a case came to."""

    problems: list[str]
    names_a_file: bool


def look(  # noqa: C901  one case, told from its start to its end
    scratch: Path, spec: SweepSpec, store: Path, expected: Mapping[str, Mapping[str, float]]
) -> Found:
    """All commands on a damaged store: what each does, without reading the command line and the spec again."""
    log, marks = scratch / "log", scratch / "codes"

    def act() -> int:
        hurry()
        codes = [command("status", "tiny", "--store", store)]
        for do in (_plan, _report, _run, _report_again):
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
    if not problems and codes[1:] != ["0"] * 4:
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


def make_stores(scratch: Path, spec: Path) -> dict[str, Path]:
    """Each kind of store."""
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
    return stores


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
        trials = sorted((store / "tiny" / "trials").iterdir())
        wanted = trials[:1] if name.startswith("finished") else trials[:2]
        files = [path for path in (store / "tiny").iterdir() if path.is_file()]
        files += [path for trial in wanted for path in trial.rglob("*") if path.is_file()]
        for path in sorted(files):
            file = str(path.relative_to(store))
            kinds = [*CHANGES, *REPLACEMENTS]
            cases += [Case(name, file, kind) for kind in kinds]
    return cases


def _position(pattern: bytes) -> Callable[[bytes, random.Random], int]:
    def find(content: bytes, dice: random.Random) -> int:
        places = [match.start() for match in re.finditer(pattern, content)]
        return dice.choice(places) if places else len(content) // 2

    return find


POSITIONS = {
    "first": lambda content, dice: 0,
    "brace": _position(rb"[{}]"),
    "key": _position(rb'(?<=")\w(?=\w*":)'),
    "colon": _position(rb":"),
    "digit": _position(rb"(?<=[: .\d-])\d"),
    "quote": _position(rb'"'),
    "value": _position(rb'(?<=: ")\w'),
    "newline": _position(rb"\n"),
    "last": lambda content, dice: max(0, len(content) - 1),
}
"""Where a byte stands, by what it is."""


def _flip(name: str) -> Change:
    def change(content: bytes, dice: random.Random) -> bytes:
        place = POSITIONS[name](content, dice)
        if not content:
            return b"\x01"
        flipped = bytes([content[place] ^ 1 << dice.randrange(8)])
        return content[:place] + flipped + content[place + 1 :]

    return change


def _cut(name: str) -> Change:
    return lambda content, dice: content[: POSITIONS[name](content, dice)]


def _zeroed(content: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(max(1, len(content)))
    size = min(512, len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def _doubled_line(content: bytes, dice: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    place = dice.randrange(len(lines))
    return b"".join([*lines[: place + 1], *lines[place:]])


def _swapped_lines(content: bytes, dice: random.Random) -> bytes:
    return b"".join(reversed(content.splitlines(keepends=True)))


def _digit_changed(content: bytes, dice: random.Random) -> bytes:
    place = POSITIONS["digit"](content, dice)
    return content[:place] + dice.choice(b"0123456789").to_bytes() + content[place + 1 :]


CHANGES: dict[str, Change] = {
    **{f"bit flipped in {name}": _flip(name) for name in POSITIONS},
    **{f"cut at {name}": _cut(name) for name in POSITIONS},
    "block of zeros": _zeroed,
    "line doubled": _doubled_line,
    "lines in reverse": _swapped_lines,
    "digit changed": _digit_changed,
    "garbage behind": lambda content, dice: content + dice.randbytes(40),
    "garbage": lambda content, dice: dice.randbytes(len(content)),
    "not UTF-8": lambda content, dice: b"\xff\xfe" + content,
    "list": lambda content, dice: b"[1, 2]\n",
    "null": lambda content, dice: b"null\n",
    "deep": lambda content, dice: b"[" * 100_000,
    "infinity": lambda content, dice: re.sub(rb": [\d.]+", b": 1e999", content, count=3),
    "text for numbers": lambda content, dice: re.sub(rb": [\d.]+", b': "x"', content),
    "emptied": lambda content, dice: b"",
}


def _swap_with_another_trial(path: Path) -> None:
    """Take the file of the same name of another trial, or another file where there is none."""
    parts = path.parts
    if "trials" not in parts:
        shutil.copy(next(path.parent.glob("trials/*/trial.json")), path)
        return
    place = parts.index("trials") + 1
    trials = Path(*parts[:place])
    other = sorted(set(os.listdir(trials)) - {parts[place]})[-1]
    source = trials / other / Path(*parts[place + 1 :])
    if source.exists():
        shutil.copy(source, path)
    else:
        path.unlink()


def _whole_trial_swapped(path: Path) -> None:
    """All files of the trial are another's."""
    folder = path.parent
    if folder.parent.name != "trials":
        path.write_text("{}\n")
        return
    other = sorted(set(folder.parent.iterdir()) - {folder})[0]
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link to itself": lambda path: path.symlink_to(path),
    "link to nowhere": lambda path: path.symlink_to(path.with_name("gone")),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "file of another trial": _swap_with_another_trial,
    "another trial's files": _whole_trial_swapped,
}
_KEEPS_THE_FILE = ("file of another trial", "another trial's files")


def damage(path: Path, kind: str, dice: random.Random) -> None:
    """Do it to the file."""
    if kind in CHANGES:
        path.write_bytes(CHANGES[kind](path.read_bytes(), dice))
        return
    if kind not in _KEEPS_THE_FILE:
        path.unlink()
    REPLACEMENTS[kind](path)


def _remove(store: Path) -> None:
    shutil.rmtree(store)


if __name__ == "__main__":
    sys.exit(main())
