"""Short forms of the storms in `benchmarks`: damage, kills and sleep at a few points each."""

import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def in_a_process_of_its_own(storm: str, folder: Path) -> str:
    """The storm's last words: it forks, and replaces functions, which a process of tests must
    not.
    """
    import subprocess

    program, *options = storm.split()
    command = [sys.executable, str(BENCHMARKS / f"{program}.py"), *options]
    points = {"damage": ("--cases", "30"), "kill_points": ("--points", "4")}
    command += points.get(program, ("--points", "2"))
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("storm", ["damage", "kill_points", "kill_points --of measure", "sleep"])
def test_a_short_storm_does_no_harm(storm: str, tmp_path: Path) -> None:
    assert "WRONG" not in in_a_process_of_its_own(storm, tmp_path)


def test_every_damage_changes_the_file_or_what_stands_in_its_place(tmp_path: Path) -> None:
    from damages import CHANGES, REPLACEMENTS, damage

    dice = random.Random(0)
    content = b'{"iteration": 12, "time": 1.5, "metrics": {"val/x": 0.25}}\n' * 3
    trials = tmp_path / "trials"
    for kind in (*CHANGES, *REPLACEMENTS):
        for name in ("a-00000000", "b-11111111"):
            (trials / name).mkdir(parents=True, exist_ok=True)
            (trials / name / "file").write_bytes(content + name.encode())
        path = trials / "a-00000000" / "file"
        before = path.read_bytes()
        damage(path, kind, dice)
        is_same = path.is_file() and path.stat().st_size < 1000 and path.read_bytes() == before
        assert not is_same or kind == "digit changed", kind
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
