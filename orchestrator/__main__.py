"""The entry of the console script and of `python -m orchestrator`: Ctrl-C is no traceback even
before there is a command.

Taking torch, Ray and MLflow apart object by object takes the interpreter more than a second, when
all that they hold is saved and goes with the process anyway. So the last thing to happen, once
threads and all other exit functions are through, is `os._exit`.
"""

import atexit
import os
import sys


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    # where something gets past all that is caught: its traceback is printed before exit functions
    # are called
    code: int = 1

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started us has closed it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    atexit.register(leave)  # the first to be registered is the last to be called
    try:
        from orchestrator.cli.app import main as command_line

        command_line()
        code = 0
    except KeyboardInterrupt:
        code = 130
        sys.exit(code)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


if __name__ == "__main__":
    if sys.path[0] == os.getcwd():
        # `-m` puts it first: a file named `rich.py` there would hide the package
        sys.path.append(sys.path.pop(0))
    main()
