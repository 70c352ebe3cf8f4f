"""The commands that train: `run` and `resume`."""

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.markup import escape
from rich.text import Text

from orchestrator.cli.job_options import TrainingOptions, with_options
from orchestrator.cli.options import (
    OverridesArgument,
    ReferenceArgument,
    SpecArgument,
    err,
    open_sweep,
    out,
    print_roadmap,
)
from orchestrator.cli.progress_line import telling
from orchestrator.cli.terminal import kept_terminal
from orchestrator.errors import counted

if TYPE_CHECKING:
    from orchestrator.api import Sweep
    from orchestrator.driver import Ending
    from orchestrator.smoke import SmokeTest
    from orchestrator.spec.sweep_spec import SweepSpec

SmokeOption = Annotated[
    bool,
    typer.Option(
        "--smoke",
        help="Train every variant for a moment, in a temporary store, to find errors early.",
    ),
]


@with_options
def run(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    *,
    options: TrainingOptions,
    smoke: SmokeOption = False,
) -> None:
    """Train what is missing and print the roadmap. After an interruption, the same command
    continues.
    """
    with telling(err, "reading the spec"):
        from orchestrator.api import Sweep
        from orchestrator.spec.sweep_spec import load_spec

        loaded = load_spec(spec, overrides or [])
    if smoke:
        _smoke(loaded, options)
        return
    sweep = Sweep(loaded, options.opened_store())
    _train(sweep, sweep.run, options)


@with_options
def resume(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    *,
    options: TrainingOptions,
) -> None:
    """Train as `run` does, but also retry failed trials."""
    with telling(err, "reading the spec"):
        sweep = open_sweep(spec, options.store, overrides)
    _train(sweep, sweep.resume, options)


def _train(sweep: "Sweep", act: Callable[..., "Ending"], options: TrainingOptions) -> None:
    """Call `act` and print how it ended. Exit code 1 if trials failed, 130 if interrupted."""
    with telling(err, "starting"):
        from orchestrator.cli.run_view import ConsoleView
        from orchestrator.errors import Interrupted

        terminal = _terminal_for(options.executor)
    try:
        with terminal:
            ending = act(**options.keywords(), view=ConsoleView(out))
    except Interrupted:
        _leave_interrupted("Interrupted. All checkpoints are saved. Continue with:")
    except KeyboardInterrupt:
        _leave_interrupted(
            "Stopped immediately. Running trials will continue from their last checkpoints.\n"
            "Continue with:"
        )
    print_roadmap(sweep.report(shown_by="run").roadmap)
    _print_stop(ending)
    if ending.has_failures:
        again = _arguments(sweep.spec, options.store)
        err.print("[red]Some trials failed.[/]")
        for purpose, verb in (("To see why:", "status"), ("To retry:  ", "resume")):
            err.print(f"  {purpose} orchestrator {verb} {again}", soft_wrap=True)
        raise typer.Exit(1)


def _terminal_for(executor: str) -> AbstractContextManager[object]:
    """Keep the output of trials that train in this process out of the live view."""
    from orchestrator.executors import EXECUTORS

    if EXECUTORS.get(executor).trains_elsewhere:
        return nullcontext()
    return kept_terminal(out, err)


def _leave_interrupted(text: str) -> NoReturn:
    """Print `text` and the command that continues, and end with exit code 130."""
    command = shlex.join(["orchestrator", *sys.argv[1:]])
    err.print(f"{text}\n  {escape(command)}", soft_wrap=True)
    raise typer.Exit(130) from None


def _print_stop(ending: "Ending") -> None:
    """Print why the sweep stopped starting trials, if it did."""
    if not ending.stopped:
        return
    text = ending.stopped
    if ending.has_failures:
        text += (
            "\nTo continue, run the same command; add --max-failures 0 to continue despite "
            "failures."
        )
    err.print(Text(text, style="yellow"), soft_wrap=True)


def _arguments(spec: "SweepSpec", store: Path) -> str:
    """The arguments that name this sweep in another command."""
    words = [str(spec.path), *spec.overrides]
    if store != Path("runs"):
        words += ["--store", str(store)]
    return escape(shlex.join(words))


def _smoke(spec: "SweepSpec", options: TrainingOptions) -> None:
    """Print which variants fail, each cause once. Exit code 1 if any does."""
    from orchestrator.cli.run_view import ConsoleView
    from orchestrator.executors import EXECUTORS
    from orchestrator.smoke import smoke_test

    kind = EXECUTORS.get(options.executor)
    with _terminal_for(options.executor):
        found = smoke_test(
            spec,
            options.opened_store(),
            kind.create(options.address),
            ConsoleView(out),
            in_this_process=not kind.trains_elsewhere,
        )
    _print_tried(found)
    if found.interrupted:
        raise typer.Exit(130)
    good = len(found.trials) - len(found.causes)
    out.print(
        f"{good} of {counted(len(found.trials), 'variant')} trained without an error; nothing is "
        "kept"
    )
    if found.causes:
        again = escape(shlex.join(["--store", str(found.store.root)]))
        err.print(f"For details: `orchestrator show {spec.name}/TRIAL {again}`", soft_wrap=True)
        raise typer.Exit(1)


def _print_tried(found: "SmokeTest") -> None:
    """Print what could not be tried, and each cause of failure."""
    from orchestrator.planning.causes import grouped_causes

    for label in found.untried:
        out.print(Text(f"{label} was not tried, because a search has yet to find its settings"))
    for group in grouped_causes(found.causes):
        out.print(Text(str(group), style="red"), soft_wrap=True)
