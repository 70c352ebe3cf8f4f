"""The searches of a sweep as a storage of Optuna's: a study for each search, in one SQLite file
that optuna-dashboard opens.

The file is written whole, from the store; nothing that is done to it comes back.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.analysis.snapshot import Snapshot
from orchestrator.errors import UsageError
from orchestrator.exports.base import Exporter
from orchestrator.planning.search import goals_of
from orchestrator.planning.studies import Study, add_study
from orchestrator.spec.search_space import Tried

_FILE = "optuna.db"


def studies_of(snapshot: Snapshot) -> Iterator[Study]:
    """The searches that have begun. Raises `UsageError` where the sweep has none."""
    spec = snapshot.spec
    if not spec.searches:
        raise UsageError(f"{spec.name} has no searches, so there is no study to export")
    times = {
        known.spec.name: (float(known.record.result["time"]), known.record.seconds or 0.0)
        for known in snapshot.trials
        if known.record.result and "time" in known.record.result
    }
    for search in spec.searches:
        spans = [_span(point, times) for point in search.tried if point.has_ended]
        if spans:
            goals = goals_of(search.schema, spec.schema.metric)
            named = {goal.name: str(goal.mode) for goal in goals}
            yield Study(f"{spec.name}: {search.title}", named, search, spans)


def _span(point: Tried, times: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Start and end of a combination; `times` are the end and the seconds of each trial."""
    known = [times[trial.name] for trial in point.trials if trial.name in times]
    start = min((end - seconds for end, seconds in known), default=0.0)
    return start, max((end for end, _ in known), default=0.0)


def write_studies(studies: Iterable[Study], output: Path) -> int:
    """Write `<output>/optuna.db`; returns the number of studies."""
    import optuna
    from sqlalchemy import URL

    output.mkdir(parents=True, exist_ok=True)
    aside = output / f".{_FILE}.{uuid.uuid4().hex}.tmp"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    count = 0
    try:
        address = URL.create("sqlite", database=str(aside.resolve()))
        storage = optuna.storages.RDBStorage(address.render_as_string())
        for study in studies:
            add_study(storage, study)
            count += 1
        storage.remove_session()
        storage.engine.dispose()
        aside.replace(output / _FILE)
    finally:
        aside.unlink(missing_ok=True)
    return count


OPTUNA = Exporter(
    write_studies,
    "to view: optuna-dashboard sqlite:///{folder}/" + _FILE,
    takes=studies_of,
    noun="study",
)
