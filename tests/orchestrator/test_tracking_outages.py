"""A tracking server that is down, slow or broken for a while delays the view and nothing else,
and is caught up.
"""

import io
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from rich.console import Console

from illama.data.datasets import dataset_digest
from orchestrator.cli.run_view import ConsoleView
from orchestrator.driver import Job, run_sweep
from orchestrator.executors.local import run_locally
from orchestrator.planning.plan import trials_of
from orchestrator.spec.sweep_spec import load_spec
from orchestrator.store.store import Store
from orchestrator.tracking import MlflowMirror
from orchestrator.tracking import background as mirroring
from orchestrator.tracking.background import BackgroundMirror

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings(
        "ignore:starlette.middleware.wsgi is deprecated"
    ),  # mlflow's server under starlette 1
]


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


class Threads(ThreadingMixIn, WSGIServer):
    """Answers one while another waits."""

    daemon_threads = True


class Server:
    """MLflow's own server in this process, behind a door that can be shut."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self._http = make_server("127.0.0.1", 0, self._answer, Threads, Quiet)
        self.mood = "well"
        """`well`, `broken` answers 500, `hanging` does not answer, `forgetful` does at times,
        and answers 500.
        """
        self.moods_at: dict[int, str] = {}
        """What becomes of it at which request, from 1."""
        self.asked = 0
        self._door = threading.Event()
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.asked += 1
        self.mood = self.moods_at.get(self.asked, self.mood)
        if self.mood == "hanging":
            self._door.wait()
        if self.mood in ("well", "hanging") or (self.mood == "forgetful" and self.asked % 5):
            return self._app(environ, start_response)
        if self.mood == "forgetful":
            list(self._app(environ, lambda *arguments: None))
        start_response("500 Internal Server Error", [("Content-Type", "application/json")])
        return [json.dumps({"error_code": "INTERNAL_ERROR", "message": "out of order"}).encode()]

    def well_again(self) -> None:
        """Answer, also those that have been waiting and are gone."""
        self.mood = "well"
        self._door.set()
        while any(
            thread.name.endswith("(process_request_thread)") for thread in threading.enumerate()
        ):
            time.sleep(0.01)

    def close(self) -> None:
        """Let everybody go."""
        self._door.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def database(new_mlflow: Callable[..., str]) -> str:
    return new_mlflow("server.db")


@pytest.fixture
def server(database: str, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    from mlflow.server import app, handlers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    backend = SqlAlchemyStore(database, (store_path / "served").as_uri())
    monkeypatch.setattr(handlers, "_tracking_store", backend)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(mirroring, "_PERIOD_SECONDS", 0.05)
    served = Server(app)
    yield served
    served.close()
    backend.engine.dispose()


@pytest.fixture
def mirror_to(zoo: Path) -> Callable[[str], MlflowMirror]:
    spec = load_spec(zoo / "zoo.yaml")
    return lambda uri: MlflowMirror(uri, spec, trials_of(spec, dataset_digest), Store(zoo / "runs"))


def shown(database: str) -> dict[str, Any]:
    """The curves of each active run by its name; a name that is there twice is an error."""
    connection = sqlite3.connect(database.removeprefix("sqlite:///"))
    names = connection.execute(
        "SELECT run_uuid, name FROM runs WHERE lifecycle_stage = 'active'"
    ).fetchall()
    points = "SELECT key, step, value, timestamp FROM metrics WHERE run_uuid = ?"
    found = {
        name: sorted(connection.execute(points, [run_id]).fetchall()) for run_id, name in names
    }
    connection.close()
    assert len(found) == len(names), f"two runs of one name: {sorted(name for _, name in names)}"
    return found


@pytest.mark.parametrize("mood", ["broken", "hanging"])
def test_a_server_that_is_out_of_order_is_caught_up_when_it_comes_back(
    mood: str,
    server: Server,
    database: str,
    mirror_to: Any,
    new_mlflow: Any,
    wait_until: Callable[..., None],
) -> None:
    mirror_to(calm := new_mlflow("calm.db")).sync()
    said = io.StringIO()
    server.moods_at = {20: mood}
    with BackgroundMirror(mirror_to(server.uri), ConsoleView(Console(file=said))):
        wait_until(lambda: server.asked > 25, "it was asked in vain")
        server.well_again()
    assert shown(database) == shown(calm)
    assert said.getvalue() == ""


def test_an_answer_that_gets_lost_makes_nothing_twice(
    server: Server, database: str, mirror_to: Any, new_mlflow: Any
) -> None:
    mirror_to(calm := new_mlflow("calm.db")).sync()
    server.mood = "forgetful"
    said = io.StringIO()
    with BackgroundMirror(mirror_to(server.uri), ConsoleView(Console(file=said))):
        pass
    assert server.asked > 100
    server.well_again()
    mirror_to(server.uri).sync()
    assert shown(database) == shown(calm)


@pytest.mark.parametrize("mood", ["broken", "hanging"])
def test_a_sweep_does_not_wait_for_a_server_that_is_out_of_order(
    mood: str, server: Server, make_sweep: Any, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setattr(mirroring, "_PATIENCE_SECONDS", 1.0)
    sweep = make_sweep(seeds=[0, 1, 2])
    server.mood = mood
    said, ends = io.StringIO(), []

    def timed(queue: Any) -> None:
        run_locally(queue)
        ends.append(time.monotonic())

    ending = run_sweep(
        Job(sweep.spec, sweep.store, timed, server.uri), ConsoleView(Console(file=said, width=1000))
    )
    assert time.monotonic() - ends[0] < 30, "the patience, not the minutes of a server"
    assert not ending.has_failures
    assert not ending.plan.to_train(retry_failed=False)
    assert "No trial is affected; `orchestrator sync` updates the view." in said.getvalue()
    server.well_again()
    MlflowMirror(server.uri, sweep.spec, sweep.trials, sweep.store).sync()
    assert {name for name in shown(database) if "seed" in name} == {
        f"baseline-seed{seed}" for seed in (0, 1, 2)
    }
