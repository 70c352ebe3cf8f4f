"""`orchestrator ui` serves MLflow to this machine alone, and its address opens on the sweep."""

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from mlflow import MlflowClient

from orchestrator.errors import UsageError
from orchestrator.store.files import write_json
from orchestrator.store.store import Store
from orchestrator.tracking.server import page_of

CommandLine = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def mirrored(root: Path, sweep: str, uri: str, experiment: str, when: float) -> None:
    """What the mirror leaves behind for a sweep."""
    path = root / sweep / "mlflow_runs.json"
    path.parent.mkdir(parents=True)
    write_json(path, {"tracking_uri": uri, "experiment_id": experiment, "runs": {}})
    os.utime(path, (when, when))


def test_it_opens_on_the_sweep_that_was_shown_last_or_on_the_one_named(tmp_path: Path) -> None:
    mirrored(tmp_path, "older", "sqlite:///here", "4", when=100)
    mirrored(tmp_path, "newer", "sqlite:///here", "7", when=200)
    mirrored(tmp_path, "elsewhere", "http://server", "9", when=300)
    store = Store(tmp_path)
    assert page_of(store, None, "sqlite:///here").startswith("/#/experiments/7/runs?")
    assert page_of(store, "older", "sqlite:///here").startswith("/#/experiments/4/runs?")
    assert page_of(store, None, "http://me:secret@server").startswith("/#/experiments/9/runs?")
    assert page_of(store, None, "sqlite:///empty") == ""
    with pytest.raises(UsageError, match="has no 'older' yet; run `orchestrator sync older`"):
        page_of(store, "older", "http://server")


def test_a_server_elsewhere_is_named_and_not_served_again(zoo: Path, cli: CommandLine) -> None:
    mirrored(zoo / "runs", "far", "http://server:5000", "3", when=1)
    finished = cli(
        "ui", "--only-mlflow", "--store", zoo / "runs", "--tracking-uri", "http://server:5000/"
    )
    assert (finished.code, "MLflow runs at http://server:5000\n" in finished.out) == (
        0,
        True,
    )
    finished = cli(
        "ui", "--only-mlflow", "--store", zoo / "runs", "--tracking-uri", "http://server:5000"
    )
    assert "http://server:5000/#/experiments/3/runs?" in finished.out


def test_a_port_that_is_taken_is_told(
    cli: CommandLine, new_mlflow: Callable[..., str], store_path: Path, taken: int
) -> None:
    new_mlflow()
    finished = cli("ui", "--only-mlflow", "--store", store_path, "--port", taken)
    assert (
        finished.code,
        f"port {taken} of 127.0.0.1 cannot be used (Address already in use)" in finished.err,
    ) == (2, True)


@pytest.mark.slow
def test_the_page_that_it_names_is_the_sweep_and_ends_with_it(
    zoo: Path, cli: CommandLine, process: Process, new_mlflow: Callable[..., str]
) -> None:
    uri = new_mlflow()
    assert cli("sync", "zoo", "--store", zoo / "runs").code == 0
    driver = process("ui", "zoo", "--store", zoo / "runs")
    assert driver.stdout is not None
    assert driver.stdout.readline().startswith("Report: http://127.0.0.1:")
    said = driver.stdout.readline()
    page = urlsplit(said.split()[2])
    assert page.hostname == "127.0.0.1"
    address = f"http://{page.netloc}"
    assert not any(
        "mlflow.db" in word
        for one in psutil.Process(driver.pid).children()
        for word in one.cmdline()
    )
    with urllib.request.urlopen(f"{address}/", timeout=30) as response:
        assert "MLflow" in response.read().decode()
    experiment = page.fragment.split("/")[2]
    with urllib.request.urlopen(
        f"{address}/api/2.0/mlflow/experiments/get?experiment_id={experiment}", timeout=30
    ) as response:
        assert (
            json.load(response)["experiment"]["name"]
            == MlflowClient(uri).get_experiment(experiment).name
            == "zoo"
        )
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(address, timeout=5)
