"""Kills `python -m illama train` with SIGKILL at random moments until it is done, and compares its
bits with an undisturbed run.

    python benchmarks/kill_and_resume.py --kills 50 --seed 0 [--processes 2] [--device cuda]

Every randomness of a recipe is on, and a checkpoint is written after every iteration, so that many
kills hit one half written. A training that is done begins again in another folder until all kills
are spent. Compared are weights, optimiser and average bit for bit, and every metric of every epoch
but seconds. Exits with 1 and says what differs. On a GPU training is `deterministic`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from illama import checkpoint

RECIPE: dict[str, Any] = {
    "model": {"name": "illama_digits", "embed_dim": 16, "depth": 2, "num_heads": 2},
    "data": {"name": "digits", "val_fraction": 0.9},
    "train": {
        "batch_size": 8,
        "lr": 3e-3,
        "warmup_epochs": 2,
        "mixup": 0.8,
        "cutmix": 1.0,
        "hflip": 0.5,
        "random_crop": 1,
        "reprob": 0.25,
        "drop_path": 0.3,
        "ema": 0.9,
        "clip_grad": 1.0,
        "layer_decay": 0.8,
        "label_smoothing": 0.1,
        "soft_mask": {"schedule": "cosine", "epochs": 2},
    },
}
WITHIN = 0.8
"""Seconds after the first new checkpoint of a process within which it is killed."""


def main() -> int:
    """Run and compare; returns the exit code."""
    arguments = _parse()
    dice, kills, trainings, started = random.Random(arguments.seed), 0, 0, time.monotonic()
    with TemporaryDirectory(prefix="kills-") as scratch:
        recipe = Path(scratch, "recipe.yaml")
        runtime = {
            "checkpoint_seconds": 0,
            "processes": arguments.processes,
            "device": arguments.device,
        }
        train = RECIPE["train"] | {
            "epochs": arguments.epochs,
            "deterministic": arguments.device == "cuda",
        }
        recipe.write_text(json.dumps(RECIPE | {"train": train, "runtime": runtime}))
        calm = Path(scratch, "calm")
        undisturbed = [_train(recipe, calm, None)]
        problems: list[str] = []
        while kills < arguments.kills:
            folder, trainings = Path(scratch, str(trainings)), trainings + 1
            lives: list[tuple[int, str]] = []
            while not lives or lives[-1][0] != 0:
                delay = dice.uniform(0, WITHIN) if kills < arguments.kills else None
                lives.append(_train(recipe, folder, delay))
                kills += lives[-1][0] != 0
            problems += [
                f"training {trainings}: {problem}"
                for problem in _differences(calm, folder, undisturbed, lives)
            ]
    seconds = time.monotonic() - started
    print(
        f"{kills} kills in {trainings} trainings and {seconds:.0f} s, {arguments.processes} "
        f"processes, seed {arguments.seed}"
    )
    print("\n".join(f"WRONG: {problem}" for problem in problems) or "the same bits")
    return bool(problems)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10, help="of 22 iterations")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args()


def _train(recipe: Path, folder: Path, delay: float | None) -> tuple[int, str]:
    """One life of a training, killed so many seconds after its first checkpoint: exit code and
    output.
    """
    command = [sys.executable, "-m", "illama", "train", str(recipe), "--output", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        newest = folder / "checkpoint.pt"
        before = newest.stat().st_mtime_ns if newest.exists() else 0
        while delay is not None and process.poll() is None:
            try:
                begun = newest.stat().st_mtime_ns != before
            except FileNotFoundError:  # between two renames, or not yet
                begun = False
            if begun:
                time.sleep(delay)
                process.kill()
                break
            time.sleep(0.002)
        output, _ = process.communicate()
    if process.returncode not in (0, -9):
        raise SystemExit(f"the training ended with exit code {process.returncode}")
    return process.returncode, output


def _differences(
    calm: Path, folder: Path, undisturbed: list[tuple[int, str]], lives: list[tuple[int, str]]
) -> Iterator[str]:
    left, right = checkpoint.load(calm), checkpoint.load(folder)
    assert left is not None
    assert right is not None
    for part in ("model", "average", "optimizer"):
        yield from _unequal(part, left[part], right[part])
    expected = dict(_metrics(undisturbed))
    found = list(_metrics(lives))
    for iteration, metrics in found:
        if metrics != expected[iteration]:
            yield f"the metrics of iteration {iteration}"
    if missing := expected.keys() - dict(found).keys():
        yield f"the metrics of iterations {sorted(missing)}: they were never reported"


def _unequal(name: str, left: Any, right: Any) -> Iterator[str]:
    if isinstance(left, torch.Tensor):
        if not torch.equal(left, right):
            yield name
    elif isinstance(left, dict):
        for key in left.keys() | right.keys():
            yield from _unequal(f"{name}.{key}", left.get(key), right.get(key))
    elif left != right:
        yield name


def _metrics(lives: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, float]]]:
    """Iteration and metrics of every epoch that was reported, those that were reported twice as
    well.
    """
    for _, output in lives:
        for line in output.splitlines():
            if line.startswith("{") and line.endswith("}"):
                metrics = json.loads(line)
                yield (
                    metrics.pop("iteration"),
                    {k: v for k, v in metrics.items() if not k.startswith("time/")},
                )


if __name__ == "__main__":
    sys.exit(main())
