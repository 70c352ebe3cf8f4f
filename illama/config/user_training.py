"""A training that a user's function does, `train: {name: "module:function", ...}`, as a
workload.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, create_model

from illama.config.functions import (
    Named,
    function_behind,
    length_in,
    options_of,
    settings_of,
)
from illama.config.imports import (
    UserCodeError,
    about,
    digest_of,
    files_beside,
    folder_of_spec,
    function_of,
    identity_of,
    sources,
)
from illama.config.settings import Settings
from illama.config.workload import Workload

_FILES = "files"


class _WithFiles(Settings):
    """Key that a function's settings have beside its parameters."""

    files: tuple[str, ...] = ()


class TrainingFunction(Named):
    """A user's function that trains."""

    code: str
    """Identity of the code, as of a model."""
    files: tuple[str, ...] = ()
    """Further files beside the spec that the function reads."""
    content: str = ""
    """Digest of these files; empty without any."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Values that decide the numbers, beside the seed."""
        found = {"function": self.function, "code": self.code, "options": self.options}
        return {**found, "content": self.content} if self.files else found

    @property
    def length(self) -> int | None:
        """Iterations that it will log at most, where an option `iterations` or `epochs` says so."""
        return length_in(self.options)

    def written(self, name: str) -> Any:
        """Option of that name, beside which a spec writes the function's and the files it reads."""
        is_own = name == _FILES and name not in self.options
        return self.files if is_own else super().written(name)


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
            fields: Any = {"train": (_with_files(settings_of("train", function)), ...)}
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
            options = options_of(checked.train)
            files = options.pop(_FILES) if isinstance(checked.train, _WithFiles) else ()
            train = _described(name, _function_of(settings), options, tuple(files))
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
        """Modules beside the spec that the function is made of, and the files that it reads."""
        found = sources(self.train.function, folder)
        return {**found, **files_beside(self.train.files, folder)}


def refuse_other_sections(
    settings: Mapping[str, Any], groups: tuple[str, ...], reason: str
) -> None:
    """Raises `UserCodeError` for a section that a kind of workload does not have."""
    for group in ("model", "data"):
        if group not in groups and settings.get(group):
            with about(group):
                raise UserCodeError(f"all {reason}, under 'train': leave out '{group}'")


def _with_files(options: type[Settings]) -> type[Settings]:
    """The settings with `files`, but for a function that has such a parameter or takes any."""
    names = {str(field.alias) for field in options.model_fields.values()}
    if _FILES in names or options.model_config.get("extra") == "allow":
        return options
    return create_model(options.__name__, __base__=(_WithFiles, options))


def _described(
    name: str, function: str, options: Mapping[str, Any], files: tuple[str, ...]
) -> TrainingFunction:
    """Describe a training without running it. Raises `UserCodeError`."""
    found = function_of(function)
    if inspect.isgeneratorfunction(found) or inspect.iscoroutinefunction(found):
        raise UserCodeError(
            f"{function} is a generator or a coroutine; it must be a plain function that returns "
            "its final metrics"
        )
    with about("train", _FILES):
        content = digest_of(files_beside(files, folder_of_spec())) if files else ""
    return TrainingFunction(
        name=name,
        function=function,
        code=identity_of(function),
        options=dict(options),
        files=files,
        content=content,
    )


def refuse_other_files(train: TrainingFunction) -> None:
    """Raises `UserCodeError` where the files that the function reads are not those of the plan."""
    files = files_beside(train.files, folder_of_spec())
    if train.files and digest_of(files) != train.content:
        raise UserCodeError(f"{', '.join(train.files)}: not as when this was planned")


def _function_of(settings: Mapping[str, Any]) -> str:
    name = settings["train"]["name"]
    function = function_behind("train", name, ())
    if function is None:
        raise UserCodeError(
            f"there is no training '{name}': name your own function, module:function, or leave "
            "out train.name"
        )
    return function
