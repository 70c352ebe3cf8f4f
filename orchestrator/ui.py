"""MLflow's own web interface on the store, served to this machine alone."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import TrackingError, UsageError
from orchestrator.files import read_json
from orchestrator.store import Store
from orchestrator.tracking import without_password
from orchestrator.tracking.pages import address_of

_PREFERRED_PORT = 5000
_START_SECONDS = 120.0


def page_of(store: Store, sweep: str | None, tracking_uri: str) -> str:
    """What to put behind the server's address to see the runs of `sweep`, by default of the one that was mirrored last.

    Raises `UsageError` where `sweep` was never mirrored to `tracking_uri`.
    """
    mirrored = sorted(store.root.glob("*/mlflow_runs.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in mirrored:
        known = read_json(path)
        if (
            sweep in (None, path.parent.name)
            and "experiment_id" in known
            and known["tracking_uri"] == without_password(tracking_uri)
        ):
            return f"/{address_of(known['experiment_id'])}"
    if sweep:
        where = without_password(tracking_uri)
        raise UsageError(f"MLflow at {where} does not show '{sweep}' yet; `orchestrator sync {sweep}` changes that")
    return ""


def serve_ui(tracking_uri: str, log: Path, port: int | None, say: Callable[[str], None]) -> None:
    """Serve until interrupted; `say` hears the address once it answers, `log` gets what the server writes.

    Raises `UsageError` where the port is taken and `TrackingError` where the server does not start or ends by itself.
    """
    port = _check_free(port) if port else _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking_uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # no telemetry, no runner for evaluation jobs: this is a view of finished files
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way the server must not outlive us
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_it_answers(server, address, log)
            say(address)
            server.wait()
        except KeyboardInterrupt:
            return
        finally:
            server.terminate()
            server.wait()
    raise TrackingError(f"MLflow's server ended with exit code {server.returncode}; its last words are in {log}")


def _wait_until_it_answers(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(f"MLflow's server did not start (exit code {server.returncode}); its last words are in {log}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.3)
    raise TrackingError(f"MLflow's server did not answer within {_START_SECONDS:.0f} s; what it wrote is in {log}")


def _free_port() -> int:
    """MLflow's usual port where it is free, else any."""
    return _PREFERRED_PORT if _is_free(_PREFERRED_PORT) else _any_free_port()


def _check_free(port: int) -> int:
    if not _is_free(port):
        raise UsageError(f"port {port} of 127.0.0.1 is taken; choose another with --port, or leave it out for a free one")
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
