"""What the terminal shows while finished networks are measured."""

from typing import TYPE_CHECKING

import typer
from rich.text import Text

from orchestrator.cli.options import err, out

if TYPE_CHECKING:
    from orchestrator.driver import Job
    from orchestrator.measuring import Measured


def measure_and_tell(job: "Job") -> "Measured":
    """Take the measurements that are missing, and say what became of them on the terminal.

    Raises `typer.Exit` where it was interrupted.
    """
    from orchestrator.measuring import measure_sweep

    with err.status("measuring") as status:

        def show(over: int, count: int, name: str) -> None:
            status.update(f"measuring, {over} of {count} done: {name}")

        ending = measure_sweep(job, out, show)
    out.print(f"{ending.taken} of {ending.asked} measurements taken now", soft_wrap=True)
    for name, cause in ending.failures.items():
        err.print(Text(f"{name} failed: {cause}", style="red"), soft_wrap=True)
    if ending.interrupted:
        err.print("Interrupted; what was measured is kept, and the same command goes on.")
        raise typer.Exit(130)
    return ending
