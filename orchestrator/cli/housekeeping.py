"""The commands that manage a store (`list`, `gc`, `delete`), and `init`, which starts a sweep."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.cli.options import (
    JsonOption,
    StoreOption,
    TrackingOption,
    err,
    open_store,
    out,
    print_json,
)
from orchestrator.cli.progress_line import telling
from orchestrator.errors import UsageError, counted
from orchestrator.waiting import begun

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_MOST_SHOWN = 20


def list_sweeps(store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """List the sweeps in a store, with their trials, size and last activity."""
    from orchestrator.store.contents import bytes_text, contents_of

    with telling(err, "reading the store"):
        found = contents_of(open_store(store))
    if as_json:
        keys = ("name", "begun", "done", "bytes", "changed")
        sweeps = [{key: getattr(one, key) for key in keys} for one in found]
        is_busy = [one.holder is not None for one in found]
        print_json([one | {"is_running": b} for one, b in zip(sweeps, is_busy, strict=True)])
        return
    if not found:
        out.print(
            escape(f"there are no sweeps in the store {open_store(store).root}"), soft_wrap=True
        )
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("sweep", "trials done", "size", "last active", ""):
        table.add_column(heading, justify="right" if heading in ("trials done", "size") else "left")
    for one in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.changed))
        holder = one.holder
        busy = f"running: process {holder.pid} on {holder.host}" if holder else ""
        done = f"{one.done} of {one.begun}"
        cells = (one.name, done, bytes_text(one.bytes), when, busy)
        table.add_row(*[Text(cell) for cell in cells])
    out.print(table)


def gc(store: StoreOption = Path("runs"), yes: YesOption = False) -> None:
    """Delete trials that no spec in the store asks for, and leftover files. Lists them and asks
    first.
    """
    from orchestrator.cleaning import drop, inspect
    from orchestrator.store.contents import bytes_text

    where = open_store(store)
    with telling(err, "reading the store"):
        found = inspect(where)
    for line in found.unread:
        err.print(Text(line, style="yellow"), soft_wrap=True)
    if not found.garbage:
        out.print("there is nothing to delete")
        return
    for one in found.garbage[:_MOST_SHOWN]:
        place = one.path.relative_to(where.root)
        out.print(Text(f"{place}  {bytes_text(one.bytes)}: {one.why}"), soft_wrap=True)
    if len(found.garbage) > _MOST_SHOWN:
        out.print(f"and {len(found.garbage) - _MOST_SHOWN} more")
    total = bytes_text(sum(one.bytes for one in found.garbage))
    _ask(f"Delete {counted(len(found.garbage), 'item')}, {total}?", yes)
    with telling(err, "deleting"):
        dropped = drop(where, found.garbage)
    out.print(f"deleted {counted(dropped, 'item')}")


def delete(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="Its name in the store.")],
    store: StoreOption = Path("runs"),
    tracking_uri: TrackingOption = None,
    yes: YesOption = False,
) -> None:
    """Delete a sweep and all its results from the store, and its MLflow experiment."""
    from orchestrator.cleaning import delete_sweep, dependents, refuse_in_use
    from orchestrator.store.contents import bytes_text, size_of, trial_folders
    from orchestrator.tracking import default_tracking_uri
    from orchestrator.tracking.experiment import delete_experiment

    where = open_store(store)
    refuse_in_use(where, sweep)
    path = where.sweep_path(sweep)
    with telling(err, "reading the store"):
        others = dependents(where, sweep)
        trials, size = counted(len(trial_folders(path)), "trial"), bytes_text(size_of(path))
    for other, count in others.items():
        reused = (
            f"sweep {other} reuses {counted(count, 'result')} from it and would have to "
            "train them again"
        )
        err.print(Text(reused, style="yellow"), soft_wrap=True)
    uri = tracking_uri or None
    if uri is None and (where.root / "mlflow.db").exists():
        uri = default_tracking_uri(where)  # an address that is none is refused before the question
    _ask(f"Delete sweep {sweep} with {trials}, {size}?", yes)
    with telling(err, "deleting"):
        delete_sweep(where, sweep)
        begun("deleting the MLflow experiment")
        is_shown = uri is not None and delete_experiment(uri, sweep)
    shown = " and its MLflow experiment" if is_shown else ""
    out.print(escape(f"deleted sweep {sweep}{shown}"))


def init(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to write them.")] = Path(
        "."
    ),
) -> None:
    """Write an example spec and training function, ready to run."""
    from orchestrator.cli.first_sweep import FILES

    present = [name for name in FILES if (folder / name).exists()]
    if present:
        raise UsageError(f"{folder / present[0]} already exists; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in FILES.items():
            (folder / name).write_text(content, "utf-8")
    except OSError as error:
        where = error.filename or folder
        raise UsageError(f"cannot write {where}: {error.strerror}") from error
    place = "" if folder == Path(".") else f"cd {folder} && "
    out.print(escape(f"wrote {' and '.join(FILES)}. To train: {place}orchestrator run sweep.yaml"))


def _ask(question: str, yes: bool) -> None:
    """Raise `Exit` if the answer is no, and `UsageError` if nobody can answer."""
    if yes:
        return
    try:
        if not typer.confirm(question):
            raise typer.Exit(1)
    except typer.Abort:
        raise UsageError(f"{question} There is no terminal to answer in; add --yes") from None
