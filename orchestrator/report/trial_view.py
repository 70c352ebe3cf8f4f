"""One trial as people read it: what it was asked, who tried when, its curves, and how it ended."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.errors import DamagedFile
from orchestrator.metrics import decimals_of
from orchestrator.planning.causes import in_a_list
from orchestrator.report.sparkline import sparkline
from orchestrator.report.words import change_text
from orchestrator.store.artifacts import artifacts_in
from orchestrator.store.attempts_file import hosts_of
from orchestrator.store.output_log import read_output
from orchestrator.store.trial_directory import TrialDirectory
from orchestrator.text import duration_text, without_middle
from orchestrator.trial import TrialRecord, TrialSpec

_LAST_LINES = 8
_OF_MACHINE = ("system/", "time/")
"""Metrics that say nothing of what was learned."""
_NOT_CURVES = ("epoch",)
_MOST_VALUES, _LONGEST_TEXT = 40, 2_000
"""Limits on a setting's values and text, as people read it; `show --json` has the whole."""


def trial_view(trial: TrialSpec, record: TrialRecord, directory: TrialDirectory) -> RenderableType:
    """Settings, attempts, curves, traceback and last lines of output; a part that the trial lacks
    is left out.
    """
    parts: list[RenderableType] = [_title(trial, record), _facts(trial, directory)]
    parts += _section("Settings", Text(settings_text(trial)))
    attempts = attempts_of(directory)
    parts += _section("Attempts", _attempts_table(attempts)) if attempts else []
    curves = curves_of(directory)
    parts += _section("Curves", _curves_table(curves)) if curves else []
    traces = [attempt["traceback"] for attempt in attempts if attempt.get("traceback")]
    if traces and record.result is None:
        parts += _section("Traceback of the last attempt that raised", Text(traces[-1].rstrip()))
    lines = _last_lines(directory)
    parts += _section(
        f"Last lines of output (all: `orchestrator logs {trial.sweep}/{trial.name}`)", lines
    )
    return Group(*parts)


def trial_json(trial: TrialSpec, record: TrialRecord, directory: TrialDirectory) -> dict[str, Any]:
    """The trial in the form for programs."""
    return {
        **trial.to_json(),
        "path": str(directory.path),
        "state": record.state,
        "outcome": record.outcome,
        "cause": record.cause,
        "attempts": attempts_of(directory),
        "curves": {name: list(map(list, points)) for name, points in curves_of(directory).items()},
        "artifacts": [one.name for one in artifacts_in(directory.path).shown],
        "result": record.result,
        "provenance": dict(directory.provenance()),
    }


def settings_text(trial: TrialSpec) -> str:
    """The resolved settings as YAML; of long lists and texts the beginning and the end."""
    value = _readable(json.loads(json.dumps(trial.config.model_dump(mode="json"))))
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)).rstrip()


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(inner) for key, inner in value.items()}
    if isinstance(value, list) and len(value) > _MOST_VALUES:
        half = _MOST_VALUES // 2
        left_out = f"... {len(value) - 2 * half:,} values left out ..."
        return [_readable(inner) for inner in (*value[:half], left_out, *value[-half:])]
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return without_middle(value, _LONGEST_TEXT) if isinstance(value, str) else value


def attempts_of(directory: TrialDirectory) -> list[dict[str, Any]]:
    """Each attempt: `attempt`, `began`, `host`, `device`, and, where it has ended, `seconds`,
    `outcome`, `cause`, `traceback`.
    """
    found: dict[int, dict[str, Any]] = {}
    for event in directory.attempts():
        if event["event"] == "start":
            found[event["attempt"]] = {
                "attempt": event["attempt"],
                "began": event["time"],
                "host": ", ".join(hosts_of(event)),
                "device": event.get("device"),
            }
        elif known := found.get(event["attempt"]):
            known["seconds"] = event["time"] - known["began"]
            known |= {key: event.get(key) for key in ("outcome", "cause", "traceback")}
    return list(found.values())


def curves_of(directory: TrialDirectory) -> dict[str, list[tuple[float, float]]]:
    """Points (iteration, value) of every metric that was logged, in order."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in directory.metrics():
        for name, value in line["metrics"].items():
            if name not in _NOT_CURVES:
                found.setdefault(name, []).append((line["iteration"], value))
    return found


def _title(trial: TrialSpec, record: TrialRecord) -> Text:
    ended = record.outcome or record.state
    text = Text(f"{trial.sweep}/{trial.name}: {ended}", style="bold")
    if record.attempts:
        by_iteration = trial.config.unit == "iteration" and not record.epoch
        reached = record.iteration if by_iteration else record.epoch
        text.append(f", {trial.reached_text(reached)}")
    text.append(f"\n{record.cause}" if record.cause else "", style="red not bold")
    return text


def _facts(trial: TrialSpec, directory: TrialDirectory) -> RenderableType:
    origin = directory.provenance()
    facts = {
        "changes": change_text(trial.changes) or "none: the baseline",
        "fingerprint": trial.fingerprint[:16],
        "code": _code_text(origin),
        "artifacts": _artifacts_text(directory),
        "folder": str(directory.path),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value:
            table.add_row(Text(f"  {name}", style="dim"), Text(value, overflow="fold"))
    return table


def _artifacts_text(directory: TrialDirectory) -> str:
    found = artifacts_in(directory.path)
    return "; ".join(filter(None, [", ".join(one.name for one in found.shown), found.remark]))


def _code_text(origin: Mapping[str, Any]) -> str:
    commit = str(origin.get("git_commit") or "")[:12]
    changed = " with changes" if origin.get("git_diff") else ""
    return f"git {commit}{changed}" if commit else ""


def _section(title: str, content: RenderableType | None) -> list[RenderableType]:
    return [] if content is None else ["", Text(title, style="bold cyan"), content]


def _attempts_table(attempts: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for attempt in attempts:
        seconds = duration_text(attempt["seconds"]) if "seconds" in attempt else ""
        cells = [
            f"  {attempt['attempt']}",
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(attempt["began"])),
            f"on {attempt['host']}",
            seconds,
            str(attempt.get("outcome") or "has not ended"),
            in_a_list(str(attempt.get("cause") or "")),
        ]
        table.add_row(*(Text(one, overflow="fold") for one in cells))
    return table


def _curves_table(curves: Mapping[str, Sequence[tuple[float, float]]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, points in curves.items():
        if name.startswith(_OF_MACHINE):
            continue
        values = [value for _, value in points if math.isfinite(value)]
        if not values:
            continue
        decimals = decimals_of(name, values)
        low, high = min(values), max(values)
        table.add_row(
            Text(f"  {name}"),
            Text(sparkline(values)),
            Text(f"{values[0]:.{decimals}f} → {values[-1]:.{decimals}f}"),
            Text(f"between {low:.{decimals}f} and {high:.{decimals}f}", style="dim"),
        )
    return table


def _last_lines(directory: TrialDirectory) -> Text | None:
    try:
        outputs = read_output(directory.output_path)
    except (FileNotFoundError, DamagedFile):
        return None
    lines = outputs[-1].text.splitlines() if outputs else []
    return Text("\n".join(f"  {line}" for line in lines[-_LAST_LINES:])) if lines else None
