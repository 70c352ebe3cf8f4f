"""What commands have in common: arguments, the two consoles, and how a store and a sweep are named."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from orchestrator.metrics import Mode
from orchestrator.report import WIDTH

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The sweep's YAML file.")]
ReferenceArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="The sweep's YAML file, or its name in the store.")
]
StoreOption = Annotated[
    Path, typer.Option("--store", help="Where results are kept; a path that all nodes see.")
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow's server; by default a SQLite file in the store.",
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric", help="By another metric that the trials recorded, such as train/loss."
    ),
]
ModeOption = Annotated[
    Mode | None,
    typer.Option("--mode", help="Which direction of it is better, where only you know."),
]


class _Output(Console):
    """Falls silent where its reader goes away, as in `orchestrator run ... | head`: a sweep goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


out = _Output(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
err = _Output(stderr=True, highlight=False)


def open_store(path: Path) -> Any:
    """The store at `path`."""
    from orchestrator.store.store import Store

    return Store(path.expanduser().resolve())


def load_sweep(reference: str, store: Path) -> Any:
    """The spec in the file `reference`, or of the sweep of that name in the store. Raises `SpecError`, `UsageError`."""
    from orchestrator.driver import spec_path_of
    from orchestrator.spec.sweep_spec import load_spec

    return load_spec(spec_path_of(reference, open_store(store)))
