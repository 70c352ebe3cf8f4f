"""The command of `on_finish`: its words, and what stands for what in them. No shell reads it."""

import shlex
from collections.abc import Mapping
from string import Formatter

PLACES = {
    "sweep": "name of the sweep",
    "store": "folder of the store",
    "report": "path of the report's page, which is written for the command",
    "outcome": "`finished`, `failed` if trials failed, `stopped` if a rule left some out",
}
"""Placeholders and what they are."""


def checked_command(command: str) -> str:
    """The command itself. Raises `ValueError` where it has no word, or a placeholder that there is
    none of.
    """
    try:
        words = filled_words(command, dict.fromkeys(PLACES, "x"))
    except KeyError as error:
        allowed = ", ".join(f"{{{name}}}" for name in PLACES)
        raise ValueError(f"there is no {{{error.args[0]}}}; allowed: {allowed}") from error
    except (ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"it cannot be split into words: {error}") from error
    if not words:
        raise ValueError("it is empty; write a command, such as 'python tell_me.py {report}'")
    return command


def filled_words(command: str, values: Mapping[str, str]) -> list[str]:
    """Words of the command with `values` in them; a value stays within its word, whatever it
    holds.
    """
    return [Formatter().vformat(word, (), values) for word in shlex.split(command)]


def mentions(command: str, place: str) -> bool:
    """Tell whether a placeholder is in it."""
    words = shlex.split(command)
    return any(name == place for word in words for _, name, _, _ in Formatter().parse(word))
