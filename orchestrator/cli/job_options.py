"""Options of the commands that use an executor: `run`, `resume` and `measure`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import (
    OnlyOption,
    SeedsOption,
    StoreOption,
    TrackingOption,
    open_store,
    seeds_in,
)

if TYPE_CHECKING:
    from orchestrator.store.store import Store

NoTrackingOption = Annotated[
    bool, typer.Option("--no-tracking", help="Do not write to MLflow; `sync` can do so later.")
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="`ray`, `local` (one trial at a time in this process), `submitit` (one Slurm job per "
        "trial), or the name of an executor from an installed package.",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="Address of a running Ray cluster, or `auto` for the one this machine belongs to; for "
        "submitit, slurm?partition=gpu. Default: this machine alone.",
    ),
]
MaxFailuresOption = Annotated[
    int | None,
    typer.Option(
        "--max-failures",
        min=0,
        metavar="N",
        help="Start no more trials after N failures; 0 means never stop. Default: stop when the "
        "first trials of several variants all fail for the same reason.",
    ),
]


@dataclass(frozen=True)
class JobOptions:
    """Options of a job: where trials run, which trials, where results are kept and shown."""

    executor: ExecutorOption = "ray"
    address: AddressOption = None
    store: StoreOption = Path("runs")
    tracking_uri: TrackingOption = None
    no_tracking: NoTrackingOption = False
    only: OnlyOption = None
    seeds: SeedsOption = None

    def opened_store(self) -> "Store":
        """The store that results are kept in."""
        return open_store(self.store)

    def keywords(self) -> dict[str, Any]:
        """The same for `orchestrator.Sweep`. Raises `UsageError` for seeds that are no numbers."""
        return {
            "executor": self.executor,
            "address": self.address,
            "tracking": not self.no_tracking and (self.tracking_uri or True),
            "only": self.only or [],
            "seeds": seeds_in(self.seeds),
        }


@dataclass(frozen=True)
class TrainingOptions(JobOptions):
    """Options of a job that trains."""

    max_failures: MaxFailuresOption = None

    def keywords(self) -> dict[str, Any]:
        """The same for `orchestrator.Sweep`. Raises `UsageError` for seeds that are no numbers."""
        return {**super().keywords(), "max_failures": self.max_failures}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command in the form that Typer needs: each field of its parameter `options` is an
    option.
    """
    signature = inspect.signature(command, eval_str=True)
    kind = signature.parameters["options"].annotation
    own = set(signature.parameters) - {"options"}

    @wraps(command)
    def spread(**given: Any) -> None:
        options = kind(**{name: value for name, value in given.items() if name not in own})
        command(options=options, **{name: given[name] for name in own})

    spread.__signature__ = signature.replace(parameters=_spread(signature))  # type: ignore[attr-defined]
    return spread


def _spread(signature: inspect.Signature) -> list[inspect.Parameter]:
    """Parameters with those of the dataclass `options` in its place."""
    found = []
    for parameter in signature.parameters.values():
        if parameter.name == "options":
            found += [
                parameter.replace(name=field.name, annotation=field.type, default=field.default)
                for field in fields(parameter.annotation)
            ]
        else:
            found.append(parameter)
    return found
