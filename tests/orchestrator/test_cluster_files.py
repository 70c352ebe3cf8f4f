"""The files of docs/clusters: they say what Ray and Kubernetes understand, and the Slurm script
really runs a sweep.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml

CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters"


def test_ray_takes_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((CLUSTERS / "ray_up.yaml").read_text()))
    validate_config(config)
    [head] = [
        kind
        for name, kind in config["available_node_types"].items()
        if name == config["head_node_type"]
    ]
    assert head is not None
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
    with pytest.raises(Exception, match="provider"):
        validate_config({**config, "provider": {}})


JOB = {"entrypoint", "backoffLimit", "submissionMode", "shutdownAfterJobFinishes", "rayClusterSpec"}
CLUSTER = {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"rayStartParams", "template", "groupName", "replicas", "minReplicas", "maxReplicas"}
"""Keys of ray.io/v1 as its API reference has them; an unknown one would be dropped without a
word.
"""


def test_the_ray_job_has_the_keys_of_its_definition_restarts_and_one_store_for_every_pod() -> None:
    claim, job = yaml.safe_load_all((CLUSTERS / "kuberay.yaml").read_text())
    assert (claim["kind"], claim["spec"]["accessModes"]) == (
        "PersistentVolumeClaim",
        ["ReadWriteMany"],
    )
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= JOB
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= CLUSTER
    assert cluster["authOptions"] == {"mode": "token"}, "else whoever reaches it can run code on it"
    assert job["spec"]["backoffLimit"] > 0
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        assert group.keys() <= GROUP
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), (
            "Kubernetes takes strings only"
        )
        pod = group["template"]["spec"]
        [volume] = pod["volumes"]
        [container] = pod["containers"]
        [mount] = container["volumeMounts"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mount["name"] == volume["name"]
        assert f"--store {mount['mountPath']}/" in job["spec"]["entrypoint"]


@pytest.mark.parametrize(("code", "restarts"), [(0, False), (1, False), (3, True), (130, True)])
def test_the_ray_job_is_restarted_where_that_helps(
    tmp_path: Path, code: int, restarts: bool
) -> None:
    _, job = yaml.safe_load_all((CLUSTERS / "kuberay.yaml").read_text())
    _script(tmp_path / "orchestrator", f"exit {code}")
    done = subprocess.run(
        ["sh", "-c", job["spec"]["entrypoint"]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=False,
    )
    assert (done.returncode != 0) is restarts


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a job finds: its variables, and commands that do here what Slurm does on the nodes."""
    _script(tmp_path / "srun", 'while [[ $1 == --* ]]; do shift; done; exec "$@"')
    _script(
        tmp_path / "scontrol",
        'if [[ $1 == show ]]; then printf "one\\ntwo\\n"; else echo "$@" >> '
        f'"{tmp_path}/requeued"; fi',
    )
    _script(tmp_path / "hostname", "echo 127.0.0.1 192.0.2.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("RAY_TMPDIR", short := mkdtemp(prefix="r"))  # sockets have short names
    for name, value in {
        "JOB_NODELIST": "[one,two]",
        "JOB_ID": str(os.getpid()),
        "CPUS_PER_TASK": "1",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    yield tmp_path
    shutil.rmtree(short, ignore_errors=True)


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (1, False), (2, False), (3, True), (130, True)]
)
def test_the_slurm_job_is_queued_again_where_that_helps(
    slurm: Path, code: int, requeued: bool
) -> None:
    _script(
        slurm / "ray",
        "[[ $* == *--head* ]] && exec python3 -c 'import os, socket; s = "
        'socket.create_server(("127.0.0.1", '
        '20000 + int(os.environ["SLURM_JOB_ID"]) % 20000)); s.accept(); s.accept()\'',
    )
    _script(slurm / "orchestrator", f"exit {code}")
    done = subprocess.run([CLUSTERS / "slurm.sh", "spec.yaml", "runs"], timeout=60, check=False)
    assert done.returncode == code
    assert (slurm / "requeued").exists() is requeued


def test_the_slurm_job_passes_options_on(slurm: Path) -> None:
    _script(slurm / "ray", "exec sleep 60")
    _script(slurm / "orchestrator", f'printf "%s\\n" "$@" > "{slurm}/asked"')
    text = (CLUSTERS / "slurm.sh").read_text()
    _script(slurm / "job", text.replace("until (exec 3<>", "until true || (exec 3<>"))
    options = ["--only", "a b", "train.epochs=2", "--tracking-uri", "http://x"]
    done = subprocess.run([slurm / "job", "spec.yaml", "runs", *options], timeout=60, check=False)
    assert done.returncode == 0
    asked = (slurm / "asked").read_text().splitlines()
    assert asked[:4] == ["run", "spec.yaml", "--store", "runs"]
    assert asked[6:] == options


def test_the_slurm_job_hands_the_notice_to_the_driver(slurm: Path) -> None:
    _script(slurm / "ray", "exec sleep 60")
    _script(
        slurm / "orchestrator",
        f'trap "exit 130" TERM; touch "{slurm}/driver"; while true; do sleep 0.05; done',
    )
    text = (CLUSTERS / "slurm.sh").read_text()
    _script(slurm / "job", text.replace("until (exec 3<>", "until true || (exec 3<>"))
    job = subprocess.Popen([slurm / "job", "spec.yaml", "runs"])
    while not (slurm / "driver").exists():
        assert job.poll() is None
    job.terminate()
    assert job.wait(30) == 130
    assert (slurm / "requeued").read_text() == f"requeue {os.getpid()}\n"


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.ray
def test_the_slurm_job_finishes_a_sweep_on_its_two_nodes(
    slurm: Path, write_spec: Callable[..., Path], store_path: Path, cli: Callable[..., Any]
) -> None:
    spec = write_spec(seeds=[0, 1])
    with (slurm / "log").open("w+") as log:
        job = subprocess.Popen(
            [CLUSTERS / "slurm.sh", spec, store_path],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            code = job.wait(200)
        finally:
            with suppress(ProcessLookupError):  # nothing of Ray is left over
                os.killpg(job.pid, signal.SIGKILL)
        assert code == 0, (slurm / "log").read_text()
    assert cli("status", spec, "--store", store_path, "--json").json["outcomes"] == {"finished": 2}
    assert "Roadmap of tiny" in (slurm / "log").read_text()
