"""MLflow's own web interface on the store, served to this machine alone."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from orchestrator.errors import TrackingError, UsageError
from orchestrator.store.mlflow_runs import RUNS, read_runs
from orchestrator.store.store import Store
from orchestrator.tracking import without_password
from orchestrator.tracking.pages import address_of

_PREFERRED_PORT = 5000
_START_SECONDS = 120.0


def page_of(store: Store, sweep: str | None, tracking_uri: str) -> str:
    """Return what to put behind the server's address to see the runs of `sweep`, by default of the
    one that was mirrored last.

    Raises `UsageError` where `sweep` was never mirrored to `tracking_uri`.
    """
    mirrored = sorted(
        store.root.glob(f"*/{RUNS}"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in mirrored:
        known = read_runs(path)
        if (
            known
            and sweep in (None, path.parent.name)
            and "experiment_id" in known
            and known["tracking_uri"] == without_password(tracking_uri)
        ):
            return f"/{address_of(known['experiment_id'])}"
    if sweep:
        where = without_password(tracking_uri)
        raise UsageError(f"MLflow at {where} has no '{sweep}' yet; run `orchestrator sync {sweep}`")
    return ""


def serve_ui(tracking_uri: str, log: Path, port: int | None, say: Callable[[str], None]) -> None:
    """Serve until interrupted; `say` hears the address once it answers, `log` gets what the server
    writes.

    Raises `UsageError` where the port is taken and `TrackingError` where the server does not start
    or ends by itself.
    """
    port = _checked(port) if port else _preferred_port()
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # either way the server must not outlive us
    server = start_server(tracking_uri, port, log)
    try:
        wait_until_it_answers(server, port, log)
        say(f"http://127.0.0.1:{port}")
        server.wait()
    except KeyboardInterrupt:
        return
    finally:
        server.terminate()
        server.wait()
    raise TrackingError(
        f"MLflow's server ended with exit code {server.returncode}; its output is in {log}"
    )


def start_server(tracking_uri: str, port: int, log: Path, *options: str) -> subprocess.Popen[bytes]:
    """MLflow's server on 127.0.0.1, with further `options` of `mlflow server`; what it writes goes
    to `log`.
    """
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *options,
    ]
    # no telemetry, no runner for evaluation jobs: this is a view of finished files
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    environment["MLFLOW_BACKEND_STORE_URI"] = (
        tracking_uri  # may have a password, and everybody sees a command's arguments
    )
    # what it says of the address may have a password in it, too
    with open(log, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Raises `TrackingError` where the server of `start_server` ends, or does not answer in two
    minutes.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(
                f"MLflow's server did not start (exit code {server.returncode}); its output is in "
                f"{log}"
            )
        if _is_healthy(port):
            return
        time.sleep(0.3)
    raise TrackingError(
        f"MLflow's server did not answer within {_START_SECONDS:.0f} s; its output is in {log}"
    )


def free_port() -> int:
    """Any port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_healthy(port: int) -> bool:
    connection = HTTPConnection(
        "127.0.0.1", port, timeout=2
    )  # unlike urllib it asks no proxy for this machine
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _preferred_port() -> int:
    """MLflow's usual port where it is free, else any."""
    return free_port() if _why_not(_PREFERRED_PORT) else _PREFERRED_PORT


def _checked(port: int) -> int:
    if reason := _why_not(port):
        hint = "choose another with --port, or leave it out for a free one"
        raise UsageError(f"port {port} of 127.0.0.1 cannot be used ({reason}); {hint}")
    return port


def _why_not(port: int) -> str | None:
    """Say why nobody could listen on that port; None where one could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return str(error.strerror)
    return None
