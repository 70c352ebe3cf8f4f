"""The command that measures finished networks without training."""

from pathlib import Path

import typer

from orchestrator.cli.options import (
    OnlyOption,
    OverridesArgument,
    ReferenceArgument,
    SeedsOption,
    StoreOption,
    TrackingOption,
    err,
    load_sweep,
    open_store,
    out,
    print_roadmap,
    seeds_in,
)
from orchestrator.cli.training import AddressOption, ExecutorOption, NoTrackingOption


def measure(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    executor: ExecutorOption = "ray",
    address: AddressOption = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    no_tracking: NoTrackingOption = False,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
) -> None:
    """Measure finished networks as the spec's `measure` asks, without training; retries failures."""
    from orchestrator.api import Sweep
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.errors import Interrupted

    sweep = Sweep(load_sweep(spec, store, overrides), open_store(store))
    try:
        ending = sweep.measure(
            executor,
            address=address,
            tracking=False if no_tracking else tracking_uri or True,
            only=only or [],
            seeds=seeds_in(seeds),
            view=ConsoleView(out),
        )
    except Interrupted:
        err.print("Interrupted; what was measured is kept, and the same command goes on.")
        raise typer.Exit(130) from None
    out.print(f"{ending.taken} of {ending.asked} measurements taken now", soft_wrap=True)
    print_roadmap(sweep.report(shown_by="measure").roadmap)
    if ending.failures:
        raise typer.Exit(1)
