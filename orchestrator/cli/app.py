"""The command line: with `views` the only prints, and the only exit codes.

0 all as asked; 1 the sweep ended with failed trials; 2 the spec or the command line is wrong; 3 the
store, the tracking server or the cluster cannot be reached; 130 interrupted, after saving.
"""

import sys
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from orchestrator.cli import adopt, housekeeping, measuring, training, trials, views
from orchestrator.cli.options import (
    JsonOption,
    MetricOption,
    ModeOption,
    OnlyOption,
    OverridesArgument,
    ReferenceArgument,
    SeedsOption,
    SpecArgument,
    StoreOption,
    err,
    one_of,
    open_store,
    open_sweep,
    open_to_show,
    out,
    print_json,
    print_roadmap,
    seeds_in,
)
from orchestrator.cli.output import write_output
from orchestrator.cli.progress_line import telling
from orchestrator.errors import OrchestratorError, UsageError, did_you_mean_one_of
from orchestrator.report.formats import (
    FORMATS,
    Layout,
    format_of_ending,
    refuse_what_is_not_followed,
)
from orchestrator.store.damage import collected
from orchestrator.text import printable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run ablation sweeps and report what each step did.\n\n"
    "One YAML file (the spec) describes a baseline and a list of steps that change it. `run` "
    "trains every step with every seed and prints the effect of each step. After an "
    "interruption, the same command continues.\n\n"
    "Start with: `orchestrator init`, which writes an example, and `orchestrator run sweep.yaml`",
    epilog="Exit codes: 0 success; 1 some trials failed; 2 the spec or the command line is wrong; "
    "3 the store, the tracking server or the cluster cannot be reached; 130 interrupted, with "
    "everything saved.",
)


_COMPARED = ("table", "json", "md")
"""Formats that a comparison can be written in."""


def _say_version(wanted: bool) -> None:
    if wanted:
        out.print(f"orchestrator {version('ablation-orchestrator')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None: ...


@app.command()
def plan(
    spec: SpecArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every trial and what `run` would do with it, without running anything."""
    from orchestrator.api import Sweep
    from orchestrator.report.overview import plan_table
    from orchestrator.spec.sweep_spec import load_spec

    with telling(err, "planning"):
        sweep = Sweep(load_spec(spec, overrides or []), open_store(store))
        made = sweep.plan(only or [], seeds_in(seeds))
    if as_json:
        print_json(made.to_json())
    else:
        out.print(plan_table(made))


app.command()(training.run)
app.command()(training.resume)


@app.command()
def status(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Show what is done, what is running and where, what failed and why."""
    from orchestrator.report.overview import status_view

    with telling(err, "reading the store"):
        found = open_to_show("status", spec, store, overrides).status()
    if as_json:
        print_json(found.to_json())
    else:
        out.print(status_view(found), crop=False)


@app.command()
def report(
    spec: ReferenceArgument,
    overrides: OverridesArgument = None,
    store: StoreOption = Path("runs"),
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"{', '.join(FORMATS)}. Default: by the ending of --output, else table.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write to this file instead of the terminal.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B",
            help="Only these columns, in this order (table, md, latex, csv).",
        ),
    ] = None,
    rows: Annotated[
        str | None, typer.Option("--rows", metavar="A,B", help="Only these steps of the table.")
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            "--width",
            min=2.0,
            max=40.0,
            help="Width of a figure in inches (svg, png, pdf). Default: 9.",
        ),
    ] = None,
    metric: MetricOption = None,
    mode: ModeOption = None,
) -> None:
    """Print the roadmap: the effect of each step, how certain it is, and what it cost."""
    form = _known_format(form) if form else _format_of(output)
    if FORMATS[form].is_binary and output is None:
        raise UsageError(f"a {form} cannot be printed in a terminal; name a file with --output")
    layout = Layout(width, _names_in(columns), _names_in(rows))
    refuse_what_is_not_followed(form, layout)
    with telling(err, "reading the store"):
        sweep = open_to_show("report", spec, store, overrides)
        found = sweep.report(metric, mode, shown_by="report")
    if form == "table" and output is None and not (columns or rows):
        print_roadmap(found.roadmap)
        return
    with telling(err, "drawing" if FORMATS[form].is_binary else "writing"):
        content = found.render(form, layout)
    if output is None:
        out.write(content)  # as the file would have it, whatever the terminal's encoding
        return
    write_output(output, content)
    err.print(f"wrote {escape(str(output))}")


@app.command()
def compare(
    left: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A spec, a sweep in the store, or one of its regimes as `sweep:regime`.",
        ),
    ],
    right: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    store: StoreOption = Path("runs"),
    form: Annotated[
        str,
        typer.Option(
            "--format",
            parser=one_of(_COMPARED),
            metavar="|".join(_COMPARED),
            help="Output format.",
        ),
    ] = "table",
    metric: MetricOption = None,
    mode: ModeOption = None,
) -> None:
    """Compare two sweeps, or two regimes, step by step."""
    from orchestrator.report import comparison as sides

    chosen = []
    for reference in (left, right):
        name, regime = sides.split_reference(reference, lambda path: Path(path).exists())
        with telling(err, f"reading {name}"):
            found = open_sweep(name, store).report(metric, mode, shown_by="")
        chosen.append(sides.select(found.roadmap, name, regime))
    compared = sides.compare(*sides.told_apart(chosen, (left, right)))
    if form == "json":
        print_json(compared.to_json())
    elif form == "md":
        out.write(printable(sides.comparison_markdown(compared)))
    else:
        out.print(sides.comparison_table(compared))


app.command()(adopt.adopt)
app.command("list")(housekeeping.list_sweeps)
app.command()(housekeeping.gc)
app.command()(housekeeping.delete)
app.command()(housekeeping.init)
app.command()(trials.logs)
app.command()(trials.show)
app.command()(trials.debug)
app.command()(measuring.measure)
app.command()(views.sync)
app.command()(views.register)
app.command()(views.export)
app.command()(views.ui)


def main() -> None:
    """The console script `orchestrator`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # a terminal without ± or Δ shows a question mark
            stream.reconfigure(errors="replace")
    with collected() as notes:
        try:
            code = _answer()
        finally:
            for line in notes.lines():
                err.print(Text(line, style="yellow"), soft_wrap=True)
    if out.lost:
        _say_error(f"cannot write to standard output: {out.lost.strerror}")
    sys.exit(code or (3 if out.lost else 0))


def _answer() -> int:
    """Run the command; returns its exit code."""
    try:
        app(prog_name="orchestrator")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # as in `orchestrator --help | head`
            return 0
        return int(end.code or 0)
    except OrchestratorError as error:
        _say_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        err.print("interrupted")
        return 130
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _say_error(f"{place}{error.strerror or error}")
        return 3
    return 0


def _say_error(message: str) -> None:
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def _known_format(form: str) -> str:
    """The name, if there is such a format. Raises `UsageError` otherwise."""
    if form not in FORMATS:
        hint = did_you_mean_one_of(form, list(FORMATS))
        raise UsageError(f"there is no report format '{form}'{hint}")
    return form


def _names_in(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _format_of(output: Path | None) -> str:
    """The format that the file's ending stands for. Raises `UsageError` for an unknown ending."""
    ending = output.suffix.lower() if output else ""
    form = format_of_ending(ending)
    if form is None:
        raise UsageError(
            f"a report cannot be written as '{ending}'; "
            f"name one of these with --format: {', '.join(FORMATS)}"
        )
    return form
