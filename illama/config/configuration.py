"""All settings of a training together, and how they come from what a user wrote.

Three sections make the science: `ModelConfig`, `DataConfig` and `TrainConfig`, together with the
seed a `Config`. Whatever is in them decides the numbers and belongs to a trial's identity.
`RuntimeConfig` holds the rest (device, threads, checkpoint interval): it may be changed between two
attempts at the same trial and must never change a result beyond rounding.

`resolve({"model": {"name": "vit_digits", "norm": "rmsnorm"}, ...})` turns what a user wrote into a
full `Config`: the name picks a preset, the other keys override it. A name such as
`mixer:create_mixer` is a function of somebody else's, and the other keys are its own settings
(`illama.config.functions`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import (
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_validator,
)

from illama.config import functions as user
from illama.config.data import DataConfig
from illama.config.functions import TrainingFunction, UserData, UserModel
from illama.config.imports import UserCodeError
from illama.config.model import PRESETS, ModelConfig, with_preset
from illama.config.networks import described_model
from illama.config.runtime import data_directory
from illama.config.settings import Settings
from illama.config.train import TrainConfig, parse_rand_augment

NUMERICS_VERSION = 4
"""Raised whenever the same settings and seed would give other numbers than before;
`numerics_version` says in which trainings."""


def _ours_or(user_kind: type[Settings], ours: type[Settings]) -> WrapValidator:
    """One of two groups of settings, and the errors of that one alone."""
    told = {name for name, field in user_kind.model_fields.items() if field.is_required()}

    def validate(value: Any, both: ValidatorFunctionWrapHandler) -> Settings:
        if isinstance(value, user_kind | ours):
            return value
        is_users = isinstance(value, Mapping) and told <= value.keys()
        return (user_kind if is_users else ours).model_validate(value)

    return WrapValidator(validate)


class Config(Settings):
    """All that decides the numbers of one training."""

    model: Annotated[ModelConfig | UserModel, _ours_or(UserModel, ModelConfig)]
    data: Annotated[DataConfig | UserData, _ours_or(UserData, DataConfig)]
    train: TrainConfig
    seed: int = Field(default=0, ge=0)
    """Every random draw derives from this, the epoch and the image's index."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.train.soft_mask and not self.model.masked:
            if isinstance(self.model, UserModel):
                raise ValueError(
                    f"train.soft_mask needs a network with set_soft_mask_rate(alpha); {self.model.name} gives none"
                )
            raise ValueError(
                "train.soft_mask softens a causal mask, but model.attention is bidirectional"
            )
        for name in (
            ("drop_path", "dropout", "layer_decay") if isinstance(self.model, UserModel) else ()
        ):
            if getattr(self.train, name):
                raise ValueError(
                    f"train.{name} acts inside the built-in networks; give {self.model.name} an option of its own for it"
                )
        folder = self.data.name == "image_folder"
        useless = ("random_crop",) if folder else ("aa", "random_resized_crop", "transforms")
        for name in useless:
            if getattr(self.train, name) != TrainConfig.model_fields[name].default:
                where = (
                    "images in memory; a folder has train.random_resized_crop"
                    if folder
                    else "image folders"
                )
                raise ValueError(f"train.{name} is for {where}, but data.name is {self.data.name}")
        return self


class UserTraining(Settings):
    """All that decides the numbers of one training that a function of somebody else does."""

    train: TrainingFunction
    seed: int = Field(default=0, ge=0)
    """Where every random draw comes from."""

    @property
    def model(self) -> None:
        """Whatever it trains, nobody else knows."""

    @property
    def data(self) -> None:
        """Nor on what."""


AnyConfig = Config | UserTraining


def numerics_version(config: AnyConfig) -> int:
    """The last version that changed the numbers of such a training: part of its fingerprint and of
    its checkpoints.

    3 draws dropout on the device, and makes the pictures of image folders exactly as timm and
    torchvision do. 4 keeps from weight decay what a network of others says (`no_weight_decay`),
    jitters no colours under `train.transforms: timm` without `train.aa`, and draws RandAugment's
    magnitudes of `mstd` above 100 as timm does.
    """
    if isinstance(config, UserTraining):
        return 2
    folder = config.data.name == "image_folder"
    if isinstance(config.model, UserModel) and config.model.undecayed:
        return 4
    if folder and _has_other_pictures(config.train):
        return 4
    return 3 if config.train.dropout or folder else 2


def _has_other_pictures(train: TrainConfig) -> bool:
    """Whether version 4 changed the training pictures of a folder."""
    if train.transforms == "timm":
        return train.aa is None
    return train.aa is not None and parse_rand_augment(train.aa).is_uniform


def user_function(group: str, name: object) -> str | None:
    """The `module:function` behind a name in the group `model`, `data` or `train`; none for a name
    of ours, or nothing known.

    A name without a colon is looked for among what installed packages offer (entry points
    `illama.models`, `illama.datasets`, `illama.trainings`).
    """
    own = {"model": tuple(PRESETS), "data": get_args(DataConfig.model_fields["name"].annotation)}
    return user.function_behind(group, name, own.get(group, ()))


def schema_of(settings: Mapping[str, Any]) -> type[Settings]:
    """What may stand in `settings`: a `Config`, with the settings of other people's functions where
    these are named.

    Raises `UserCodeError`, its `group` set, where such a function cannot be used.
    """
    kinds: dict[str, type[Settings]] = {
        "model": ModelConfig,
        "data": DataConfig,
        "train": TrainConfig,
    }
    functions = _functions_in(settings)
    if not functions:
        return Config
    if "train" in functions:
        kinds, functions = {}, {"train": functions["train"]}
    for group, (_, function) in functions.items():
        with _about(group):
            kinds[group] = user.settings_of(group, function)
    title = " and ".join(function for _, function in functions.values())
    fields: Any = {group: (kind, ...) for group, kind in kinds.items()}
    schema: type[Settings] = create_model(title, __base__=Settings, **fields, seed=(int, 0))
    return schema


def resolve(settings: Mapping[str, Any], data_dir: Path | None = None) -> AnyConfig:
    """Turn `{"model": {...}, "data": {...}, "train": {...}, "seed": 0}` into a `Config`.

    Other people's models are built and their data loaded, from `data_dir` if they ask for it, to
    see what they are; a training of their own has no other section beside `train`. Raises
    `pydantic.ValidationError` with the path of every setting that is unknown, missing or of the
    wrong type, and `UserCodeError`.
    """
    model = settings.get("model")
    if isinstance(model, Mapping):
        settings = {**settings, "model": with_preset(model)}
    schema = schema_of(settings)
    if schema is Config:
        return Config.model_validate(settings)
    if "train" in (functions := _functions_in(settings)):
        return _resolve_training(settings, schema, *functions["train"])
    checked: Any = schema.model_validate(settings)
    parts: dict[str, Any] = {"model": checked.model, "data": checked.data}
    if "data" in functions:
        with _about("data"):
            parts["data"] = user.described_data(
                *functions["data"], user.options_of(checked.data), data_directory(data_dir)
            )
    if "model" in functions:
        with _about("model"):
            options, data = user.options_of(checked.model), parts["data"]
            images = (
                (data.shape, data.num_classes)
                if isinstance(data, UserData)
                else user.image_shape(data.name, options)
            )
            parts["model"] = described_model(*functions["model"], options, *images)
    return Config(**parts, train=checked.train, seed=checked.seed)


def _resolve_training(
    settings: Mapping[str, Any], schema: type[Settings], name: str, function: str
) -> UserTraining:
    for group in ("model", "data"):
        if settings.get(group):
            with _about(group):
                raise UserCodeError(
                    f"all settings of {name} are its parameters, under 'train': leave out '{group}'"
                )
    with _about("train"):
        checked: Any = schema.model_validate(
            {key: value for key, value in settings.items() if value != {}}
        )
        training = user.described_training(name, function, user.options_of(checked.train))
    return UserTraining(train=training, seed=checked.seed)


def _functions_in(settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Of the groups that name somebody's function: the name, and the `module:function` behind
    it."""
    names = {
        group: part.get("name")
        for group in ("model", "data", "train")
        if isinstance(part := settings.get(group), Mapping)
    }
    found = {
        group: (str(name), function)
        for group, name in names.items()
        if (function := user_function(group, name))
    }
    if isinstance(unknown := names.get("train"), str) and "train" not in found:
        with _about("train"):
            raise UserCodeError(
                f"there is no training '{unknown}': name a function of your own, module:function, or no training"
            )
    return found


@contextmanager
def _about(group: str) -> Iterator[None]:
    """Say in whose name a function was called."""
    try:
        yield
    except UserCodeError as error:
        error.group = group
        raise
