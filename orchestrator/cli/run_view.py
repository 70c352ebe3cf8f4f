"""A run as a terminal shows it: the plan, the live view of its trials, and warnings."""

from contextlib import AbstractContextManager
from threading import Thread

from rich.console import Console
from rich.text import Text

from orchestrator.cli.console import can_redraw, err, out
from orchestrator.cli.progress_line import telling
from orchestrator.errors import counted
from orchestrator.outcomes import Outcome
from orchestrator.planning.plan import Plan, actions_text
from orchestrator.report.overview import search_lines
from orchestrator.running.progress import ProgressView
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec


class ConsoleView:
    """The `RunView` of the command line, on a console of rich."""

    def __init__(self, console: Console | None = None) -> None:
        """`console` is by default the command line's own, on standard output."""
        self._console = console or out
        self._progress: ProgressView | None = None

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Say so in a terminal where it takes long, and nothing in a file."""
        return telling(self._console, what)

    def planned(self, plan: Plan) -> None:
        """Print how many trials there are, the warnings, and the progress of searches."""
        console = self._console
        trials = counted(len(plan.trials), "trial")
        console.print(f"{plan.sweep}: {trials}: {actions_text(plan.actions)}", soft_wrap=True)
        for warning in plan.warnings:
            text = Text(f"warning {warning.code}: {warning.message}", style="yellow")
            console.print(text, soft_wrap=not can_redraw(console))
        for line in search_lines(plan):
            console.print(line, soft_wrap=True)

    def training(
        self, plan: Plan, store: Store, session: str, *, retry_failed: bool
    ) -> AbstractContextManager[object]:
        """Show the trials, live in a terminal and line by line in a file."""
        self._progress = ProgressView(
            self._console,
            plan,
            store,
            session,
            redraws=can_redraw(self._console),
            retry_failed=retry_failed,
        )
        return self._progress

    def grown(self, plan: Plan) -> None:
        """Show the trials that were added."""
        if self._progress:
            self._progress.grow(plan)

    def stopping(self, signal_name: str) -> None:
        """Say that checkpoints are being saved."""
        again = "Press Ctrl-C again" if signal_name == "SIGINT" else f"Send {signal_name} again"
        message = f"\nInterrupted ({signal_name}): saving checkpoints. {again} to stop at once."
        if self._progress:
            self._progress.stopping()
        # a signal may come while this thread writes, and nobody writes twice at once
        Thread(target=self.warn, args=(message,), name="stopping").start()

    def warn(self, message: str) -> None:
        """Print a sentence."""
        text = Text(message, style="yellow")
        if self._progress:
            self._progress.say(text)
        else:
            self._console.print(text, soft_wrap=True)

    def overdue(self, message: str) -> None:
        """Print a sentence to standard error; in a terminal above the part that redraws."""
        if can_redraw(self._console) and can_redraw(err):
            self.warn(message)
        else:
            err.print(Text(message, style="yellow"), soft_wrap=True)

    def started(self, trial: TrialSpec) -> None:
        """Show the trial among the running ones."""
        if self._progress:
            self._progress.started(trial)

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """Show how an attempt ended."""
        if self._progress:
            self._progress.ended(trial, outcome)

    def finished(self) -> None:
        """Say that only the executor has something left to do."""
        if self._progress:
            self._progress.finished()
