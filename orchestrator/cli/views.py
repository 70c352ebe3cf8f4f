"""The commands that show a sweep elsewhere: in MLflow, in its model registry, and in the files of
other tools.
"""

import gc
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from orchestrator.cli.options import (
    OverridesArgument,
    ReferenceArgument,
    StoreOption,
    TrackingOption,
    err,
    load_sweep,
    open_store,
    open_sweep,
    open_to_show,
)
from orchestrator.cli.progress_line import telling
from orchestrator.errors import UsageError, counted

_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def sync(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    keep_deleted: Annotated[
        bool,
        typer.Option("--keep-deleted", help="Do not restore what was deleted by hand in MLflow."),
    ] = False,
) -> None:
    """Rebuild or repair the MLflow view from the store."""
    from orchestrator.tracking.base import tracker_kind

    sweep, title = open_sweep(spec, store, overrides), tracker_kind(tracking_uri or "").title
    with telling(err, f"writing {sweep.name} to {title}"), _collecting_rarely():
        sweep.sync(tracking_uri or True, restore_deleted=not keep_deleted)
    err.print(f"{title} is up to date for {sweep.name}")


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Let Python look less often for cycles of objects that nobody uses: thousands of trials leave
    none, and looking takes a sixth of the time that `sync` does.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def register(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    step: Annotated[
        str | None,
        typer.Option("--step", help="The step whose network to register. Default: the last one."),
    ] = None,
    seed: Annotated[
        str, typer.Option("--seed", help="A seed, or `median` or `best` by the sweep's metric.")
    ] = "median",
    name: Annotated[
        str | None, typer.Option("--name", help="Name in the registry. Default: the sweep's name.")
    ] = None,
) -> None:
    """Put a trained network into MLflow's model registry, ready to load and serve."""
    from orchestrator.driver import register_network
    from orchestrator.tracking import default_tracking_uri, without_password

    loaded, where = load_sweep(spec, store, overrides), open_store(store)
    uri = tracking_uri or default_tracking_uri(where)
    with telling(err, "registering the network in MLflow"):
        address, chosen = register_network(loaded, where, uri, step, seed, name or loaded.name)
    err.print(escape(f"{address} is {chosen.trial.name}: {chosen.why}"), soft_wrap=True)
    serve = f"mlflow models serve -m {shlex.quote(address)} --env-manager local"
    command = f"MLFLOW_TRACKING_URI={shlex.quote(without_password(uri))} {serve}"
    err.print(f"To serve it, in an activated environment: {escape(command)}", soft_wrap=True)


def export(
    spec: ReferenceArgument,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="`tensorboard`, `wandb`, `optuna` (searches), or a format from an installed "
            "package.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", help="Folder to write to; files from an earlier export are updated."
        ),
    ],
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
) -> None:
    """Export curves to TensorBoard or offline Weights & Biases, or searches to Optuna."""
    from orchestrator.exports import EXPORTERS

    exporter = EXPORTERS.get(form)
    try:
        with telling(err, "exporting"):
            content = exporter.takes(open_sweep(spec, store, overrides).look())
            count = exporter.write(content, output)
    except OSError as error:
        place = error.filename or output
        raise UsageError(f"cannot write {place}: {error.strerror}") from error
    folder = shlex.quote(str(output))
    then = exporter.then.format(folder=folder)
    err.print(escape(f"wrote {counted(count, exporter.noun)}; {then}"), soft_wrap=True)


def ui(
    sweep: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPEC]", help="The sweep to open. Default: the one submitted last."
        ),
    ] = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="Port of MLflow's UI. Default: 5000, or a free one."
        ),
    ] = None,
    report_port: Annotated[
        int | None,
        typer.Option(
            "--report-port",
            min=1,
            max=65535,
            help="Port of the report. Default: 5080, or a free one.",
        ),
    ] = None,
    only_mlflow: Annotated[
        bool, typer.Option("--only-mlflow", help="Serve MLflow's UI only, without the report.")
    ] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve the report, updated while the sweep runs, and MLflow's UI on 127.0.0.1 until
    interrupted.
    """
    from orchestrator.cli.serving import serve_mlflow, serve_report

    where = open_store(store)
    if sweep:
        open_to_show("ui", sweep, store)  # an error in it is told before anything is started
    if only_mlflow:
        serve_mlflow(where, sweep, tracking_uri, port, browser)
    else:
        serve_report(where, sweep, tracking_uri, (port, report_port), browser)
