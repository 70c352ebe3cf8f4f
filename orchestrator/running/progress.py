"""The live view of a running sweep: what is done, what runs and how far it is, and when it will all
be over.

In a terminal a table that redraws itself; in a file a line for each trial that ends, and one now
and then in between.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from orchestrator.errors import StoreError, counted
from orchestrator.metrics import decimals_of
from orchestrator.outcomes import SAVED, TRAINED, Outcome, State
from orchestrator.planning.causes import cause_key
from orchestrator.planning.plan import Plan
from orchestrator.running.background import Background
from orchestrator.running.live_part import LivePart, RunningTrial
from orchestrator.store.store import Store
from orchestrator.text import duration_text, shortened, spaced, tally
from orchestrator.trial import TrialSpec
from orchestrator.waiting import heard_by

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30.0
_LONGEST_CAUSE = 400
_INDENT = 2
_LOOK_SECONDS = 1.0
"""Seconds between looks at what runs where only ends are printed: there may be thousands."""
_UNEXPLAINED = (*TRAINED, Outcome.PRUNED)
"""Outcomes whose last value is a result, and which need no cause beside it."""
_STYLES = {
    Outcome.FINISHED: "green",
    Outcome.COLLAPSED: "yellow",
    Outcome.DIVERGED: "yellow",
    Outcome.PRUNED: "cyan",
    Outcome.LOST: "magenta",
}


@dataclass
class _Attempt:
    """A trial that was handed out; it may wait for a slot a little longer."""

    trial: TrialSpec
    since: float | None = None
    """The time at which its worker began, in seconds since the epoch."""
    first_epoch: float = 0.0
    epoch: float = 0.0
    shown: float = 0.0
    """The epoch that is shown, or the iteration of a user training."""
    value: float | None = None


class ProgressView(Background):
    """Watches a sweep as an `Observer` and shows it; a context manager around the run."""

    def __init__(
        self,
        console: Console,
        plan: Plan,
        store: Store,
        session: str,
        *,
        redraws: bool,
        retry_failed: bool = False,
    ) -> None:
        """`redraws` tells whether the console can write over what it has written."""
        super().__init__("progress")
        self._console = console
        self._causes: dict[str, str] = {}
        """First trial that failed of each."""
        self._store = store
        self._session = session
        self._metric = plan.spec.schema.metric.name
        todo = plan.to_train(retry_failed=retry_failed)
        self._total = len(plan.trials) + len(plan.later)
        self._done = len(plan.trials) - len(todo)
        self._outcomes = _outcomes_before(plan, retry_failed=retry_failed)
        self._epochs_left = _epochs([*todo, *plan.later])
        self._epochs_trained = 0.0
        self._attempts: dict[str, _Attempt] = {}
        self._lock = threading.RLock()
        self._drawing = threading.RLock()
        """Held while anything is written, and never while the other lock is waited for."""
        self._started = time.monotonic()
        self._looked = self._started
        self._training_since: float | None = None
        self._doing = "starting"
        """Work of the executor while no trial runs."""
        self._is_closing = self._is_stopping = False
        self._live = self._new_live() if redraws else None
        self._heard = ExitStack()

    def __enter__(self) -> Self:
        self._heard.enter_context(heard_by(self._hear))
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heard.close()
        super().__exit__(kind, error, trace)

    def grow(self, plan: Plan) -> None:
        """The sweep asks for more, which `plan` has; it was asked because nothing waits any
        more.
        """
        with self._lock:
            todo = [
                trial
                for trial in plan.to_train(retry_failed=False)
                if trial.fingerprint not in self._attempts
            ]
            running = [attempt.trial for attempt in self._attempts.values()]
            self._total = len(plan.trials) + len(plan.later)
            done = len(plan.trials) - len(todo) - len(running)
            untrained, self._done = done - self._done, done
            self._epochs_left = self._epochs_trained + _epochs([*todo, *running, *plan.later])
        if untrained > 0:
            trials = counted(untrained, "more trial")
            self.say(Text(f"[{done}/{self._total}] {trials} without a training of their own"))

    def started(self, trial: TrialSpec) -> None:
        """Show the trial as soon as a worker is at it."""
        with self._lock:
            attempt = _Attempt(trial)
            self._look_at(attempt)
            attempt.first_epoch = attempt.epoch
            self._epochs_left -= attempt.first_epoch
            self._attempts[trial.fingerprint] = attempt

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Count the trial and say how it ended: in a terminal above the part that redraws."""
        with self._lock:
            attempt = self._attempts.pop(trial.fingerprint)
            self._look_at(attempt)
            if outcome is Outcome.FINISHED:  # a user training may not say how far it is
                attempt.epoch = float(trial.config.total)
            self._epochs_trained += attempt.epoch - attempt.first_epoch
            self._epochs_left += (
                attempt.epoch
            )  # a lost trial's next attempt takes off again what it finds done
            smaller = trial.with_half_the_memory if outcome is Outcome.OUT_OF_MEMORY else None
            if outcome is not Outcome.LOST and not smaller:
                self._done += 1
                self._epochs_left -= (
                    trial.config.total
                )  # whatever a failure left untrained is not left to do
            if not self._live and time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look_at_all()
            cause = self._cause(trial) if outcome not in _UNEXPLAINED else ""
            is_saved = outcome is Outcome.LOST and cause.endswith(SAVED)
            if not is_saved:
                self._outcomes[outcome] += 1
            text = self._ended_text(
                attempt, outcome, "stopped" if is_saved else spaced(outcome), smaller
            )
            told = self._told_once(trial, cause) if cause and not (is_saved or smaller) else ""
        self.say(text, told)

    def stopping(self) -> None:
        """Nothing more is started: what runs saves its checkpoint."""
        self._is_stopping = True

    def finished(self) -> None:
        """Nothing runs and nothing more will: what is left is the executor's to clear up."""
        self._doing, self._is_closing = "clearing up", True

    def say(self, text: Text, cause: str = "") -> None:
        """Print a line with its cause: in a terminal above the part that redraws, and the cause on
        lines of its own where it does not fit beside.
        """
        part, below = self._part(), list[RenderableType]()
        line = text.copy().append(f": {cause}") if cause else text.copy()
        if self._live and cause and len(line) > self._console.width:
            line, below = text.copy(), [Padding(Text(cause), (0, 0, 0, _INDENT))]
        line.no_wrap, line.overflow = True, "ignore"  # the terminal wraps it, and copies it whole
        with self._drawing, self._console:
            if self._live and self._live.is_started:
                self._live.update(part, refresh=True)
            self._console.print(Group(line, *below), crop=False)

    def _work(self) -> None:
        if not self._live:
            while not self._closing.wait(_LINE_SECONDS):
                with self._lock:
                    self._look_at_all()
                    part = self._part()
                self.say(Text(f"{part.counts} | {part.times}"))
            return
        with self._drawing:
            self._live.start(refresh=True)
        while not self._closing.wait(_REDRAW_SECONDS):
            with self._lock:
                self._look_at_all()
                part = self._part()
            with self._drawing:
                self._live.update(part, refresh=True)
        with self._drawing:
            self._live.stop()

    def _new_live(self) -> Live:
        # what trials print in this process goes to their files, and nobody's view
        shares_terminal = self._console.file is sys.stdout
        return Live(
            self._part(),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=shares_terminal,
            redirect_stderr=shares_terminal,
        )

    def _hear(self, what: str, done: int, total: int) -> None:
        """A `Listener`."""
        self._doing = f"{what}, {done:,} of {total:,}" if total else what

    def _part(self) -> LivePart:
        with self._lock:
            at_work = [attempt for attempt in self._attempts.values() if attempt.since is not None]
            return LivePart(
                self._counts_text(len(at_work)),
                self._times_text(),
                [self._running(attempt) for attempt in at_work],
            )

    def _running(self, attempt: _Attempt) -> RunningTrial:
        return RunningTrial(
            name=attempt.trial.name,
            reached=attempt.trial.reached_text(attempt.shown),
            value=self._value_text(attempt),
            duration=duration_text(round(time.time() - (attempt.since or 0.0))),
            share=attempt.epoch / attempt.trial.config.total,
        )

    def _counts_text(self, running: int) -> str:
        has_begun = bool(running) or self._training_since is not None
        doing = f"{running} running" if has_begun and not self._is_closing else self._doing
        others = {str(one): n for one, n in self._outcomes.items() if one is not Outcome.FINISHED}
        counts = [f"{self._done} of {self._total} trials done", doing, tally(others)]
        return ", ".join(filter(None, counts))

    def _times_text(self) -> str:
        elapsed = f"{duration_text(round(time.monotonic() - self._started))} elapsed"
        if self._is_closing:
            return elapsed
        return f"{elapsed}, {'stopping' if self._is_stopping else self._time_left()}"

    def _time_left(self) -> str:
        trained = self._epochs_trained + sum(
            attempt.epoch - attempt.first_epoch for attempt in self._attempts.values()
        )
        if trained <= 0 or self._training_since is None:
            return "time left unknown"
        left = max(0.0, self._epochs_left - trained)
        seconds = (time.monotonic() - self._training_since) * left / trained
        return f"about {duration_text(round(seconds))} left"

    def _ended_text(
        self, attempt: _Attempt, outcome: Outcome, word: str, smaller: TrialSpec | None
    ) -> Text:
        text = Text(f"[{self._done}/{self._total}] {attempt.trial.name} ")
        text.append(word, style=_STYLES.get(outcome, "red"))
        text.append(self._facts(attempt, outcome))
        if smaller:
            micro_batch = smaller.runtime.micro_batch_size
            text.append(f"; will be retried with a micro-batch of {micro_batch}")
        if outcome is Outcome.LOST:
            text.append("; will continue from its checkpoint")
        if not self._live and not self._is_stopping:  # else the part that redraws tells it
            text.append(f"; {self._time_left()}")
        return text

    def _facts(self, attempt: _Attempt, outcome: Outcome) -> str:
        """Say where an attempt ended, how long it took and what it reached, where known.

        The last value of a trial that failed or diverged is no result.
        """
        facts = ""
        if outcome not in TRAINED and attempt.shown:
            facts += f" at {attempt.trial.reached_text(attempt.shown)}"
        if attempt.since:
            facts += f" after {duration_text(time.time() - attempt.since)}"
        if outcome in _UNEXPLAINED and attempt.value is not None:
            facts += f", {self._value_text(attempt)}"
        return facts

    def _cause(self, trial: TrialSpec) -> str:
        with suppress(OSError, StoreError):
            return shortened(self._store.record(trial).cause or "", _LONGEST_CAUSE)
        return ""

    def _told_once(self, trial: TrialSpec, cause: str) -> str:
        """The cause of a failure; where an earlier trial had the same, that trial's name."""
        first = self._causes.setdefault(cause_key(cause), trial.name)
        return cause if first == trial.name else f"same cause as {first}"

    def _look_at_all(self) -> None:
        for attempt in self._attempts.values():
            self._look_at(attempt)
        self._looked = time.monotonic()

    def _look_at(self, attempt: _Attempt) -> None:
        with suppress(OSError, StoreError):
            # a view ends no sweep: what cannot be read now stays as it was shown before
            self._read(attempt)

    def _read(self, attempt: _Attempt) -> None:
        directory = self._store.directory(attempt.trial)
        if attempt.since is None and (lines := directory.newest_attempt(self._session)):
            attempt.since = lines[0]["time"]
            began = time.monotonic() - max(
                0.0, time.time() - attempt.since
            )  # perhaps long before anybody looked
            self._training_since = min(self._training_since or began, max(began, self._started))
        if last := directory.last_metrics():
            attempt.shown = last["metrics"].get("epoch", last["iteration"])
            attempt.epoch = attempt.trial.reached(attempt.shown)
            attempt.value = last["metrics"].get(self._metric)

    def _value_text(self, attempt: _Attempt) -> str:
        if attempt.value is None:
            return ""
        return f"{self._metric} {attempt.value:.{decimals_of(self._metric, [attempt.value])}f}"


def _epochs(trials: Sequence[TrialSpec]) -> float:
    return float(sum(trial.config.total for trial in trials))


def _outcomes_before(plan: Plan, *, retry_failed: bool) -> Counter[Outcome]:
    """Say how the trials ended that this run leaves as they are."""
    over = {State.DONE}
    if not retry_failed:
        over.add(State.FAILED)
    records = [planned.record for planned in plan.trials]
    return Counter(one.outcome for one in records if one.outcome and one.state in over)
