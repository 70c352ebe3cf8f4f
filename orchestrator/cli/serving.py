"""Pages that `orchestrator ui` serves: the report of a store's sweeps, and MLflow beside it."""

import signal
import threading
import webbrowser
from collections.abc import Callable

from rich.markup import escape

from orchestrator.api import Sweep
from orchestrator.cli.options import err, open_sweep, out
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.store.store import Store
from orchestrator.tracking import default_tracking_uri, without_password
from orchestrator.tracking.database import take_home
from orchestrator.tracking.server import page_of, serve_ui
from orchestrator.web.pages import Pages, address_of
from orchestrator.web.server import serving

Say = Callable[[str], None]
"""Hears the address at which MLflow answers."""


def serve_report(
    store: Store,
    sweep: str | None,
    tracking_uri: str | None,
    ports: tuple[int | None, int | None],
    browser: bool,
) -> None:
    """Serve the report and, where there is one, MLflow on `ports` (MLflow, report) until
    interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pages, path = _pages_of(store, sweep)
    with serving(pages, ports[1]) as address:
        out.print(
            f"Report: {address}{path}  (updated while the sweep runs; stop with Ctrl-C)",
            soft_wrap=True,
        )
        if browser:
            webbrowser.open(address + path)
        uri = tracking_uri or default_tracking_uri(store)

        def link(mlflow: str) -> None:
            pages.mlflow = lambda name: mlflow + _page_in_mlflow(store, name or None, uri)

        try:
            if not _mlflow_beside(store, sweep, tracking_uri, ports[0], link):
                threading.Event().wait()
        except KeyboardInterrupt:
            return


def serve_mlflow(
    store: Store,
    sweep: str | None,
    tracking_uri: str | None,
    port: int | None,
    browser: bool,
    heard: Say | None = None,
) -> bool:
    """Serve MLflow's UI on the store until interrupted. For a server elsewhere, print its address
    and return False.

    Raises `UsageError` if the sweep is not in MLflow or the port is taken, and `TrackingError`.
    """
    uri = tracking_uri or default_tracking_uri(store)
    if tracking_uri is None and not (store.root / "mlflow.db").exists():
        means = (
            "`orchestrator run` creates it, or `orchestrator sync` after a run with --no-tracking"
        )
        raise UsageError(f"there is no {store.root / 'mlflow.db'} to show yet: {means}")
    take_home(uri, store.root)
    page = page_of(store, _name_of(sweep, store), uri)
    if uri.startswith(("http:", "https:")):
        address = without_password(uri).rstrip("/")
        out.print(escape(f"MLflow runs at {address}{page}"), soft_wrap=True)
        if heard:
            heard(address)
        return False
    with err.status("starting MLflow's server") as status:

        def say(address: str) -> None:
            status.stop()
            out.print(f"MLflow's UI: {address}{page}  (stop with Ctrl-C)", soft_wrap=True)
            if heard:
                heard(address)
            if browser:
                webbrowser.open(address + page)

        serve_ui(uri, store.root / "mlflow_ui.log", port, say)
    return True


def _mlflow_beside(
    store: Store, sweep: str | None, tracking_uri: str | None, port: int | None, heard: Say
) -> bool:
    """Serve MLflow, too, until interrupted. False if it runs elsewhere, or if it cannot be served:
    the reason is printed, and the report is served alone.
    """
    try:
        return serve_mlflow(store, sweep, tracking_uri, port, browser=False, heard=heard)
    except OrchestratorError as error:
        if port is not None:
            raise
        err.print(escape(f"MLflow is not shown: {error}"), soft_wrap=True)
        return False


def _pages_of(store: Store, sweep: str | None) -> tuple[Pages, str]:
    """The pages of the store, and the path of the one to open. Raises `UsageError`."""
    name = _name_of(sweep, store)
    names = store.sweeps()
    if name is None and not names:
        means = "`orchestrator run` creates one, or name a spec"
        raise UsageError(f"there is no sweep in {store.root} to show yet: {means}")

    def opened(wanted: str) -> Sweep:
        return open_sweep(sweep if sweep and wanted == name else _known(wanted, store), store.root)

    def listed() -> list[str]:
        return sorted({*store.sweeps(), *([name] if name else [])})

    return Pages(opened, listed), address_of(name or _newest(store, names))


def _known(name: str, store: Store) -> str:
    """The name, if the store has a sweep of it: a request must not name a file. Raises
    `UsageError`.
    """
    if name not in store.sweeps():
        raise UsageError(f"the store has no sweep '{name}'")
    return name


def _newest(store: Store, names: list[str]) -> str:
    """The sweep that was submitted last."""
    return max(names, key=lambda name: (store.root / name / "sweep.yaml").stat().st_mtime)


def _name_of(sweep: str | None, store: Store) -> str | None:
    return open_sweep(sweep, store.root).name if sweep else None


def _page_in_mlflow(store: Store, name: str | None, uri: str) -> str:
    try:
        return page_of(store, name, uri)
    except UsageError:
        return ""  # the sweep is not there yet: open MLflow's first page
