"""Pages of a store's sweeps, made anew when something in the store has changed."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, unquote

from orchestrator.api import Sweep
from orchestrator.errors import OrchestratorError
from orchestrator.report.live import Band, band_of
from orchestrator.report.page import band_html, plain_html, to_live_html

_KEPT_SECONDS = 1.0
"""Time for which a look at a store counts, however many windows ask."""
_REST = 4.0
"""Rest after a look, as a multiple of the time it took: thousands of trials must not keep a core
busy that trains.
"""


@dataclass(frozen=True)
class Answer:
    """Status and text of one answer."""

    status: HTTPStatus
    html: str


@dataclass
class _Look:
    """A sweep at one moment."""

    sweep: Sweep
    band: Band
    until: float
    page: tuple[str, str] = ("", "")
    """Version of the store that the page was made of, and the page."""


class Pages:
    """Answers to a browser's requests about the sweeps of one store.

    `open_sweep` opens a sweep by its name and raises `OrchestratorError`; `names` lists what there
    is. `mlflow` gives the address of a sweep there, empty where it is not served.
    """

    def __init__(
        self, open_sweep: Callable[[str], Sweep], names: Callable[[], Sequence[str]]
    ) -> None:
        self._open_sweep = open_sweep
        self._names = names
        self._looks: dict[str, _Look] = {}
        self._lock = threading.Lock()
        self.mlflow: Callable[[str], str] = lambda name: ""

    def answer(self, path: str) -> Answer:
        """The answer to a request for `path`, never an exception for what is wrong in the store."""
        parts = [unquote(part) for part in path.split("?")[0].split("/")]
        if parts == ["", ""]:
            return Answer(HTTPStatus.OK, self._index())
        if len(parts) != 4 or parts[1] != "sweeps" or parts[3] not in ("", "band"):
            return Answer(HTTPStatus.NOT_FOUND, plain_html("Not found", ["There is no such page."]))
        name, is_band = parts[2], parts[3] == "band"
        with self._lock:
            try:
                return Answer(HTTPStatus.OK, self._band(name) if is_band else self._page(name))
            except OrchestratorError as error:
                return self._failure(name, str(error), is_band)

    def _index(self) -> str:
        sweeps = [(name, address_of(name)) for name in self._names()]
        lines = (
            [] if sweeps else ["The store has no sweeps yet; `orchestrator run SPEC` creates one."]
        )
        return plain_html("Sweeps", lines, sweeps, self.mlflow(""), renews=not sweeps)

    def _band(self, name: str) -> str:
        return band_html(self._look(name).band, self.mlflow(name))

    def _page(self, name: str) -> str:
        look = self._look(name)
        if look.page[0] != look.band.version:
            roadmap = look.sweep.report(shown_by="ui").roadmap
            page = to_live_html(roadmap, look.band, self.mlflow(name))
            look.page = (look.band.version, page)
        return look.page[1]

    def _look(self, name: str) -> _Look:
        """The sweep as its files are now, or were a moment ago."""
        before = self._looks.get(name)
        begun = time.monotonic()
        if before and begun < before.until:
            return before
        sweep = self._open_sweep(name)
        band = band_of(sweep.status(), sweep.spec.schema.metric.name)
        took = time.monotonic() - begun
        until = begun + took + max(_KEPT_SECONDS, _REST * took)
        page = before.page if before else ("", "")
        self._looks[name] = _Look(sweep, band, until, page)
        return self._looks[name]

    def _failure(self, name: str, why: str, is_band: bool) -> Answer:
        if name not in self._names():
            return Answer(HTTPStatus.NOT_FOUND, why if is_band else plain_html("Not found", [why]))
        if is_band:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, why)
        lines = [*why.splitlines(), "This page retries every five seconds."]
        title = f"{name} cannot be shown"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, plain_html(title, lines, renews=True))


def address_of(name: str) -> str:
    """The path of a sweep's page."""
    return f"/sweeps/{quote(name, safe='')}/"
