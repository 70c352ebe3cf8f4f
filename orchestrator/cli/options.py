"""Arguments that commands have in common, and how a store and a sweep are named."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.markup import escape

from orchestrator.cli.console import err as err
from orchestrator.cli.console import out as out
from orchestrator.errors import UsageError
from orchestrator.metrics import Mode

if TYPE_CHECKING:
    from orchestrator.analysis.roadmap import Roadmap
    from orchestrator.api import Sweep
    from orchestrator.spec.sweep_spec import SweepSpec
    from orchestrator.store.store import Store

SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The sweep's YAML file.")]
ReferenceArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="The sweep's YAML file, or its name in the store.")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings that override the spec, such as train.epochs=2 seeds=[0]; ~key removes one.",
    ),
]
StoreOption = Annotated[
    Path,
    typer.Option("--store", help="Folder for the results; on a cluster, one that all nodes share."),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="Address of an MLflow server or another tracker. Default: a SQLite file in the store.",
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric", help="Report another metric that the trials recorded, such as train/loss."
    ),
]


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """Reads one of these words, and says which there are where it is none of them."""

    def read(word: str) -> str:
        if word not in words:
            raise typer.BadParameter(f"'{word}' is none of {', '.join(words)}")
        return word

    return read


ModeOption = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        parser=one_of(get_args(Mode)),
        metavar="max|min",
        help="max or min: which direction is better, if the metric is your own.",
    ),
]


OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="STEP", help="Only this step. Repeat it for several steps."),
]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", metavar="0,1,2", help="Only these seeds of the spec.")
]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for use by programs.")]


def print_json(value: Any) -> None:
    """Print JSON for programs, in ASCII whatever the terminal's encoding."""
    out.write(json.dumps(value, indent=2) + "\n")


def print_roadmap(roadmap: "Roadmap") -> None:
    """The table of what each step did."""
    from orchestrator.report.terminal import roadmap_table

    out.print(roadmap_table(roadmap))


def seeds_in(text: str | None) -> list[int]:
    """The seeds that `--seeds` names. Raises `UsageError`."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(
            f"--seeds takes whole numbers with commas between them, such as 0,1,2; found '{text}'"
        ) from error


def open_store(path: Path) -> "Store":
    """The store at `path`."""
    from orchestrator.store.store import Store

    return Store.at(path)


def open_sweep(reference: str, store: Path, overrides: list[str] | None = None) -> "Sweep":
    """The sweep of a spec's file, or of that name in the store. Raises `SpecError`,
    `UsageError`.
    """
    from orchestrator import api

    return api.load(reference, store, overrides or [])


def open_to_show(
    command: str, reference: str, store: Path, overrides: list[str] | None = None
) -> "Sweep":
    """`open_sweep` for a command that shows results: says if those of the store are of another
    spec.
    """
    sweep = open_sweep(reference, store, overrides)
    if not sweep.is_as_submitted:
        by_name = shlex.join(["orchestrator", command, sweep.name, "--store", str(store)])
        err.print(
            f"note: '{sweep.name}' was last run with other settings than these. As it was run:\n"
            f"  {escape(by_name)}",
            soft_wrap=True,
        )
    return sweep


def load_sweep(reference: str, store: Path, overrides: list[str] | None = None) -> "SweepSpec":
    """The spec of `open_sweep`."""
    return open_sweep(reference, store, overrides).spec
