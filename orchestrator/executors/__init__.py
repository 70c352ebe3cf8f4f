"""Where trials run: `local` in this process, `ray_tune` on every core and node that Ray sees. Both have the signature of
`Executor`.
"""

from typing import Protocol

from orchestrator.queue import TrialQueue


class Executor(Protocol):
    """Trains whatever the queue hands out, and returns when the queue is finished."""

    def __call__(self, queue: TrialQueue) -> None:
        """Raises `StoreError` where a worker cannot write its trial, `ClusterError` where trials cannot run at all."""
