"""The entry of the console script and of `python -m orchestrator`: Ctrl-C is no traceback even before there is a command."""

import sys


def main() -> None:
    """Import the command line, which takes a moment, and run it."""
    try:
        from orchestrator.cli import main as command_line
    except KeyboardInterrupt:
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
