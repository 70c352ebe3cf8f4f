"""Causes of failures that are one: the same words, whatever numbers and addresses stand between
them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.text import first_of, gist

_VARYING = re.compile(r"\b0x[0-9a-fA-F]+\b|\d+(?:\.\d+)?")
"""Parts of a cause that differ between trials with one mistake: seed, iteration, address, process.
"""
_MOST_NAMES = 5
_LONGEST_CAUSE = 300
"""Characters of a cause in a list of several; `orchestrator show` has the whole."""


@dataclass(frozen=True)
class CauseGroup:
    """Trials that one thing befell."""

    cause: str
    """The cause in the words of the first trial."""
    trials: Sequence[str]
    """The names of the trials, in the order of the road."""

    def __str__(self) -> str:
        return f"{names_text(self.trials)}: {in_a_list(self.cause)}"


def names_text(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return first_of(names, _MOST_NAMES)


def in_a_list(cause: str) -> str:
    """The cause on one line, as far as there is room where others stand beside it."""
    return gist(cause, _LONGEST_CAUSE)


def cause_key(cause: str) -> str:
    """Text that equal causes have in common."""
    return " ".join(_VARYING.sub("#", cause).split())


def grouped_causes(causes: Mapping[str, str]) -> list[CauseGroup]:
    """The causes of trials, by their names, each cause once, in the order of its first trial."""
    groups: dict[str, list[str]] = {}
    for name, cause in causes.items():
        groups.setdefault(cause_key(cause), []).append(name)
    return [CauseGroup(causes[names[0]], tuple(names)) for names in groups.values()]
