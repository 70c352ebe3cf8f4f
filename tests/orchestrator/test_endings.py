"""Whatever a trial raises is recorded, the sweep goes on, and what was returned is never lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WAYS = {
    "name": 'raise ValueError("image " + os.fsdecode(b"caf\\xe9.png"))',
    "message": "raise Unreadable()",
    "cancel": "raise asyncio.CancelledError",
    "generator": 'raise GeneratorExit("x")',
    "keyboard": "raise KeyboardInterrupt",
    "exit": "raise SystemExit(3)",
    "group": 'raise BaseExceptionGroup("many", [ValueError("a"), KeyboardInterrupt()])',
    "deep": "deeper()",
    "huge": 'raise ValueError("x" * 1_000_000)',
}
CAUSES = {
    "name": "ValueError: image caf\\udce9.png",
    "message": "Unreadable: (its message cannot be read)",
    "cancel": "CancelledError: ",
    "generator": "GeneratorExit: x",
    "keyboard": "KeyboardInterrupt: ",
    "exit": "RuntimeError: the training called sys.exit(3)",
    "group": "BaseExceptionGroup: many (2 sub-exceptions)",
    "deep": "RecursionError: maximum recursion depth exceeded",
    "huge": "ValueError: xxx",
}
TRAINING = """
import asyncio, os
class Unreadable(Exception):
    def __str__(self):
        return self.args[0]["detail"]
def deeper():
    deeper()
def train(*, how: str = "well", seed):
"""


@pytest.fixture
def write(weird_path: Path) -> Callable[..., Path]:
    """A spec of a baseline and a step for each of the values of `how`."""

    def make(metric: str, returned: str, ways: list[str]) -> Path:
        body = "".join(f"    if how == {how!r}:\n        {WAYS[how]}\n" for how in ways)
        (weird_path / "ends.py").write_text(f"{TRAINING}{body}    return {returned}\n")
        steps = "".join(f"- {{name: {how}, change: {{train.how: {how}}}}}\n" for how in ways)
        path = weird_path / "ends.yaml"
        path.write_text(
            f'name: ends\nmetric: {{name: "{metric}", mode: max}}\nseeds: [0]\n'
            f'baseline: {{train: {{name: "ends:train"}}}}\nsteps:\n{steps}'
            "- {name: last, change: {train.how: well, train.how: fine}}\n".replace(
                "train.how: well, ", ""
            )
        )
        return path

    return make


@pytest.mark.slow
def test_whatever_a_trial_raises_is_its_cause_and_the_sweep_goes_on(
    cli: Any, write: Any, store_path: Path
) -> None:
    spec = write("m", "{'m': 1.0}", list(WAYS))
    options = ("--store", store_path, "--executor", "local", "--no-tracking")
    done = cli("run", spec, *options)
    assert done.code == 1
    assert "Traceback" not in done.err
    trials = cli("status", spec, "--store", store_path, "--json").json["trials"]
    found = {trial["name"].removesuffix("-seed0"): trial for trial in trials}
    assert {name for name, trial in found.items() if trial["outcome"] == "failed"} == set(WAYS)
    for name, cause in CAUSES.items():
        assert found[name]["cause"].startswith(cause)
    assert len(found["huge"]["cause"]) < 3000
    assert found["last"]["outcome"] == "finished"
    assert cli("run", spec, *options).code == 1


@pytest.mark.slow
def test_a_metric_that_is_missing_costs_no_training(cli: Any, write: Any, store_path: Path) -> None:
    spec = write("val/accuracy", "{'val/acc': 50.0}", [])
    options = ("--store", store_path, "--executor", "local", "--no-tracking")
    done = cli("run", spec, *options)
    assert done.code == 1
    missing = "ends:train returned val/acc, but the sweep compares val/accuracy"
    first = next(line for line in done.out.splitlines() if line.startswith("[1/2]"))
    assert missing in first
    results = sorted(store_path.glob("ends/trials/*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    assert len(before) == 2
    spec.write_text(spec.read_text().replace("val/accuracy", "val/acc"))
    again = cli("run", spec, *options)
    assert again.code == 0
    assert "2 trials: 2 done" in again.out
    assert [path.stat().st_mtime_ns for path in results] == before
    attempts = [path.parent / "attempts.jsonl" for path in results]
    assert [path.read_text().count('"start"') for path in attempts] == [1, 1]


@pytest.mark.slow
def test_names_of_metrics_may_have_any_letters(cli: Any, write: Any, store_path: Path) -> None:
    spec = write("val/recall@10", "{'val/recall@10': 0.5, 'timing(s)/précision': 1.0}", [])
    done = cli("run", spec, "--store", store_path, "--executor", "local", "--no-tracking")
    assert done.code == 0
    report = cli("report", spec, "--store", store_path, "--format", "json").json
    assert report["steps"][0]["mean"] == 0.5
