"""Common parts of the storms: a sweep that costs nothing, commands in a forked process with a time
limit, and what has to be the same.

The sweep is a user training with checkpoints, two variants with two seeds each. Commands are those
of the command line, run by a process that has imported everything already: a case takes tenths of a
second.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAINING = """
import random
from illama import checkpoint

def train(*, width: int = 4, iterations: int = 6, seed, log_metrics, checkpoint_dir, should_stop):
    state = checkpoint.load(checkpoint_dir) or {"w": [1.0] * width, "it": 0}
    w, it = state["w"], state["it"]
    while it < iterations:
        if should_stop():
            checkpoint.save(checkpoint_dir, {"w": w, "it": it})
            return None
        dice = random.Random(seed * 1_000_003 + it)
        w = [value - 0.1 * (value - dice.random()) for value in w]
        it += 1
        log_metrics({"val/x": sum(w) / width}, it)
        if it % 2 == 0:
            checkpoint.save(checkpoint_dir, {"w": w, "it": it})
    return {"val/x": sum(w) / width}
"""
SPEC = """name: tiny
metric: {name: val/x, mode: min}
seeds: [0, 1]
baseline: {train: {name: "tiny:train", width: 4, iterations: 6}}
steps: [{name: wide, change: {train.width: 8}}]
"""
NETWORKS = """name: networks
seeds: [0, 1]
measure: ["tiny:probe", {name: "tiny:probe", scale: 2.0}]
baseline:
  model: {name: vit_digits, embed_dim: 8, depth: 1, num_heads: 1}
  data: {name: digits}
  train: {epochs: 1, batch_size: 512, lr: 4e-3}
steps: [{name: rmsnorm, change: {model.norm: rmsnorm}}]
"""
MEASURE = """
def probe(network, data, device, seed, *, scale: float = 1.0):
    return {"size": scale * sum(float(p.abs().sum()) for p in network.parameters())}
"""
LOCAL = ("--executor", "local", "--no-tracking")


@dataclass(frozen=True)
class Ended:
    """A command that ended, or did not."""

    code: int | None
    """None where it was still at work when the time was up."""
    text: str
    """Everything that it wrote."""

    @property
    def has_traceback(self) -> bool:
        """True if Python's own words for a mistake are among them."""
        return "Traceback (most recent call last)" in self.text


def prepare(folder: Path, name: str = "tiny") -> Path:
    """Write the sweep's files; returns the spec's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.py").write_text(TRAINING + MEASURE)
    spec = folder / f"{name}.yaml"
    spec.write_text(SPEC.replace("name: tiny\n", f"name: {name}\n"))
    return spec


def prepare_networks(folder: Path) -> Path:
    """Write the files of a sweep with measures of its networks; returns the spec's path."""
    prepare(folder)
    spec = folder / "networks.yaml"
    spec.write_text(NETWORKS)
    return spec


def warm_up(scratch: Path) -> None:
    """Import, and build once for all forks, whatever the commands need: they are given once in
    this process.
    """
    hurry()
    spec, place = prepare(scratch / "warm"), ("--store", scratch / "warm" / "runs")
    with (scratch / "warm" / "log").open("w") as log, redirect_stdout(log):
        for arguments in (
            ("run", spec, *place, *LOCAL),
            ("status", "tiny", *place),
            ("plan", spec, *place),
            ("report", spec, *place, "--format", "json"),
            ("report", spec, *place, "--output", scratch / "warm" / "report.html"),
        ):
            assert command(*arguments) == 0, arguments


def hurry(expiry: float = 30.0) -> None:
    """Renew leases and look at them ten times as often, and wait for no disk; for a forked
    process.
    """
    from orchestrator.running import worker
    from orchestrator.store import lease, locks

    lease.RENEW_SECONDS = 0.2
    lease.EXPIRY_SECONDS = worker.EXPIRY_SECONDS = expiry
    locks.LOCK_SECONDS = 1.0
    os.fsync = lambda descriptor: None  # type: ignore[assignment]


def fork(act: Callable[[], int], log: Path) -> int:
    """Run `act` in a process of its own; what it writes goes to `log`. Returns its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        code = act()
    except BaseException:  # noqa: BLE001  it is told, and must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command(*arguments: object) -> int:
    """Run a command line in this process; returns its exit code."""
    from orchestrator.cli.app import main

    sys.argv = ["orchestrator", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def wait(pid: int, log: Path, seconds: float) -> Ended:
    """Wait until it ends, or until the time is up: then it is killed."""
    end = time.monotonic() + seconds
    code: int | None = None
    while code is None and time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if found else None
        time.sleep(0.005)
    if code is None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return Ended(code, log.read_text(errors="replace"))


def run_command(log: Path, seconds: float, *arguments: object) -> Ended:
    """A command in a process of its own."""

    def act() -> int:
        hurry()
        return command(*arguments)

    return wait(fork(act, log), log, seconds)


def values_of(report: str) -> Mapping[str, Mapping[str, float]]:
    """Values by step and seed, and those of each measure, out of a report in JSON, which may
    stand between other lines.
    """
    found = json.loads(report[report.index("{") : report.rindex("}") + 1])
    values = {step["name"]: step["values"] for step in found["steps"]}
    for step in found["steps"]:
        for measure, quantities in step.get("measures", {}).items():
            for name, quantity in quantities.items():
                values[f"{step['name']}, {measure}, {name}"] = quantity["values"]
    return values


def curves_of(store: Path) -> Mapping[str, Sequence[int]]:
    """Iterations of each trial's curve, as the file has them: also those that a reader would
    pass over.
    """
    found = {}
    for path in sorted(store.glob("*/trials/*/metrics.jsonl")):
        lines = whole_lines(path)
        found[path.parent.name] = [line["iteration"] for line in lines]
    return found


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Lines that end: a kill may leave half a line, which the next write cuts off."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def results_of(store: Path) -> Mapping[str, Any]:
    """Final metrics by trial."""
    paths = sorted(store.glob("*/trials/*/result.json"))
    return {path.parent.name: json.loads(path.read_bytes())["metrics"] for path in paths}


def measured_in(store: Path) -> Mapping[str, Any]:
    """Read all measurements of the store, by the place of their files."""
    paths = sorted(store.glob("*/trials/*/measures/*.json"))
    found = {path: json.loads(path.read_bytes()) for path in paths}
    return {
        f"{path.parents[1].name}/{path.name}": (one["state"], one.get("values"))
        for path, one in found.items()
    }


def finished_twice(store: Path) -> list[str]:
    """Trials with more than one attempt that ended with a result."""
    found = []
    for path in sorted(store.glob("*/trials/*/attempts.jsonl")):
        lines = whole_lines(path)
        if sum(line.get("outcome") == "finished" for line in lines) > 1:
            found.append(path.parent.name)
    return found


def litter_of(store: Path) -> list[str]:
    """Temporary files that nobody has cleared."""
    return sorted(str(path.relative_to(store)) for path in store.rglob("*.tmp"))
