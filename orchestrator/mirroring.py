"""Keeps MLflow up to date while a sweep runs, in a thread of its own: a tracking server that is slow or down holds nothing up."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from orchestrator.errors import TrackingError
from orchestrator.tracking import MlflowMirror
from orchestrator.trial import Outcome, TrialSpec

_PERIOD_SECONDS = 2.0
_PATIENCE_SECONDS = 120.0
"""How long a finished sweep waits for the last of the view; `orchestrator sync` does the rest at any time."""


class BackgroundMirror:
    """Watches a sweep as an `Observer` and mirrors what changed; a context manager around the run."""

    def __init__(self, mirror: MlflowMirror, console: Console) -> None:
        self._mirror = mirror
        self._console = console
        self._lock = threading.Lock()
        self._running: dict[str, TrialSpec] = {}
        self._ended: dict[str, TrialSpec] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_mirroring, name="mlflow", daemon=True)
        self._complaint: str | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        with self._console.status("bringing MLflow up to date"):
            self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():
            self._complaint = f"MLflow did not take everything within {_PATIENCE_SECONDS:.0f} s"
        if self._complaint:
            hint = "No trial is affected; `orchestrator sync` brings the view up to date."
            self._console.print(Text(f"{self._complaint}. {hint}", style="yellow"), soft_wrap=True)

    def started(self, trial: TrialSpec) -> None:
        """Mirror the trial from now on."""
        with self._lock:
            self._running[trial.fingerprint] = trial

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Mirror the trial once more."""
        with self._lock:
            self._running.pop(trial.fingerprint, None)
            self._ended[trial.fingerprint] = trial

    def _keep_mirroring(self) -> None:
        while not self._closing.wait(_PERIOD_SECONDS):
            with self._lock:
                ended, self._ended = self._ended, {}
                changed = {**ended, **self._running}
            if not self._sync(list(changed.values())):
                with self._lock:
                    self._ended = {**ended, **self._ended}
        self._sync(None)  # everything: also what was done before, or is reused from another sweep

    def _sync(self, trials: list[TrialSpec] | None) -> bool:
        if trials == []:
            return True
        try:
            self._mirror.sync(trials)
        except TrackingError as error:
            self._complaint = str(error)
            return False
        self._complaint = None
        return True
