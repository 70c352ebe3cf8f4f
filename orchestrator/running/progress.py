"""The live view of a running sweep: what is done, what runs and how far it is, and when it will all
be over.

In a terminal a table that redraws itself; in a file a line for each trial that ends, and one now
and then in between.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.errors import StoreError
from orchestrator.metrics import decimals_of
from orchestrator.planning.causes import cause_key
from orchestrator.planning.plan import Action, Plan
from orchestrator.running.background import Background
from orchestrator.store.store import Store
from orchestrator.text import shortened, without_middle
from orchestrator.trial import Outcome, TrialSpec

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 30.0
_LONGEST_CAUSE = 400
_WIDE = 100
"""Columns of a terminal from which running trials have a bar."""
_BAR_WIDTH = 20
_SHORTEST_NAME = 16
_LOOK_SECONDS = 1.0
"""Seconds between looks at what runs where only ends are printed: there may be thousands."""
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
        metric: str,
        *,
        retry_failed: bool = False,
    ) -> None:
        super().__init__("progress")
        self._console = console
        self._redraws = console.is_terminal and not console.is_dumb_terminal
        self._causes: dict[str, str] = {}
        """First trial that failed of each."""
        self._store = store
        self._session = session
        self._metric = metric
        self._total = len(plan.trials) + len(plan.later)
        self._done = sum(p.action in (Action.DONE, Action.REUSE) for p in plan.trials)
        self._outcomes: Counter[Outcome] = Counter()
        self._epochs_left = _epochs([*plan.to_train(retry_failed=retry_failed), *plan.later])
        self._epochs_trained = 0.0
        self._attempts: dict[str, _Attempt] = {}
        self._lock = threading.RLock()
        self._started = time.monotonic()
        self._looked = self._started
        self._training_since: float | None = None

    def grow(self, plan: Plan) -> None:
        """The sweep asks for more, which `plan` has; it was asked because nothing waits any more."""
        with self._lock:
            todo = [
                trial
                for trial in plan.to_train(retry_failed=False)
                if trial.fingerprint not in self._attempts
            ]
            running = [attempt.trial for attempt in self._attempts.values()]
            self._total = len(plan.trials) + len(plan.later)
            self._done = len(plan.trials) - len(todo) - len(running)
            self._epochs_left = self._epochs_trained + _epochs([*todo, *running, *plan.later])

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
            self._outcomes[outcome] += 1
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
            cause = self._cause_text(trial) if outcome.is_failure and not smaller else ""
            if not self._redraws and time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look_at_all()
            self._say_ended(attempt, outcome, smaller, cause)

    def finished(self) -> None:
        """End the display: there is nothing more to show."""
        self._closing.set()

    def _work(self) -> None:
        if not self._redraws:
            while not self._closing.wait(_LINE_SECONDS):
                self._console.print(self._summary_line(), highlight=False, soft_wrap=True)
            return
        # what trials print in this process goes to their files, and nobody's view
        shares_terminal = self._console.file is sys.stdout
        with Live(
            self._render(),
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=shares_terminal,
            redirect_stderr=shares_terminal,
        ) as live:
            while not self._closing.wait(_REDRAW_SECONDS):
                live.update(self._render())

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        with self._lock:
            summary = Text(self._summary_line(), style="bold")
            for attempt in self._attempts.values():
                if attempt.since is None:
                    continue
                table.add_row(*self._running_cells(attempt, time.time() - attempt.since))
            return Group(summary, table)

    def _running_cells(self, attempt: _Attempt, seconds: float) -> list[RenderableType]:
        """One line of the part that redraws; where it is narrow without the bar, and of the name
        without its middle: the seed at its end tells trials apart.
        """
        texts = [
            attempt.trial.reached_text(attempt.shown),
            self._value_text(attempt),
            f"{seconds:.0f} s",
        ]
        room = self._console.width - sum(len(text) + 2 for text in texts) - 4
        cells: list[RenderableType] = [Text(text, no_wrap=True) for text in texts]
        if self._console.width >= _WIDE:
            room -= _BAR_WIDTH + 2
            total, done = attempt.trial.config.total, attempt.epoch
            cells.insert(0, ProgressBar(total=total, completed=done, width=_BAR_WIDTH))
        name = without_middle(attempt.trial.name, max(_SHORTEST_NAME, room))
        return [Text(name, no_wrap=True), *cells]

    def _summary_line(self) -> str:
        with self._lock:
            self._look_at_all()
            running = sum(attempt.since is not None for attempt in self._attempts.values())
            doing = f"{running} running" if running or self._outcomes else "starting"
            counts = [f"{self._done} of {self._total} trials done", doing]
            counts += [
                f"{n} {outcome}"
                for outcome, n in self._outcomes.items()
                if outcome is not Outcome.FINISHED
            ]
            return f"{', '.join(counts)} | {_clock(time.monotonic() - self._started)} elapsed, {self._time_left()}"

    def _time_left(self) -> str:
        trained = self._epochs_trained + sum(
            attempt.epoch - attempt.first_epoch for attempt in self._attempts.values()
        )
        if trained <= 0 or self._training_since is None:
            return "time left unknown"
        left = max(0.0, self._epochs_left - trained)
        return f"about {_clock((time.monotonic() - self._training_since) * left / trained)} left"

    def _say_ended(
        self, attempt: _Attempt, outcome: Outcome, smaller: TrialSpec | None, cause: str
    ) -> None:
        text = Text(f"[{self._done}/{self._total}] {attempt.trial.name} ")
        text.append(str(outcome), style=_STYLES.get(outcome, "red"))
        parts = [", ".join(self._facts(attempt, outcome))]
        if smaller:
            micro_batch = smaller.runtime.micro_batch_size
            parts.append(f"will be retried with a micro-batch of {micro_batch}")
        if outcome is Outcome.LOST:
            parts.append("will continue from its checkpoint")
        if not self._redraws:  # else the part that redraws tells it
            parts.append(self._time_left())
        told = "; ".join(filter(None, parts))
        text.append(f"{told and ' '}{told}")
        if cause:
            text.append(f": {cause}")
        self._console.print(text, soft_wrap=not self._redraws)

    def _facts(self, attempt: _Attempt, outcome: Outcome) -> Iterator[str]:
        """Yield how far an attempt came, what it reached and how long it took, where known."""
        if outcome is Outcome.PRUNED:
            yield f"at epoch {attempt.epoch:.0f}"
        if attempt.value is not None:
            yield self._value_text(attempt)
        if attempt.since:
            yield f"{time.time() - attempt.since:.1f} s"

    def _cause_text(self, trial: TrialSpec) -> str:
        """Say why a trial failed, each cause once: whoever looks may stop the rest of the hours."""
        cause = ""
        with suppress(OSError, StoreError):
            cause = shortened(self._store.record(trial).cause or "", _LONGEST_CAUSE)
        if not cause:
            return ""
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


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{seconds:02}"
    return f"{hours}:{minutes:02}:{seconds:02}"
