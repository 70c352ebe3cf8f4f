"""A real `mlflow server` on PostgreSQL with passwords, artifacts on S3 and on a path that all
see.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.server import free_port

pytestmark = pytest.mark.slow

DATABASE_PASSWORD, USER_PASSWORD, S3_SECRET = (
    "of-the-database",
    "of-the-user-12345",
    "of-the-bucket",
)
BUCKET = "mlflow"


@dataclass(frozen=True)
class Servers:
    """What a team would have set up."""

    database: str
    tracking: str
    s3: str


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a new database; PostgreSQL refuses to be run by root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [
        Path(at).parent for at in [shutil.which("initdb")] if at
    ]
    if not found:
        pytest.skip("PostgreSQL is not installed (on Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    (folder / "password").write_text(DATABASE_PASSWORD)
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")

    def call(program: str, *arguments: str) -> None:
        command = [*as_user, str(found[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    port = free_port()
    try:
        call(
            "initdb",
            "--username=mlflow",
            f"--pwfile={folder / 'password'}",
            "--auth=scram-sha-256",
            "--no-sync",
        )
        call(
            "pg_ctl",
            "start",
            "--wait",
            f"--log={folder / 'log'}",
            "-o",
            f"-F -p {port} -k {folder} -c listen_addresses=127.0.0.1",
        )
        yield f"postgresql://mlflow:{DATABASE_PASSWORD}@127.0.0.1:{port}/postgres"
        call("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of moto's server, with an empty bucket, and the environment of somebody who
    may use it.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture
def servers(
    postgres: str, s3: str, tmp_path: Path, wait_until: Callable[..., None]
) -> Iterator[Servers]:
    port = free_port()
    (tmp_path / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path / 'auth.db'}\n"
        "admin_username = researcher\nauthorization_function = "
        "mlflow.server.auth:authenticate_request_basic_auth\nauth_cache_ttl_seconds = 600\n"
    )
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": USER_PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-cookies",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--app-name",
        "basic-auth",
        "--backend-store-uri",
        postgres,
    ]
    command += ["--default-artifact-root", f"s3://{BUCKET}/runs", "--no-serve-artifacts"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        wait_until(
            lambda: _answers(port),
            f"the server answers; it says why not in {tmp_path / 'server.log'}",
            server,
        )
        yield Servers(postgres, f"http://127.0.0.1:{port}", s3)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _rows(database: str, table: str) -> Sequence[Sequence[Any]]:
    import psycopg

    connection = psycopg.connect(database)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")
        rows = cursor.fetchall()
    connection.close()
    return sorted(rows, key=repr)


def _objects(address: str) -> dict[str, bytes]:
    import boto3

    client = boto3.client("s3", endpoint_url=address)
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


TABLES = (
    "runs",
    "tags",
    "params",
    "metrics",
    "latest_metrics",
    "datasets",
    "inputs",
    "experiment_tags",
)


def test_a_teams_server_shows_the_sweep_and_no_password_is_written_anywhere(
    servers: Servers,
    zoo: Path,
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from mlflow import MlflowClient

    def sync(uri: str, name: str = "zoo") -> Any:
        return cli("sync", zoo / f"{name}.yaml", "--store", zoo / "runs", "--tracking-uri", uri)

    said = [sync(servers.tracking)]
    assert said[-1].code == 3, "without a password"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "researcher")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER_PASSWORD)
    said.append(sync(servers.tracking))
    assert said[-1].code == 0, said[-1].err
    assert sorted(row[1] for row in _rows(servers.database, "runs") if "seed" in row[1]) == sorted(
        f"{variant}-seed{seed}"
        for variant in ("baseline", "rmsnorm", "causal", "too_fast", "broken")
        for seed in (0, 1)
    )
    stored = _objects(servers.s3)
    for path in zoo.glob("runs/zoo/trials/*/trial.json"):
        assert path.read_bytes() in stored.values()

    before = {table: _rows(servers.database, table) for table in TABLES}
    for again in (servers.tracking, servers.database):  # the database may also be opened directly
        said.append(sync(again))
        assert said[-1].code == 0, said[-1].err
        assert {table: _rows(servers.database, table) for table in TABLES} == before

    shared = tmp_path / "shared by all"
    MlflowClient(servers.tracking).create_experiment("copy", shared.as_uri())
    (zoo / "copy.yaml").write_text(
        (zoo / "zoo.yaml").read_text().replace("name: zoo", "name: copy")
    )
    said.append(sync(servers.tracking, "copy"))
    assert said[-1].code == 0, said[-1].err
    assert len(list(shared.glob("*/artifacts/result.json"))) == 8
    assert list(shared.glob("*/artifacts/roadmap.html"))
    assert len(_objects(servers.s3)) == len(stored)

    contents = [
        path.read_bytes()
        for folder in (zoo, shared)
        for path in folder.rglob("*")
        if path.is_file()
    ]
    contents += [
        *stored.values(),
        repr([_rows(servers.database, table) for table in TABLES]).encode(),
    ]
    contents += [f"{one.out}{one.err}".encode() for one in said]
    for secret in (DATABASE_PASSWORD, USER_PASSWORD, S3_SECRET):
        assert not [content for content in contents if secret.encode() in content]
