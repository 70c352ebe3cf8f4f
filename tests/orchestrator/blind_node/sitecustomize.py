"""Python imports this first where the folder is on its path: whatever lies below BLIND_TO is not
there, but for the command itself.
"""

import errno
import os
import sys


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: raises instead of opening."""
    if event == "open" and str(arguments[0]).startswith(os.environ["BLIND_TO"]):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), arguments[0])


if sys.orig_argv[1:3] != ["-m", "orchestrator"]:
    sys.addaudithook(refuse)
