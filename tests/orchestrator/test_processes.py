"""Whatever processes a trial starts end with it: at its end, at its limits, and where it is
killed.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.running.processes import children_end

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux")

GUARDED = """
import multiprocessing, os, psutil, subprocess, sys, time
from orchestrator.running.processes import guard_this_process
def wait():
    time.sleep(1000)
guard_this_process()
fork = multiprocessing.get_context("fork").Process(target=wait)
fork.start()
subprocess.run(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"], stdout=sys.stderr)
time.sleep(float(sys.argv[1]))
children = psutil.Process().children(recursive=True)
print(fork.pid, *[child.pid for child in children], flush=True)
time.sleep(1000)
"""


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + 10
    while alive := [pid for pid in pids if psutil.pid_exists(pid) and not _is_zombie(pid)]:
        assert time.monotonic() < end, f"still there: {alive}"
        time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_children_and_orphans_have_ended_behind_a_trial() -> None:
    before = subprocess.Popen(["sleep", "1000"])
    with children_end():
        fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        fork.start()
        orphan = subprocess.run(
            ["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"],
            capture_output=True,
            text=True,
        )
    wait_until_gone([int(fork.pid or 0), int(orphan.stdout)])
    assert before.poll() is None
    before.kill()
    before.wait()


@pytest.mark.slow
def test_a_child_that_does_not_want_to_end_is_ended() -> None:
    with children_end():
        stubborn = subprocess.Popen(["sh", "-c", "trap '' TERM; echo x; sleep 1000"], stdout=-1)
        assert stubborn.stdout
        stubborn.stdout.read(1)
    stubborn.stdout.close()
    wait_until_gone([stubborn.pid])
    stubborn.wait()


def test_what_a_killed_worker_has_started_ends_with_it(tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", GUARDED, "0.8"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert worker.stdout
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    assert len(pids) >= 4, "the fork, the guard, the orphan"
    worker.kill()
    worker.wait()
    wait_until_gone(pids)
    worker.stdout.close()


@pytest.mark.slow
def test_a_trial_at_its_time_limit_does_not_hang_by_what_it_forked(
    cli: Any, weird_path: Path, store_path: Path
) -> None:
    (weird_path / "forky.py").write_text(
        "import multiprocessing, pathlib, time\n"
        "def train(*, seed, checkpoint_dir):\n"
        "    helper = multiprocessing.get_context('fork').Process(target=time.sleep, "
        "args=(1000,))\n    helper.start()\n"
        "    pathlib.Path(checkpoint_dir, 'pid').write_text(str(helper.pid))\n"
        "    time.sleep(1000)\n"
    )
    spec = weird_path / "forky.yaml"
    spec.write_text(
        "name: forky\nmetric: {name: m, mode: max}\nseeds: [0]\nresources: {time_limit: 2}\n"
        'baseline: {train: {name: "forky:train"}}\n'
    )
    done = cli("run", spec, "--store", store_path, "--executor", "local", "--no-tracking")
    assert done.code == 1
    assert "timed out" in done.out
    [pid] = store_path.glob("forky/trials/*/checkpoint/pid")
    wait_until_gone([int(pid.read_text())])
