"""The commands that train: `run` and `resume`."""

import shlex
import sys
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from orchestrator.cli.options import (
    OnlyOption,
    OverridesArgument,
    ReferenceArgument,
    SeedsOption,
    SpecArgument,
    StoreOption,
    TrackingOption,
    err,
    load_sweep,
    open_store,
    out,
    print_roadmap,
    seeds_in,
)
from orchestrator.cli.terminal import kept_terminal

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


class ExecutorName(StrEnum):
    """Where trials run."""

    RAY = "ray"
    LOCAL = "local"


NoTrackingOption = Annotated[
    bool, typer.Option("--no-tracking", help="Do not mirror into MLflow; `sync` can do it later.")
]
ExecutorOption = Annotated[
    ExecutorName,
    typer.Option("--executor", help="`local` trains one trial at a time in this process."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="A running Ray cluster, `auto` for the one of this machine. Default: this machine alone.",
    ),
]


def run(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = ExecutorName.RAY,
    address: AddressOption = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    no_tracking: NoTrackingOption = False,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
) -> None:
    """Train what is missing and print the roadmap; the same command goes on where it stopped."""
    from orchestrator.spec.sweep_spec import load_spec

    _run(
        load_spec(spec, overrides or []),
        executor,
        address,
        store,
        tracking_uri,
        no_tracking,
        only,
        seeds,
        retry_failed=False,
    )


def resume(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = ExecutorName.RAY,
    address: AddressOption = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    no_tracking: NoTrackingOption = False,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
) -> None:
    """As `run`, and try again what failed."""
    _run(
        load_sweep(spec, store, overrides),
        executor,
        address,
        store,
        tracking_uri,
        no_tracking,
        only,
        seeds,
        retry_failed=True,
    )


def _run(
    spec: "SweepSpec",
    executor: ExecutorName,
    address: str | None,
    store: Path,
    tracking_uri: str | None,
    no_tracking: bool,
    only: list[str] | None,
    seeds: str | None,
    *,
    retry_failed: bool,
) -> None:
    from orchestrator.api import Sweep
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.errors import Interrupted

    sweep = Sweep(spec, open_store(store))
    act = sweep.resume if retry_failed else sweep.run
    terminal = kept_terminal(out, err) if executor is ExecutorName.LOCAL else nullcontext()
    try:
        with terminal:
            ending = act(
                executor.value,
                address=address,
                tracking=False if no_tracking else tracking_uri or True,
                only=only or [],
                seeds=seeds_in(seeds),
                view=ConsoleView(out),
            )
    except Interrupted:
        err.print(
            f"Interrupted; every checkpoint is saved. Go on with:\n  {escape(_this_command())}",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    print_roadmap(sweep.report(shown_by="run").roadmap)
    if ending.has_failures:
        elsewhere = [] if store == Path("runs") else ["--store", str(store)]
        again = escape(shlex.join([str(spec.path), *spec.overrides, *elsewhere]))
        hint = f"Why: `orchestrator status {again}`. Try again: `orchestrator resume {again}`"
        err.print(f"[red]Some trials failed.[/] {hint}", soft_wrap=True)
        raise typer.Exit(1)


def _this_command() -> str:
    return shlex.join(["orchestrator", *sys.argv[1:]])
