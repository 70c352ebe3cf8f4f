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


@with_options
def measure(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    *,
    options: JobOptions,
) -> None:
    """Measure finished networks as the spec's `measure` asks, without training; retries failures."""
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.errors import Interrupted

    sweep = open_sweep(spec, options.store, overrides)
    try:
        ending = sweep.measure(**options.keywords(), view=ConsoleView(out))
    except Interrupted:
        err.print("Interrupted; what was measured is kept, and the same command goes on.")
        raise typer.Exit(130) from None
    out.print(f"{ending.taken} of {ending.asked} measurements taken now", soft_wrap=True)
    print_roadmap(sweep.report(shown_by="measure").roadmap)
    if ending.failures:
        raise typer.Exit(1)
