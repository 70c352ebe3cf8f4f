"""The commands that show a sweep elsewhere: in MLflow, in its model registry, and in the files of
other tools.
"""

import shlex
import webbrowser
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
    out,
)
from orchestrator.errors import UsageError, counted


def sync(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    keep_deleted: Annotated[
        bool, typer.Option("--keep-deleted", help="Leave alone what was deleted by hand in MLflow.")
    ] = False,
) -> None:
    """Rebuild or repair the MLflow view from the store."""
    from orchestrator.tracking.base import tracker_kind

    sweep, title = open_sweep(spec, store, overrides), tracker_kind(tracking_uri or "").title
    with err.status(f"writing {sweep.name} to {title}"):
        sweep.sync(tracking_uri or True, restore_deleted=not keep_deleted)
    err.print(f"{title} is up to date for {sweep.name}")


def register(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    step: Annotated[
        str | None,
        typer.Option("--step", help="Whose network. Default: the last step of the road."),
    ] = None,
    seed: Annotated[
        str, typer.Option("--seed", help="A seed of it, `median` or `best` by the sweep's metric.")
    ] = "median",
    name: Annotated[
        str | None, typer.Option("--name", help="In the registry. Default: the sweep's name.")
    ] = None,
) -> None:
    """Put a trained network into MLflow's model registry, ready to be loaded and served."""
    from orchestrator.driver import register_network
    from orchestrator.tracking import default_tracking_uri, without_password

    loaded, where = load_sweep(spec, store, overrides), open_store(store)
    uri = tracking_uri or default_tracking_uri(where)
    with err.status("taking the network to MLflow"):
        address, chosen = register_network(loaded, where, uri, step, seed, name or loaded.name)
    err.print(escape(f"{address} is {chosen.trial.name}: {chosen.why}"), soft_wrap=True)
    serve = f"mlflow models serve -m {shlex.quote(address)} --env-manager local"
    command = f"MLFLOW_TRACKING_URI={shlex.quote(without_password(uri))} {serve}"
    err.print(f"Serve it, in an activated environment: {escape(command)}", soft_wrap=True)


def export(
    spec: ReferenceArgument,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Whose files: `tensorboard`, `wandb`, or those of a format that a package brings.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", help="A folder; what is there already is brought up to date."),
    ],
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
) -> None:
    """Write the curves for TensorBoard, or for Weights & Biases offline; nothing is sent."""
    from orchestrator.exports import EXPORTERS, curves_of

    exporter = EXPORTERS.get(form)
    curves = curves_of(open_sweep(spec, store, overrides).look())
    try:
        count = exporter.write(curves, output)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    folder = shlex.quote(str(output))
    then = exporter.then.format(folder=folder)
    err.print(escape(f"wrote {counted(count, 'trial')}; {then}"), soft_wrap=True)


def ui(
    sweep: Annotated[
        str | None,
        typer.Argument(metavar="[SPEC]", help="What to open on. Default: the sweep shown last."),
    ] = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Default: 5000, or a free one.")
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Serve MLflow's UI on the store, on 127.0.0.1, until interrupted."""
    from orchestrator.tracking import default_tracking_uri, without_password
    from orchestrator.tracking.server import page_of, serve_ui

    where = open_store(store)
    uri = tracking_uri or default_tracking_uri(where)
    if tracking_uri is None and not (where.root / "mlflow.db").exists():
        means = "comes with `orchestrator run`, or with `orchestrator sync` where that was told --no-tracking"
        raise UsageError(f"there is nothing to show yet: {where.root / 'mlflow.db'} {means}")
    page = page_of(where, load_sweep(sweep, store).name if sweep else None, uri)
    if uri.startswith(("http:", "https:")):
        out.print(
            escape(f"MLflow is served there: {without_password(uri).rstrip('/')}{page}"),
            soft_wrap=True,
        )
        return
    with err.status("starting MLflow's server") as status:

        def say(address: str) -> None:
            status.stop()
            out.print(f"MLflow's UI: {address}{page}  (Ctrl-C ends it)", soft_wrap=True)
            if browser:
                webbrowser.open(address + page)

        serve_ui(uri, where.root / "mlflow_ui.log", port, say)
