"""The commands about one trial: `logs`, `show`, `debug`."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from orchestrator.cli.options import (
    JsonOption,
    StoreOption,
    err,
    load_sweep,
    open_store,
    out,
    print_json,
)
from orchestrator.errors import UsageError
from orchestrator.text import printable

TrialArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="[SPEC] TRIAL",
        help="A trial such as `rmsnorm-seed0` or `llamafy/rmsnorm-seed0`, or its folder. "
        "If the name is ambiguous, put the sweep's YAML file or name in front.",
    ),
]
_LOOK_SECONDS = 0.5


def logs(
    trial: TrialArguments,
    store: StoreOption = Path("runs"),
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new output until the trial ends.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Only this attempt. Default: all.")
    ] = None,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, help="Only the last N lines.")
    ] = None,
) -> None:
    """Show what a trial printed, attempt by attempt."""
    directory = _directory(trial, store)
    text = _output_text(directory, attempt)
    if follow:
        if attempt is not None:
            raise UsageError("--follow always shows the current attempt; leave out --attempt")
        _follow(directory, text, lines)
        return
    if not text:
        err.print(f"{escape(directory.path.name)} has printed nothing", soft_wrap=True)
    out.write(printable(_last(text, lines)))


def show(
    trial: TrialArguments, store: StoreOption = Path("runs"), as_json: JsonOption = False
) -> None:
    """Show one trial: its settings, attempts, curves, traceback and last output."""
    from orchestrator.report.trial_view import trial_json, trial_view
    from orchestrator.store.lease import live_session

    directory = _directory(trial, store)
    asked = directory.read_trial()
    record = directory.record(live_session(directory.path.parent.parent), asked.pruning)
    if as_json:
        print_json(trial_json(asked, record, directory))
    else:
        out.print(trial_view(asked, record, directory))


def debug(
    trial: TrialArguments,
    store: StoreOption = Path("runs"),
    use_pdb: Annotated[
        bool, typer.Option("--pdb", help="Open the debugger where an exception is raised.")
    ] = False,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Start from scratch, not from the last checkpoint.")
    ] = False,
) -> None:
    """Train one trial in the foreground, where breakpoints work. The store is not changed."""
    from orchestrator.executors.foreground import look_at, run_in_foreground
    from orchestrator.outcomes import State

    asked, folder = _trial_to_debug(trial, store)
    raised: list[BaseException] = []

    def on_error(error: BaseException) -> None:
        raised.append(error)
        if use_pdb:
            look_at(error)

    record = run_in_foreground(asked, None if from_start else folder, on_error)
    if raised and isinstance(raised[0], KeyboardInterrupt):
        raise typer.Exit(130)
    cause = f": {record.cause}" if record.cause else ""
    err.print(escape(f"{asked.name}: {record.outcome}{cause} (not recorded in the store)"))
    if record.state is not State.DONE:
        raise typer.Exit(1)


def _directory(words: list[str], store: Path) -> Any:
    """Folder of the trial that the arguments name. Raises `UsageError`, `SpecError`."""
    from orchestrator.store.trial_directory import TrialDirectory
    from orchestrator.store.trial_lookup import trial_named

    where, (sweep, name) = open_store(store), _parts(words)
    if sweep is None:
        return trial_named(where, name)
    if _is_file(sweep) or not _is_in(where, sweep, name):
        asked, record = _of_spec(load_sweep(sweep, store), where, name)
        if not Path(record.path, "trial.json").is_file():
            raise UsageError(
                f"trial '{asked.name}' has not started, so there is nothing to show yet"
            )
        return TrialDirectory(Path(record.path))
    return trial_named(where, name, sweep)


def _trial_to_debug(words: list[str], store: Path) -> tuple[Any, Path | None]:
    """The trial that the arguments name, and its folder if it has started. Afterwards its code can
    be imported.
    """
    where, (sweep, name) = open_store(store), _parts(words)
    if sweep is not None:
        asked, record = _of_spec(load_sweep(sweep, store), where, name)
        return asked, Path(record.path) if record.path else None
    directory = _directory(words, store)
    asked = directory.read_trial()
    load_sweep(asked.sweep, directory.path.parent.parent.parent)  # its modules are found from there
    return asked, directory.path


def _parts(words: list[str]) -> tuple[str | None, str]:
    if len(words) > 2:
        raise UsageError(f"one trial at a time: [SPEC] TRIAL; found {' '.join(words)}")
    return (words[0], words[1]) if len(words) == 2 else (None, words[0])


def _is_file(sweep: str) -> bool:
    return sweep.endswith((".yaml", ".yml")) or Path(sweep).is_file()


def _is_in(store: Any, sweep: str, name: str) -> bool:
    """Tell whether the trial is the sweep's own; otherwise it may be one of another sweep that
    it reuses.
    """
    from orchestrator.store.trial_lookup import trial_named

    try:
        trial_named(store, name, sweep)
    except UsageError:
        return False
    return True


def _of_spec(spec: Any, store: Any, name: str) -> tuple[Any, Any]:
    """The trial of that name in the spec, and its record in the store. Raises `UsageError`."""
    from orchestrator.errors import did_you_mean_one_of
    from orchestrator.planning.survey import survey

    snapshot = survey(spec, store, may_lack_images=True)
    trials = {known.spec.name: known for known in snapshot.trials}
    if name not in trials:
        hint = did_you_mean_one_of(name, list(trials))
        raise UsageError(f"{spec.name} has no trial '{name}'{hint}")
    return trials[name].spec, trials[name].record


def _output_text(directory: Any, attempt: int | None = None) -> str:
    from orchestrator.store.output_log import read_output

    try:
        found = read_output(directory.output_path)
    except FileNotFoundError:
        return ""
    chosen = [one for one in found if attempt in (None, one.attempt)]
    if attempt is not None and not chosen:
        known = ", ".join(str(one.attempt) for one in found) or "none"
        raise UsageError(f"attempt {attempt} has printed nothing; attempts with output: {known}")
    return "".join(f"{one.heading}\n{one.text}" for one in chosen)


def _last(text: str, lines: int | None) -> str:
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else text


def _follow(directory: Any, text: str, lines: int | None) -> None:
    """Print old and new output until the trial has ended or no driver is working on it."""
    from orchestrator.store.lease import live_session

    out.write(printable(_last(text, lines)))
    while True:
        session = live_session(directory.path.parent.parent)
        has_ended = session is None or not _may_print(directory, session)
        before, text = text, _output_text(directory)
        out.write(printable(news(before, text)))
        if has_ended or out.quiet:  # nobody reads it any more
            return
        time.sleep(_LOOK_SECONDS)


def _may_print(directory: Any, session: str) -> bool:
    from orchestrator.outcomes import State

    return directory.record(session).state not in (State.DONE, State.FAILED)


def news(before: str, now: str) -> str:
    """Return the part of `now` after `before`. The middle of `before` may have been left out since,
    and its last line may have become longer.
    """
    if now.startswith(before):
        return now[len(before) :]
    whole = before[: before.rfind("\n") + 1]
    anchor = whole[-200:]
    place = now.rfind(anchor) if anchor else -1
    rest = now[place + len(anchor) :] if place >= 0 else now
    return rest if before == whole else f"\r{rest}"
