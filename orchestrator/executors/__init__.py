"""The places where trials run: `local` on this machine one by one, `ray` on every core and node
that Ray sees, others by plugins.

What an executor has to do is written down in `base`.
"""

import os
from pathlib import Path

from orchestrator.executors.base import EXECUTORS, Executor, ExecutorKind

__all__ = ["EXECUTORS", "Executor", "ExecutorKind", "has_token"]

# Ray reads these when it is imported. Tune's own logs, its chdir and its handler of Ctrl-C would
# all come on top of ours.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault(
    "TUNE_DISABLE_STRICT_METRIC_CHECKING", "1"
)  # where a process died or the store is full there is no outcome
os.environ.setdefault(
    "TUNE_MAX_PENDING_TRIALS_PG", "1000000"
)  # we hand out; by itself Tune starts one worker at a time
os.environ.setdefault(
    "TUNE_GLOBAL_CHECKPOINT_S", "inf"
)  # the store knows; a snapshot grows with the number of trials
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_COLOR_PREFIX", "0")
os.environ.setdefault(
    "RAY_ENABLE_AUTO_CONNECT", "0"
)  # else whatever of Tune outlives an interrupt would look for a cluster


def has_token() -> bool:
    """Tell whether there is a token that Ray would find."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token"))
    try:
        return bool(os.environ.get("RAY_AUTH_TOKEN")) or path.expanduser().exists()
    except (OSError, RuntimeError):  # a home that cannot be looked into, or is not known
        return False


if has_token():
    os.environ.setdefault(
        "RAY_AUTH_MODE", "token"
    )  # where there is a token `ray start` asks for it, but `ray.init` offers none
