"""Interface of whoever shows a run: a terminal, a notebook, or nobody."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from orchestrator.outcomes import Outcome
from orchestrator.planning.plan import Plan
from orchestrator.running.queue import Observer
from orchestrator.store.store import Store
from orchestrator.trial import TrialSpec


class RunView(Observer, Protocol):
    """Callbacks of one run, called from the thread that the run was started in.

    A view only shows: what it raises ends the run, and nothing that it does changes a result.
    """

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Context in which the run waits for something that takes seconds."""

    def planned(self, plan: Plan) -> None:
        """Plan of the run, before anything is trained."""

    def training(
        self, plan: Plan, store: Store, session: str, *, retry_failed: bool
    ) -> AbstractContextManager[object]:
        """Context in which trials are trained; `session` names this driver in their files."""

    def grown(self, plan: Plan) -> None:
        """Plan with the trials that results ask for while the run goes on."""

    def stopping(self, signal_name: str) -> None:
        """Signal that asked the run to stop: checkpoints are being saved."""

    def warn(self, message: str) -> None:
        """Sentence about something that went wrong and affects no trial."""

    def overdue(self, message: str) -> None:
        """Sentence about a trial that runs far longer than those that finished; nothing is stopped.
        Called from another thread.
        """


class Silent:
    """View that shows nothing; the base of views that show a part."""

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """See `RunView`."""
        return nullcontext()

    def planned(self, plan: Plan) -> None:
        """See `RunView`."""

    def training(
        self, plan: Plan, store: Store, session: str, *, retry_failed: bool
    ) -> AbstractContextManager[object]:
        """See `RunView`."""
        return nullcontext()

    def grown(self, plan: Plan) -> None:
        """See `RunView`."""

    def stopping(self, signal_name: str) -> None:
        """See `RunView`."""

    def warn(self, message: str) -> None:
        """See `RunView`."""

    def overdue(self, message: str) -> None:
        """See `RunView`."""

    def started(self, trial: TrialSpec) -> None:
        """See `Observer`."""

    def ended(self, trial: TrialSpec, outcome: Outcome) -> None:
        """See `Observer`."""

    def finished(self) -> None:
        """See `Observer`."""
