"""The command that measures finished networks without training."""

import typer

from orchestrator.cli.job_options import JobOptions, with_options
from orchestrator.cli.options import (
    OverridesArgument,
    ReferenceArgument,
    err,
    open_sweep,
    out,
    print_roadmap,
)
from orchestrator.cli.progress_line import telling


@with_options
def measure(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    *,
    options: JobOptions,
) -> None:
    """Compute the spec's measures on trained networks, without training. Retries failed ones."""
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.errors import Interrupted

    with telling(err, "reading the spec"):
        sweep = open_sweep(spec, options.store, overrides)
    try:
        ending = sweep.measure(**options.keywords(), view=ConsoleView(out))
    except Interrupted:
        err.print("Interrupted. All measurements so far are kept; the same command continues.")
        raise typer.Exit(130) from None
    out.print(f"{ending.taken} of {ending.asked} measurements made now", soft_wrap=True)
    print_roadmap(sweep.report(shown_by="measure").roadmap)
    if ending.failures:
        raise typer.Exit(1)
