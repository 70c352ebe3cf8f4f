"""The commands that train: `run` and `resume`."""

import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

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
from orchestrator.errors import counted

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


NoTrackingOption = Annotated[
    bool, typer.Option("--no-tracking", help="Do not mirror into MLflow; `sync` can do it later.")
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="`ray`; `local` trains one trial at a time in this process; `submitit` gives each a Slurm job; or one "
        "that a package brings.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="A running Ray cluster, `auto` for the one of this machine; for submitit slurm?partition=gpu. Default: "
        "this machine alone.",
    ),
]


MaxFailuresOption = Annotated[
    int | None,
    typer.Option(
        "--max-failures",
        min=0,
        metavar="N",
        help="Start nothing more after N failures; 0 for however many. Default: where the first trials of "
        "several variants all fail of one cause.",
    ),
]
SmokeOption = Annotated[
    bool,
    typer.Option(
        "--smoke", help="Every variant for a moment, in a store of its own: what fails, fails now."
    ),
]


def run(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = "ray",
    address: AddressOption = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    no_tracking: NoTrackingOption = False,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    max_failures: MaxFailuresOption = None,
    smoke: SmokeOption = False,
) -> None:
    """Train what is missing and print the roadmap; the same command goes on where it stopped."""
    from orchestrator.spec.sweep_spec import load_spec

    if smoke:
        _smoke(load_spec(spec, overrides or []), executor, address, store)
        return
    _run(
        load_spec(spec, overrides or []),
        executor,
        address,
        store,
        tracking_uri,
        no_tracking,
        only,
        seeds,
        max_failures,
        retry_failed=False,
    )


def resume(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = "ray",
    address: AddressOption = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    no_tracking: NoTrackingOption = False,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    max_failures: MaxFailuresOption = None,
) -> None:
    """Train as `run` does, but also retry failed trials."""
    _run(
        load_sweep(spec, store, overrides),
        executor,
        address,
        store,
        tracking_uri,
        no_tracking,
        only,
        seeds,
        max_failures,
        retry_failed=True,
    )


def _run(
    spec: "SweepSpec",
    executor: str,
    address: str | None,
    store: Path,
    tracking_uri: str | None,
    no_tracking: bool,
    only: list[str] | None,
    seeds: str | None,
    max_failures: int | None,
    *,
    retry_failed: bool,
) -> None:
    from orchestrator.api import Sweep
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.errors import Interrupted
    from orchestrator.executors import EXECUTORS

    sweep = Sweep(spec, open_store(store))
    act = sweep.resume if retry_failed else sweep.run
    terminal = (
        nullcontext() if EXECUTORS.get(executor).trains_elsewhere else kept_terminal(out, err)
    )
    try:
        with terminal:
            ending = act(
                executor,
                address=address,
                tracking=False if no_tracking else tracking_uri or True,
                only=only or [],
                seeds=seeds_in(seeds),
                max_failures=max_failures,
                view=ConsoleView(out),
            )
    except Interrupted:
        err.print(
            f"Interrupted; every checkpoint is saved. Go on with:\n  {escape(_this_command())}",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        err.print(
            "Stopped at once; what runs goes on from what it had saved. Go on with:\n"
            f"  {escape(_this_command())}",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    print_roadmap(sweep.report(shown_by="run").roadmap)
    if ending.stopped:
        go_on = "\nrun the same command to go on, with --max-failures 0 in any case"
        text = ending.stopped + (go_on if ending.has_failures else "")
        err.print(Text(text, style="yellow"), soft_wrap=True)
    if ending.has_failures:
        elsewhere = [] if store == Path("runs") else ["--store", str(store)]
        again = escape(shlex.join([str(spec.path), *spec.overrides, *elsewhere]))
        hint = f"Why: `orchestrator status {again}`. Try again: `orchestrator resume {again}`"
        err.print(f"[red]Some trials failed.[/] {hint}", soft_wrap=True)
        raise typer.Exit(1)


def _smoke(spec: "SweepSpec", executor: str, address: str | None, store: Path) -> None:
    """Print which variants fail at once, each cause once. Exit code 1 where some do."""
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.executors import EXECUTORS
    from orchestrator.planning.causes import grouped_causes
    from orchestrator.smoke import smoke_test

    kind = EXECUTORS.get(executor)
    is_local = not kind.trains_elsewhere
    with kept_terminal(out, err) if is_local else nullcontext():
        chosen = kind.create(address)
        found = smoke_test(
            spec, open_store(store), chosen, ConsoleView(out), in_this_process=is_local
        )
    for label in found.untried:
        out.print(Text(f"{label} was not tried: a search has to find its settings first"))
    for group in grouped_causes(found.causes):
        out.print(Text(str(group), style="red"), soft_wrap=True)
    if found.interrupted:
        raise typer.Exit(130)
    good = len(found.trials) - len(found.causes)
    out.print(f"{good} of {counted(len(found.trials), 'variant')} train; nothing of it is kept")
    if found.causes:
        again = escape(shlex.join(["--store", str(found.store.root)]))
        err.print(f"More: `orchestrator show {spec.name}/TRIAL {again}`", soft_wrap=True)
        raise typer.Exit(1)


def _this_command() -> str:
    return shlex.join(["orchestrator", *sys.argv[1:]])
