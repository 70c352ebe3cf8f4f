"""One sentence about what was decided before the first result was there."""

from datetime import UTC, datetime

from orchestrator.store.declarations import Declaration


def declaration_text(declaration: Declaration | None) -> str:
    """The sentence for the notes under the table; empty where there is no result, or nothing is
    known.
    """
    if declaration is None or declaration.first_result_at is None or not declaration.versions:
        return ""
    first = f"the first of its results ({_time_text(declaration.first_result_at)})"
    if declaration.at is None:
        submitted = "This exact spec was never submitted by `run`"
    else:
        submitted = f"This exact spec was submitted at {_time_text(declaration.at)}"
        if declaration.at < declaration.first_result_at:
            return f"{submitted}, before {first}."
    if declaration.before_first_result:
        return f"{submitted}; one with the same tests was submitted before {first}."
    if not declaration.is_known_before:
        return f"{submitted}, after {first}; it is unknown what was decided before that."
    changed = ", ".join(declaration.changed)
    return f"{submitted}; it was changed after {first}: {changed}."


def _time_text(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"
