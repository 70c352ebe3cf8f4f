"""Keeps a view up to date while a sweep runs, in a thread of its own.

A tracking server that is slow or down holds nothing up.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from orchestrator.errors import OrchestratorError, RecordRefused
from orchestrator.outcomes import Outcome
from orchestrator.running.view import RunView
from orchestrator.store.mlflow_runs import run_key
from orchestrator.tracking.base import Tracker
from orchestrator.trial import TrialSpec

_PERIOD_SECONDS = 5.0
_HEAD_START_SECONDS = 15.0
"""Seconds that the first trial has for itself: MLflow takes seconds of a core to import, just when
workers start, and whoever waits for a first failure waits for it.
"""
_EFFECTS_SECONDS = 60.0
_EFFECTS_SHARE = 0.02
"""Effects are brought up to date no more often, and in no more of the time: that looks at every
trial.
"""
_PATIENCE_SECONDS = 60.0
"""Seconds that a finished sweep waits for the last of the view; `orchestrator sync` does the rest
at any time.
"""
_LAST_TRIES = 2
"""Tries at the end: one may meet a server that has just forgotten what it was asked."""


Mirror = TypeVar("Mirror", bound=Tracker)


class BackgroundMirror(Generic[Mirror]):
    """Watches a sweep as an `Observer` and mirrors what changed; a context manager around the
    run.
    """

    def __init__(
        self,
        mirror: Mirror,
        view: RunView,
        prepare: Callable[[], None] = lambda: None,
        finish: Callable[[Mirror], None] = lambda mirror: None,
        title: str = "MLflow",
    ) -> None:
        """`prepare` is called first, once a trial has ended or some seconds have passed, and
        `finish` when all is shown.

        Messages call the view `title`.
        """
        self._title = title
        self._mirror = self._newest = mirror
        self._prepare, self._finish = prepare, finish
        self._view = view
        self._lock = threading.Lock()
        self._running: dict[str, TrialSpec] = {}
        self._ended = {run_key(trial): trial for trial in mirror.trials}
        """Waiting to be mirrored; at first all of them: what was done before, or is reused from
        another sweep.
        """
        self._closing = threading.Event()
        self._may_begin = threading.Event()
        self._thread = threading.Thread(target=self._keep_mirroring, name="tracker", daemon=True)
        self._complaint: str | None = None
        self._is_refused = False
        """True if what it is about is there but for single records."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        with self._view.waiting(f"updating {self._title}"):
            self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():
            self._mirror.stop()  # whoever mirrors next must be the only one
            self._complaint = (
                f"{self._title} did not accept everything within {_PATIENCE_SECONDS:.0f} s"
            )
        if self._complaint:
            hint = "No trial is affected"
            if not self._is_refused:
                hint += "; `orchestrator sync` updates the view"
            self._view.warn(f"{self._complaint}. {hint}.")

    def follow(self, mirror: Mirror) -> None:
        """The sweep has grown: mirror it by this one from the next time on."""
        self._newest = mirror

    def started(self, trial: TrialSpec) -> None:
        """Mirror the trial from now on."""
        with self._lock:
            self._running[run_key(trial)] = trial

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Mirror the trial once more."""
        with self._lock:
            self._running.pop(run_key(trial), None)
            self._ended[run_key(trial)] = trial
        self._may_begin.set()

    def finished(self) -> None:
        """Bring everything up to date while the executor clears up."""
        self._close()

    def _close(self) -> None:
        self._closing.set()
        self._may_begin.set()

    def _keep_mirroring(self) -> None:
        self._may_begin.wait(_HEAD_START_SECONDS)
        self._prepare()
        effects_due = time.monotonic() + _EFFECTS_SECONDS
        has_news = False
        while not self._closing.wait(_PERIOD_SECONDS):
            with self._lock:
                ended, self._ended = self._ended, {}
                changed = {**ended, **self._running}
            if not self._sync(list(changed.values())):
                with self._lock:
                    self._ended = {**ended, **self._ended}
                continue
            has_news = has_news or bool(ended)
            began = time.monotonic()
            if has_news and began >= effects_due:
                has_news = not self._say_why_not(self._mirror.sync_effects)
                now = time.monotonic()
                effects_due = now + max(_EFFECTS_SECONDS, (now - began) / _EFFECTS_SHARE)
        for _ in range(_LAST_TRIES):
            if self._sync(None):  # everything, and the report
                self._say_why_not(lambda: self._finish(self._mirror))
                return

    def _sync(self, trials: list[TrialSpec] | None) -> bool:
        self._mirror = self._newest
        return trials == [] or self._say_why_not(lambda: self._mirror.sync(trials))

    def _say_why_not(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except RecordRefused as error:  # trying again would come to the same
            self._complaint, self._is_refused = str(error), True
            return True
        except (
            OrchestratorError,
            OSError,
        ) as error:  # of MLflow, or of a store that cannot be read
            self._complaint, self._is_refused = str(error), False
            return False
        self._complaint = None
        return True
