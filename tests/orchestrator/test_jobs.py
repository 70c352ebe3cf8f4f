"""A job for each trial through submitit: on this machine for real, and with stand-ins for
Slurm's commands.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.errors import UsageError
from orchestrator.executors import EXECUTORS

submitit = pytest.importorskip("submitit")

pytestmark = [pytest.mark.usefixtures("without_figures")]

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]
WriteSpec = Callable[..., Path]
WaitUntil = Callable[..., None]
JOBS = ("--executor", "submitit", "--no-tracking")
LOCAL = (*JOBS, "--address", "local")


def outcomes(cli: Cli, spec: Path, store: Path) -> dict[str, int]:
    found: dict[str, int] = cli("status", spec, "--store", store, "--json").json["outcomes"]
    return found


@pytest.mark.slow
def test_each_trial_is_a_process_of_its_own_and_ends_with_the_same_bits(
    cli: Cli, write_spec: WriteSpec, store_path: Path, tmp_path: Path, bits_of: Callable[..., Any]
) -> None:
    spec = write_spec(seeds=[0, 1])
    ended = cli("run", spec, "--store", store_path, *LOCAL)
    assert ended.code == 0, ended.err
    assert outcomes(cli, spec, store_path) == {"finished": 2}
    lines = [path.read_text() for path in store_path.glob("tiny/trials/*/attempts.jsonl")]
    assert len({line.partition('"pid"')[2][:12] for line in lines}) == 2
    alone = tmp_path / "alone"
    cli("run", spec, "--store", alone, "--executor", "local", "--no-tracking")
    assert bits_of(store_path / "tiny") == bits_of(alone / "tiny")
    assert "2 done" in cli("run", spec, "--store", store_path, *LOCAL).out


@pytest.mark.slow
def test_a_job_that_is_killed_goes_again_and_an_interrupt_saves(
    cli: Cli, process: Process, write_spec: WriteSpec, store_path: Path, wait_until: WaitUntil
) -> None:
    spec = write_spec(**{"baseline.train.epochs": 100_000, "runtime.checkpoint_seconds": 0.2})
    driver = process("run", spec, "--store", store_path, *LOCAL)

    def starts() -> list[str]:
        paths = store_path.glob("tiny/trials/*/attempts.jsonl")
        return [line for path in paths for line in path.read_text().splitlines() if "start" in line]

    wait_until(lambda: starts(), "a job has begun", driver)
    wait_until(lambda: [*store_path.glob("tiny/trials/*/checkpoint.pt")], "it has saved", driver)
    victim = int(starts()[0].partition('"pid": ')[2].partition(",")[0].rstrip("}"))
    psutil.Process(victim).kill()
    wait_until(lambda: len(starts()) == 2, "it goes again in another job", driver)
    driver.terminate()
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 130, err
    assert outcomes(cli, spec, store_path) == {"interrupted": 1}
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(store_path) in str(p.info)]


def test_what_a_job_cannot_have_is_refused(
    cli: Cli, write_spec: WriteSpec, store_path: Path
) -> None:
    spec = write_spec(**{"resources.nodes": 2})
    refused = cli("run", spec, "--store", store_path, *LOCAL)
    assert (refused.code, "needs 2 nodes" in refused.err) == (2, True), refused.err
    spec = write_spec(**{"resources.gpus": 0.5})
    refused = cli("run", spec, "--store", store_path, *LOCAL)
    assert (refused.code, "needs 0.5 GPUs" in refused.err) == (2, True), refused.err


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "pbs?x=1"])
def test_an_address_is_a_kind_of_queue(address: str) -> None:
    with pytest.raises(UsageError, match="takes slurm or local"):
        EXECUTORS.get("submitit").create(address)


SBATCH = """
script="${!#}"; cat "$script" > "{folder}/script"
export SLURM_JOB_ID=4242 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
export SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_JOB_NODELIST=one
nohup bash "$script" > "{folder}/log" 2>&1 &
echo "Submitted batch job 4242"
"""
SRUN = """
while [[ $1 == --* || $1 == /* || $1 == -* ]]; do [[ $1 == *python* ]] && break; shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands as one machine plays them."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    texts = {
        "sbatch": SBATCH.replace("{folder}", str(folder)),
        "srun": SRUN,
        "sacct": "echo 'JobID|State|NodeList'; echo '4242|RUNNING|one'",
        "scancel": "true",
    }
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    return folder


@pytest.mark.slow
def test_slurm_is_asked_for_what_the_trial_takes(
    cli: Cli, write_spec: WriteSpec, store_path: Path, slurm: Path
) -> None:
    spec = write_spec(**{"resources.cpus": 2, "resources.time_limit": 600, "resources.memory": 4})
    address = "slurm?partition=gpu&account=mine"
    ended = cli("run", spec, "--store", store_path, *JOBS, "--address", address)
    assert ended.code == 0, ended.err
    assert outcomes(cli, spec, store_path) == {"finished": 1}
    script = (slurm / "script").read_text()
    for option in (
        *("--cpus-per-task=2", "--time=15", "--mem=4GB"),
        *("--partition=gpu", "--account=mine", "--job-name=baseline-seed0"),
    ):
        assert f"#SBATCH {option}\n" in script, script


def test_an_option_that_slurm_does_not_have_is_refused(
    cli: Cli, write_spec: WriteSpec, store_path: Path, slurm: Path
) -> None:
    spec = write_spec()
    refused = cli("run", spec, "--store", store_path, *JOBS, "--address", "slurm?partitoin=gpu")
    assert refused.code == 2, refused.err
    assert "submitit does not take an option of --address" in refused.err
