"""All settings of a training together, and how they come from what a user wrote.

Three sections make the science: `ModelConfig`, `DataConfig` and `TrainConfig`, together with the
seed a `Config`. Whatever is in them decides the numbers and belongs to a trial's identity.
`RuntimeConfig` holds the rest (device, threads, checkpoint interval): it may be changed between two
attempts at the same trial and must never change a result beyond rounding.

`resolve({"model": {"name": "vit_digits", "norm": "rmsnorm"}, ...})` turns what a user wrote into a
full `Config`: the name picks a preset, the other keys override it. A name such as
`mixer:create_mixer` is a user's function, and the other keys are its own settings
(`illama.config.functions`). Other kinds of workload are beside it: `illama.config.workloads`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_validator,
)

from illama.config import functions as user
from illama.config.data import DataConfig
from illama.config.functions import UserData, UserModel
from illama.config.imports import about, sources
from illama.config.model import PRESETS, ModelConfig, with_preset
from illama.config.networks import described_model
from illama.config.parts import with_parts
from illama.config.runtime import RuntimeConfig, data_directory
from illama.config.settings import Settings
from illama.config.train import InitConfig, TrainConfig, parse_rand_augment
from illama.config.trainable import trained_count
from illama.config.workload import Capabilities, Workload
from illama.data.registry import DATASETS
from illama.networks import NETWORKS

NUMERICS_VERSION = 4
"""Raised whenever the same settings and seed would give other numbers than before;
`Config.numerics_version` says in which trainings."""


_OF_MEMORY = ("random_crop",), "images in memory; a folder has train.random_resized_crop"
_OF_FOLDERS = ("aa", "random_resized_crop", "transforms"), "image folders"
"""Settings that only images of one kind know, and what these are called."""


def _ours_or(user_kind: type[Settings], ours: type[Settings]) -> WrapValidator:
    """One of two groups of settings, and the errors of that one alone."""
    told = {name for name, field in user_kind.model_fields.items() if field.is_required()}

    def validate(value: Any, both: ValidatorFunctionWrapHandler) -> Settings:
        if isinstance(value, user_kind | ours):
            return value
        if isinstance(value, Mapping) and told <= value.keys():
            return user_kind.model_validate(value)
        return ours.model_validate(value)

    return WrapValidator(validate)


class Config(Workload):
    """All that decides the numbers of one built-in training of an image classifier."""

    can: ClassVar[Capabilities] = Capabilities(
        has_known_metrics=True,
        spans_processes=True,
        measures_collapse=True,
        keeps_network=True,
        runtime=tuple(RuntimeConfig.model_fields),
    )
    groups: ClassVar[tuple[str, ...]] = ("model", "data", "train")
    unit: ClassVar[str] = "epoch"
    trainer: ClassVar[str] = "illama.training.trainer:train_classifier"

    model: Annotated[ModelConfig | UserModel, _ours_or(UserModel, ModelConfig)]
    data: Annotated[DataConfig | UserData, _ours_or(UserData, DataConfig)]
    train: TrainConfig
    seed: int = Field(default=0, ge=0)
    """Every random draw derives from this, the epoch and the image's index."""

    @classmethod
    def is_meant_by(cls, settings: Mapping[Any, Any]) -> bool:
        """Tell whether a network is named."""
        return "model" in settings

    @classmethod
    def schema_of(cls, settings: Mapping[str, Any]) -> type[Settings]:
        """A `Config`, with the settings of users' functions where these are named."""
        return _schema_of(settings)

    @classmethod
    def resolved(cls, settings: Mapping[str, Any], data_dir: Path | None) -> Self:
        """Presets filled in, users' models built and their data loaded to see what they are."""
        return cls.model_validate(_resolved(settings, data_dir))

    @classmethod
    def titled(cls, settings: Mapping[Any, Any]) -> str:
        """The built-in training, which has no name of its own."""
        return "the built-in training"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Settings that are not at their default, without labels.

        Of a user's model its code, of a user's data nothing, for the digest of the images says it;
        a file that the training starts from is its content.
        """
        science = self.model_dump(mode="python", exclude_defaults=True, exclude={"seed"})
        science["model"] = dict(self.model.identity)
        if isinstance(self.data, UserData):
            del science["data"]
        if self.train.init and self.train.init.sha256:
            del science["train"]["init"]["checkpoint"]
        return science

    @property
    def numerics_version(self) -> int:
        """Last version that changed the numbers of such a training: part of its fingerprint and of
        its checkpoints.

        3 draws dropout on the device, and makes the pictures of image folders exactly as timm and
        torchvision do. 4 keeps from weight decay what a user's network says (`no_weight_decay`),
        jitters no colours under `train.transforms: timm` without `train.aa`, and draws
        RandAugment's magnitudes of `mstd` above 100 as timm does.
        """
        folder = not self.data.in_memory
        if isinstance(self.model, UserModel) and self.model.undecayed:
            return 4
        if folder and _has_other_pictures(self.train):
            return 4
        if folder or self.train.dropout:
            return 3
        return 2

    @property
    def science(self) -> dict[str, Any]:
        """Settings without the model's name: a preset is only a label."""
        settings = self.model_dump(mode="json")
        del settings["model"]["name"]
        return settings

    @property
    def length(self) -> int:
        """Epochs."""
        return self.train.epochs

    @property
    def batch_size(self) -> int:
        """Images of one update."""
        return self.train.batch_size

    @property
    def network(self) -> ModelConfig | UserModel:
        """The network, built in or a user's."""
        return self.model

    @property
    def images(self) -> DataConfig | UserData:
        """The images, built in or a user's."""
        return self.data

    @property
    def init(self) -> InitConfig | None:
        """File that the first weights come from."""
        return self.train.init

    def with_init(self, init: InitConfig) -> "Config":
        """The same training from another file."""
        return self.model_copy(update={"train": self.train.model_copy(update={"init": init})})

    @property
    def trained_params(self) -> int | None:
        """Parameters that `train.trainable` leaves to training; None where it is all of them."""
        return trained_count(self.model, self.train.trainable)

    @property
    def averages_weights(self) -> bool:
        """True if there is a moving average of the weights, which is measured too."""
        return self.train.ema is not None

    def sources(self, folder: Path) -> Mapping[str, bytes]:
        """Modules beside the spec that the users' model and data are made of."""
        parts = (self.model, self.data)
        functions = {part.function for part in parts if isinstance(part, UserModel | UserData)}
        if isinstance(self.model, ModelConfig):
            functions |= self.model.user_functions
        found: dict[str, bytes] = {}
        for function in sorted(functions):
            found |= sources(function, folder)
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.model, UserModel):
            self._check_user_model(self.model)
        else:
            self._check_blocks(self.model)
        trained_count(self.model, self.train.trainable)
        if not self.model.exits and self.train.changes("exit_weight"):
            raise ValueError("train.exit_weight is for early exits, but model.exits names none")
        folder = not self.data.in_memory
        _refuse_shape(self.model, folder)
        useless, where = _OF_MEMORY if folder else _OF_FOLDERS
        for name in useless:
            if self.train.changes(name):
                raise ValueError(f"train.{name} is for {where}, but data.name is {self.data.name}")
        return self

    def _check_user_model(self, model: UserModel) -> None:
        """Raise `ValueError` for a setting that a user's network does not heed."""
        if self.train.soft_mask and not model.masked:
            raise ValueError(
                "train.soft_mask needs a network with a method set_soft_mask_rate(alpha); "
                f"{model.name} has none"
            )
        for name in ("drop_path", "dropout", "layer_decay"):
            if getattr(self.train, name):
                raise ValueError(
                    f"train.{name} acts only inside the built-in networks; give {model.name} its "
                    "own option for it"
                )
        self._check_layers("an unknown number")

    def _check_blocks(self, model: ModelConfig) -> None:
        """Raise `ValueError` for a setting of the blocks that the network has not."""
        if self.train.soft_mask and not model.masked:
            raise ValueError(
                "train.soft_mask softens a causal mask, but model.attention is bidirectional"
            )
        self._check_layers(model.depth)

    def _check_layers(self, depth: int | str) -> None:
        layers = self.train.soft_mask_layers
        if layers is not None and len(layers) != depth:
            raise ValueError(f"train.soft_mask.layers are for {len(layers)} blocks; found {depth}")


def _refuse_shape(model: ModelConfig | UserModel, folder: bool) -> None:
    """Raises `ValueError` where a built-in network cannot be trained on such images or labels."""
    if isinstance(model, UserModel):
        return
    if not model.num_classes:
        raise ValueError("model.num_classes is 0: without a head, a network cannot be trained")
    if folder and model.pixels[0] != model.pixels[1]:
        raise ValueError(
            f"model.img_size is {list(model.pixels)}, but images of a folder are cropped to "
            "squares: give one number"
        )


def _has_other_pictures(train: TrainConfig) -> bool:
    """Tell whether version 4 changed the training pictures of a folder."""
    if train.transforms == "timm":
        return train.aa is None
    return train.aa is not None and parse_rand_augment(train.aa).is_uniform


def user_function(group: str, name: object) -> str | None:
    """The `module:function` behind a name in the group `model`, `data` or `train`; None for a name
    of ours, or nothing known.

    A name without a colon is looked up among what installed packages offer (entry points
    `illama.models`, `illama.datasets`, `illama.trainings`); `illama.networks` has names of its own.
    """
    if group == "model" and isinstance(name, str) and name in NETWORKS:
        return NETWORKS[name]
    own = {"model": tuple(PRESETS), "data": tuple(DATASETS)}
    return user.function_behind(group, name, own.get(group, ()))


def _schema_of(settings: Mapping[str, Any], *, show_parts: bool = True) -> type[Settings]:
    """Settings with those of users' functions, and with `show_parts` those of the parts."""
    kinds: dict[str, type[Settings]] = {
        "model": ModelConfig,
        "data": DataConfig,
        "train": TrainConfig,
    }
    functions = _functions_in(settings)
    model = settings.get("model")
    if show_parts and isinstance(model, Mapping) and "model" not in functions:
        kinds["model"] = with_parts(ModelConfig, model)
    if not functions and kinds["model"] is ModelConfig:
        return Config
    for group, (_, function) in functions.items():
        with about(group):
            kinds[group] = user.settings_of(group, function)
    title = " and ".join(function for _, function in functions.values()) or "Config"
    fields: Any = {group: (kind, ...) for group, kind in kinds.items()}
    schema: type[Settings] = create_model(title, __base__=Settings, **fields, seed=(int, 0))
    return schema


def _resolved(settings: Mapping[str, Any], data_dir: Path | None) -> Any:
    """Return what a `Config` is made of: `settings`, with what functions give in their place."""
    model = settings.get("model")
    if isinstance(model, Mapping):
        settings = {**settings, "model": with_preset(model)}
    functions = _functions_in(settings)
    if not functions:
        return settings
    checked: Any = _schema_of(settings, show_parts=False).model_validate(settings)
    parts: dict[str, Any] = {"model": checked.model, "data": checked.data}
    if "data" in functions:
        with about("data"):
            parts["data"] = user.described_data(
                *functions["data"], user.options_of(checked.data), data_directory(data_dir)
            )
    if "model" in functions:
        with about("model"):
            options = user.options_of(checked.model)
            images = _shape_and_classes(parts["data"], options)
            parts["model"] = described_model(*functions["model"], options, *images)
    return {**parts, "train": checked.train, "seed": checked.seed}


def _shape_and_classes(
    data: DataConfig | UserData, options: Mapping[str, Any]
) -> tuple[tuple[int, int, int], int | None]:
    """Shape of an image as a user's network gets it, and the classes where these are known."""
    if isinstance(data, UserData):
        return data.shape, data.num_classes
    shape, classes = user.image_shape(data.name, options)
    return data.shape_of(shape), classes


def _functions_in(settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Groups that name a user's function: the name, and the `module:function` behind it."""
    names = {
        group: part.get("name")
        for group in ("model", "data")
        if isinstance(part := settings.get(group), Mapping)
    }
    return {
        group: (str(name), function)
        for group, name in names.items()
        if (function := user_function(group, name))
    }
