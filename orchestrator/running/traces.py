"""Tracebacks as people read them: from the training's own code on, without the way to it through
ours.
"""

import traceback
from pathlib import Path
from types import TracebackType

_PACKAGES = Path(__file__).parents[2]
_OURS = (_PACKAGES / "orchestrator" / "running", _PACKAGES / "illama" / "training")
"""Folders of what calls a training; a network's own code is elsewhere."""


def readable_traceback(error: BaseException) -> str:
    """The error with its causes, as Python prints it; where all of it is ours, all of it."""
    trace = _behind_ours(error.__traceback__) or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, trace))


def _behind_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace and Path(trace.tb_frame.f_code.co_filename).parent in _OURS:
        trace = trace.tb_next
    return trace
