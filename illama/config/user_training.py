"""A training that a user's function does, `train: {name: "module:function", ...}`, as a workload."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, create_model

from illama.config.functions import (
    TrainingFunction,
    described_training,
    function_behind,
    options_of,
    settings_of,
)
from illama.config.imports import UserCodeError, about, sources
from illama.config.settings import Settings
from illama.config.workload import Workload


class UserTraining(Workload):
    """All that decides the numbers of one training by a user's function."""

    trainer: ClassVar[str] = "illama.training.user_training:train_by_function"

    train: TrainingFunction
    seed: int = Field(default=0, ge=0)
    """Source of every random draw."""

    @classmethod
    def is_meant_by(cls, settings: Mapping[Any, Any]) -> bool:
        """Tell whether `train.name` is there: the built-in training has no name."""
        train = settings.get("train")
        return isinstance(train, Mapping) and train.get("name") is not None

    @classmethod
    def schema_of(cls, settings: Mapping[str, Any]) -> type[Settings]:
        """Keyword parameters of the function as settings, under `train`."""
        with about("train"):
            function = _function_of(settings)
            fields: Any = {"train": (settings_of("train", function), ...)}
        schema: type[Settings] = create_model(
            function, __base__=Settings, **fields, seed=(int, Field(default=0, ge=0))
        )
        return schema

    @classmethod
    def resolved(cls, settings: Mapping[str, Any], data_dir: Path | None) -> Self:
        """The function's settings, defaults included, and the identity of its code."""
        schema = cls.schema_of(settings)
        name = settings["train"]["name"]
        refuse_other_sections(settings, cls.groups, f"settings of {name} are its parameters")
        written = {key: value for key, value in settings.items() if value != {}}
        with about("train"):
            checked: Any = schema.model_validate(written)
            train = described_training(name, _function_of(settings), options_of(checked.train))
        return cls(train=train, seed=checked.seed)

    @classmethod
    def titled(cls, settings: Mapping[Any, Any]) -> str:
        """Name of the function, as the spec has it."""
        return str(settings["train"]["name"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """The function, its code and its settings."""
        return {"train": dict(self.train.identity)}

    @property
    def length(self) -> int | None:
        """Iterations, where an option says how many there will be."""
        return self.train.length

    def sources(self, folder: Path) -> Mapping[str, bytes]:
        """Modules beside the spec that the function is made of."""
        return sources(self.train.function, folder)


def refuse_other_sections(
    settings: Mapping[str, Any], groups: tuple[str, ...], reason: str
) -> None:
    """Raises `UserCodeError` for a section that a kind of workload does not have."""
    for group in ("model", "data"):
        if group not in groups and settings.get(group):
            with about(group):
                raise UserCodeError(f"all {reason}, under 'train': leave out '{group}'")


def _function_of(settings: Mapping[str, Any]) -> str:
    name = settings["train"]["name"]
    function = function_behind("train", name, ())
    if function is None:
        raise UserCodeError(
            f"there is no training '{name}': name your own function, module:function, or leave out train.name"
        )
    return function
