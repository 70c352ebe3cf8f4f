"""The command `adopt`: results of earlier code count as this code's."""

from pathlib import Path

from rich.markup import escape

from orchestrator.cli.options import (
    OnlyOption,
    OverridesArgument,
    ReferenceArgument,
    SeedsOption,
    StoreOption,
    err,
    load_sweep,
    open_store,
    out,
    seeds_in,
)
from orchestrator.cli.progress_line import telling
from orchestrator.errors import UsageError, counted


def adopt(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    only: OnlyOption = None,
    seeds: SeedsOption = None,
) -> None:
    """Keep results after a code edit that changes no number. Every report says so."""
    from orchestrator.driver import plan_sweep
    from orchestrator.planning.reasons import adopt_results
    from orchestrator.store.lease import Lease

    loaded, where = load_sweep(spec, store, overrides), open_store(store)
    where.prepare(loaded.name)
    with telling(err, "planning"), Lease(where.sweep_path(loaded.name)):
        plan = plan_sweep(loaded, where, only or [], seeds_in(seeds))
        adopted = adopt_results(plan, where)
    if not adopted:
        raise UsageError(
            "there is nothing to adopt: no new trial differs from a finished trial of the same "
            f"name in its code alone; `orchestrator plan {spec}` says how each of them differs"
        )
    for trial, nearest in adopted:
        text = f"{trial.name} <- {nearest.directory.path.name}: {nearest.told}"
        out.print(escape(text), soft_wrap=True)
    err.print(
        f"adopted {counted(len(adopted), 'result')}; to undo one, delete the trial's new folder in "
        f"{escape(str(where.sweep_path(loaded.name) / 'trials'))}",
        soft_wrap=True,
    )
