"""The commands that train: `run` and `resume`."""

import shlex
import sys
from contextlib import nullcontext
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from orchestrator.cli.options import (
    OnlyOption,
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
from orchestrator.errors import UsageError


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
        load_spec(spec),
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
        load_sweep(spec, store),
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
    spec: Any,
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
    from orchestrator.driver import Job, report_sweep, run_sweep
    from orchestrator.tracking import default_tracking_uri

    where = open_store(store)
    job = Job(
        spec=spec,
        store=where,
        executor=_executor(executor, address),
        tracking_uri=None if no_tracking else tracking_uri or default_tracking_uri(where),
        retry_failed=retry_failed,
        only=only or [],
        seeds=seeds_in(seeds),
        trains_elsewhere=executor is ExecutorName.RAY,
    )
    with kept_terminal(out, err) if executor is ExecutorName.LOCAL else nullcontext():
        ending = run_sweep(job, out)
    if ending.interrupted:
        err.print(
            f"Interrupted; every checkpoint is saved. Go on with:\n  {escape(_this_command())}",
            soft_wrap=True,
        )
        raise typer.Exit(130)
    print_roadmap(report_sweep(spec, where, shown_by="run"))
    if ending.has_failures:
        elsewhere = [] if store == Path("runs") else ["--store", str(store)]
        again = escape(shlex.join([str(spec.path), *elsewhere]))
        hint = f"Why: `orchestrator status {again}`. Try again: `orchestrator resume {again}`"
        err.print(f"[red]Some trials failed.[/] {hint}", soft_wrap=True)
        raise typer.Exit(1)


def _executor(name: ExecutorName, address: str | None) -> Any:
    if name is ExecutorName.LOCAL:
        from orchestrator.executors.local import run_locally

        if address is not None:
            raise UsageError(
                "--address names a Ray cluster, but --executor local uses none; leave one of them out"
            )
        return run_locally
    try:
        from orchestrator.executors.ray.tune import run_on_ray
    except ImportError as error:
        raise UsageError(
            f"Ray is not installed ({error}); install it, or add --executor local"
        ) from error
    return partial(run_on_ray, address=address)


def _this_command() -> str:
    return shlex.join(["orchestrator", *sys.argv[1:]])
