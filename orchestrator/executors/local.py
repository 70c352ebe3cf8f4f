"""One trial after the other in this process: for debugging, and for machines without Ray."""

from orchestrator.queue import TrialQueue


def run_locally(queue: TrialQueue) -> None:
    """Train whatever the queue hands out; see `Executor`."""
    from orchestrator.worker import run_trial  # torch takes seconds to import, and only training needs it

    while trial := queue.next():
        queue.ended(trial, run_trial(queue.store.directory(trial).path, queue.session))
