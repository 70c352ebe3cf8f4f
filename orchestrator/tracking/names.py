"""Names as MLflow takes them: metrics and settings of other names are written otherwise there, and
nowhere else; and ids of runs.
"""

import re
import time
from functools import lru_cache
from hashlib import sha256
from uuid import uuid4

_TAKEN = re.compile(r"(?!\.)[\w\-. :]+(/(?!\.)[\w\-. :]+)*")
_NOT_TAKEN = re.compile(r"[^\w\-. :/]+")
_LONGEST = 250
_DIGEST_LENGTH = 4


@lru_cache(10_000)  # a sweep has few names and asks for them at every point
def mlflow_name(name: str) -> str:
    """The name itself where MLflow takes it; else one that is like it, and of no other name."""
    if len(name) <= _LONGEST and _TAKEN.fullmatch(name):
        return name
    parts = [_NOT_TAKEN.sub("_", part).strip(" .") or "_" for part in name.split("/")]
    digest = sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST_LENGTH]
    return f"{'/'.join(parts)[: _LONGEST - _DIGEST_LENGTH - 1].rstrip('/')}-{digest}"


def new_run_id() -> str:
    """Make an id of MLflow's form that sorts by time, as UUIDs of version 7 do: a new run's rows
    then lie beside those of the last one in every index, not all over the file.
    """
    milliseconds = time.time_ns() // 1_000_000
    return f"{milliseconds:012x}{uuid4().hex[12:]}"
