"""Nothing of an address that is a secret is shown; a name is told from every other in MLflow,
too.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.addresses import without_password, without_secrets
from orchestrator.tracking.names import mlflow_name


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://user:secret@host/path", "https://host/path"),
        ("http://host?token=secret", "http://host?token=***"),
        ("http://host/a?token=secret&b=two", "http://host/a?token=***&b=***"),
        ("http://host/a?secret", "http://host/a?***"),
        ("postgresql://me:se@cret@db/x?sslmode=require", "postgresql://db/x?sslmode=***"),
        ("sqlite:////home of/a@b/mlflow.db", "sqlite:////home of/a@b/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_what_others_say_of_an_address_repeats_no_secret() -> None:
    uri = "https://me:pass1234@host/a?token=tok5678"
    said = f"no answer from {uri}; url: /a?token=tok5678/api (me:pass1234), pass1234 refused"
    shown = without_secrets(said, uri)
    assert "pass1234" not in shown
    assert "tok5678" not in shown
    assert shown.startswith("no answer from https://host/a?token=***")


@pytest.mark.parametrize("name", ["val/acc1", "précision", "a b.c-d:e/f_g", "train.lr"])
def test_a_name_that_mlflow_takes_stays(name: str) -> None:
    assert mlflow_name(name) == name


@pytest.mark.parametrize(
    "name", ["val/recall@10", "timing(s)", "a//b", "/a", "a/../b", ".", "x" * 300, "a\nb", "@"]
)
def test_other_names_become_some_that_it_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(mlflow_name(name))
    assert mlflow_name(name) != mlflow_name(f"{name}!")


@pytest.mark.parametrize(
    "address",
    ["", " ", ":", "head", "head:", ":6379", "head:-1", "head:0", "head:65536", "head:9²", "h:1 "],
)
def test_an_address_that_names_no_cluster_is_refused_at_once(address: str) -> None:
    from orchestrator.errors import ClusterError
    from orchestrator.executors.ray.network import check_address

    with pytest.raises(ClusterError, match="takes `auto`, or host:port such as head:6379; fou"):
        check_address(address)


@pytest.mark.parametrize("address", ["auto", "head:6379", "10.0.0.1:1", "[::1]:65535"])
def test_other_addresses_are_taken(address: str) -> None:
    from orchestrator.executors.ray.network import check_address

    check_address(address)


def test_what_listens_and_is_not_ray_is_told_at_once() -> None:
    from orchestrator.errors import ClusterError
    from orchestrator.executors.ray.cluster import Cluster

    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")

        answer = threading.Thread(target=refuse, daemon=True)
        answer.start()
        with pytest.raises(ClusterError, match="the server there is not Ray"):
            Cluster(f"127.0.0.1:{server.getsockname()[1]}")
        answer.join()


@pytest.mark.slow
def test_a_server_that_speaks_as_ray_does_and_is_not_ray_is_told_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestrator.errors import ClusterError
    from orchestrator.executors.ray import cluster, network

    monkeypatch.setattr(network, "_ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet_and_say_nothing() -> None:
            with server.accept()[0] as connection:
                connection.recv(100)
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")

        answer = threading.Thread(target=greet_and_say_nothing, daemon=True)
        answer.start()
        with pytest.raises(ClusterError, match=r"did not answer as Ray does within 0 s"):
            cluster.Cluster(f"127.0.0.1:{server.getsockname()[1]}")
        answer.join()


def test_a_machine_that_cannot_reach_itself_is_told_before_ray_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestrator.errors import ClusterError
    from orchestrator.executors.ray.cluster import Cluster

    def unreachable(*arguments: object) -> None:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(
        ClusterError, match=r"127\.0\.0\.1 cannot be reached .* is unreachable; --e"
    ):
        Cluster()


def test_a_machine_without_free_ports_is_told_before_ray_waits_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestrator.errors import ClusterError
    from orchestrator.executors.ray.cluster import Cluster

    left = iter(range(4))

    class Socket(socket.socket):
        """One of a machine where four ports are free."""

        def bind(self, address: Any) -> None:
            if next(left, None) is None:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Socket)
    with pytest.raises(
        ClusterError, match=r"has 4 free ports, but Ray needs about \d+: Address al"
    ):
        Cluster()


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_a_cluster_error(
    cli: Callable[..., Any], write_spec: Callable[..., Path], store_path: Path
) -> None:
    ended = cli("run", write_spec(), "--store", store_path, "--address", "127.0.0.1:9")
    assert ended.code == 3
    assert "cannot reach the Ray cluster at 127.0.0.1:9" in ended.err
    assert "Traceback" not in ended.err


def test_a_cluster_of_ones_own_needs_no_home_and_a_short_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from orchestrator.executors.ray import cluster

    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(
        cluster, "gettempdir", lambda: "/a/folder/of/a/job/on/some/cluster/with/slurm"
    )
    settings = cluster._settings_of_our_own()
    assert settings["_temp_dir"] == "/tmp/ray"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
