"""States of a trial, and outcomes of an attempt at it."""

from enum import StrEnum


class Outcome(StrEnum):
    """End of an attempt at a trial."""

    FINISHED = "finished"
    """Trained to the end."""
    COLLAPSED = "collapsed"
    """Trained to the end, but the output does not depend on the image."""
    DIVERGED = "diverged"
    """Loss or weights stopped being finite; training again would give the same."""
    PRUNED = "pruned"
    """Stopped early by the rule of its search; never the result of a trial that is asked for in
    full.
    """
    OUT_OF_MEMORY = "out_of_memory"
    """Device or host memory did not suffice."""
    TIMED_OUT = "timed_out"
    """Over the trial's time limit."""
    FAILED = "failed"
    """The trial's code raised."""
    LOST = "lost"
    """Stopped, preempted, or its process or node died; goes on from its checkpoint."""

    @property
    def is_result(self) -> bool:
        """True if the trial is done: nothing would be learned by training it again."""
        return self in (Outcome.FINISHED, Outcome.COLLAPSED, Outcome.DIVERGED, Outcome.PRUNED)

    @property
    def is_failure(self) -> bool:
        """True if `resume` tries the trial again and `run` leaves it alone."""
        return self in (Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.TIMED_OUT)


TRAINED = (Outcome.FINISHED, Outcome.COLLAPSED)
"""Outcomes of trials that trained to the end."""
SAVED = "checkpoint saved"
"""End of the cause of an attempt that was asked to stop, and did."""


class State(StrEnum):
    """State of a trial, as its files say."""

    PENDING = "pending"
    """No attempt yet."""
    RUNNING = "running"
    """An attempt is under way, under a driver that is alive."""
    INTERRUPTED = "interrupted"
    """An attempt ended, or vanished, before the trial was done."""
    FAILED = "failed"
    """The last attempt failed."""
    DONE = "done"
    """A trial that has a result, or of which nothing more is asked."""

    @property
    def has_ended(self) -> bool:
        """True if the trial is over, good or bad: nothing goes on by itself."""
        return self in (State.DONE, State.FAILED)
