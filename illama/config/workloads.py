"""Every kind of workload, and the way from what a user wrote to one of them.

A package adds a kind of its own by an entry point of the group `illama.workloads` that names a
subclass of `illama.config.workload.Workload`; it is asked before the kinds that are here.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from illama.config.command import CommandTraining
from illama.config.configuration import Config
from illama.config.settings import Settings
from illama.config.user_training import UserTraining
from illama.config.workload import Workload

KINDS: tuple[type[Workload], ...] = (UserTraining, CommandTraining, Config)
"""The kinds in the order in which they are asked whether they are meant; the last one takes what is
left.
"""


@cache
def kinds() -> tuple[type[Workload], ...]:
    """Every kind, those of installed packages first."""
    installed = [point.load() for point in entry_points(group="illama.workloads")]
    return (*installed, *KINDS)


def kind_of(settings: Mapping[Any, Any]) -> type[Workload]:
    """Kind of workload that `{"model": {...}, "data": {...}, "train": {...}}` asks for."""
    return next((kind for kind in kinds() if kind.is_meant_by(settings)), KINDS[-1])


def schema_of(settings: Mapping[str, Any]) -> type[Settings]:
    """Settings that may stand in `settings`, with those of the users' functions that it names.

    Raises `UserCodeError`, its `group` set, where such a function cannot be used.
    """
    return kind_of(settings).schema_of(settings)


def resolve(settings: Mapping[str, Any], data_dir: Path | None = None) -> Workload:
    """Turn `{"model": {...}, "data": {...}, "train": {...}, "seed": 0}` into a workload.

    Users' models are built and their data loaded, from `data_dir` if they ask for it, to see what
    they are. Raises `pydantic.ValidationError` with the path of every setting that is unknown,
    missing or of the wrong type, and `UserCodeError`.
    """
    return kind_of(settings).resolved(settings, data_dir)


def read_workload(content: Mapping[str, Any]) -> Workload:
    """Workload whose `model_dump(mode="json")` is `content`. Imports and runs no code of users."""
    return kind_of(content).model_validate(content)
