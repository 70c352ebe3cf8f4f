"""The command that measures finished networks without training."""

from pathlib import Path

import typer

from orchestrator.cli.measure_view import measure_and_tell
from orchestrator.cli.options import (
    OnlyOption,
    ReferenceArgument,
    SeedsOption,
    StoreOption,
    TrackingOption,
    load_sweep,
    open_store,
    print_roadmap,
    seeds_in,
)
from orchestrator.cli.training import (
    AddressOption,
    ExecutorName,
    ExecutorOption,
    NoTrackingOption,
    executor_named,
)


def measure(
    spec: ReferenceArgument,
    executor: ExecutorOption = ExecutorName.RAY,
    address: AddressOption = None,
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    no_tracking: NoTrackingOption = False,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
) -> None:
    """Measure finished networks as the spec's `measure` asks, without training; retries failures."""
    from orchestrator.driver import Job, report_sweep
    from orchestrator.tracking import default_tracking_uri

    where = open_store(store)
    job = Job(
        spec=load_sweep(spec, store),
        store=where,
        executor=executor_named(executor, address),
        tracking_uri=None if no_tracking else tracking_uri or default_tracking_uri(where),
        retry_failed=True,
        only=only or [],
        seeds=seeds_in(seeds),
    )
    ending = measure_and_tell(job)
    print_roadmap(report_sweep(job.spec, where, shown_by="measure"))
    if ending.failures:
        raise typer.Exit(1)
