"""Every setting of a training, frozen and documented. Knows no torch, so that reading a configuration costs nothing.

Three sections make the science: `ModelConfig`, `DataConfig` and `TrainConfig`, together with the seed a `Config`. Whatever is in
them decides the numbers and belongs to a trial's identity. `RuntimeConfig` holds the rest (device, threads, checkpoint interval):
it may be changed between two attempts at the same trial and must never change a result beyond rounding.

`resolve({"model": {"name": "vit_digits", "norm": "rmsnorm"}, ...})` turns what a user wrote into a full `Config`: the name
picks a preset, the other keys override it. A name such as `mixer:create_mixer` is a function of somebody else's, and the other
keys are its own settings (`illama.config.functions`).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)

from illama.config import functions as foreign
from illama.config.functions import ForeignData, ForeignModel, ForeignTraining
from illama.config.imports import ForeignError
from illama.config.settings import Settings, explain
from illama.config.train import InitConfig, SoftMaskConfig, TrainConfig

__all__ = [
    "NUMERICS_VERSION",
    "PRESETS",
    "AnyConfig",
    "Config",
    "DataConfig",
    "ForeignConfig",
    "ForeignData",
    "ForeignError",
    "ForeignModel",
    "ForeignTraining",
    "InitConfig",
    "ModelConfig",
    "RuntimeConfig",
    "Settings",
    "SoftMaskConfig",
    "TrainConfig",
    "data_directory",
    "explain",
    "foreign_function",
    "numerics_version",
    "resolve",
    "schema_of",
    "with_preset",
]

NUMERICS_VERSION = 3
"""Raised whenever the same settings and seed would give other numbers than before; `numerics_version` says in which trainings."""


AttentionKind = Literal["bidirectional", "causal", "modified_causal"]


_Size = Annotated[PositiveInt, Field(le=10_000_000)]
"""Far above any network: what is larger is a slip."""


class ModelConfig(Settings):
    """The network. A plain ViT and the paper's iLLaMA are two corners of this space (arXiv 2404.06773, Table 17)."""

    name: str
    """The preset that the other settings start from: one of `PRESETS`."""
    img_size: _Size
    """Height and width of the input, in pixels."""
    patch_size: _Size
    """Height and width of a patch, in pixels."""
    in_chans: _Size
    """Channels of the input."""
    num_classes: _Size
    """Outputs of the head."""
    embed_dim: _Size
    """Width of the residual stream."""
    depth: Annotated[PositiveInt, Field(le=10_000)]
    """Number of blocks."""
    num_heads: _Size
    """Attention heads; the head's width is `embed_dim / num_heads`."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """Normalisation in front of attention, feed-forward and head (paper, section 3.2)."""
    feed_forward: Literal["gelu", "swiglu"] = "gelu"
    """`gelu`: two linears, hidden width 4D. `swiglu`: three bias-free linears (paper, section 3.1)."""
    multiple_of: _Size = 256
    """SwiGLU's hidden width is 2/3 of 4D rounded up to a multiple of this."""
    position: Literal["none", "learned", "rope", "learned+rope", "rope2d", "learned+rope2d"] = (
        "learned"
    )
    """Learned embedding added once, rotary embedding in every attention, or both (paper, section 3.4). `rope` counts along the
    sequence as in the paper; `rope2d` turns half of the channels by the patch's row, the other half by its column."""
    rope_theta: PositiveFloat = 10000.0
    """Base of the rotary frequencies."""
    attention: AttentionKind | tuple[AttentionKind, ...] = "bidirectional"
    """`modified_causal` is causal with the first row open (paper, section 3.3, Figure 2). A list gives every block its own."""
    mask_form: Literal["multiplicative", "additive"] = "multiplicative"
    """`multiplicative`: softmax over all keys, then the mask, no renormalisation (the released code; paper, equation 2).
    `additive`: minus infinity before the softmax (LLaMA's own; paper, equation 1)."""
    class_token: Literal["first", "last", "none"] = "first"
    """Where the class token stands among the patches; the head reads it there. `none`: the head reads the patches' mean."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in PRESETS:
            nearest = get_close_matches(name, PRESETS, 1)
            hint = f"; did you mean {nearest[0]}?" if nearest else "."
            raise ValueError(
                f"there is no model {name!r}{hint} There are {', '.join(PRESETS)}, and module:function of your own"
            )
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.img_size % self.patch_size:
            raise ValueError(
                f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}"
            )
        head_dim = self.embed_dim // self.num_heads
        if "rope" in self.position and head_dim % (4 if "2d" in self.position else 2):
            pairs = (
                "pairs of channels for rows and as many for columns"
                if "2d" in self.position
                else "pairs of channels"
            )
            raise ValueError(
                f"{self.position} rotates {pairs}: the head's width {head_dim} cannot be divided so"
            )
        if isinstance(self.attention, tuple) and len(self.attention) != self.depth:
            raise ValueError(
                f"attention lists {len(self.attention)} blocks, but depth is {self.depth}"
            )
        if "modified_causal" in self.attentions and self.class_token != "first":
            raise ValueError(
                "attention modified_causal opens the first row for a class token that stands first; with class_token "
                f"{self.class_token} use attention causal"
            )
        return self

    @property
    def attentions(self) -> tuple[AttentionKind, ...]:
        """The attention of every block, from the first to the last."""
        return (
            self.attention if isinstance(self.attention, tuple) else (self.attention,) * self.depth
        )

    @property
    def masked(self) -> bool:
        """Whether any block has a mask."""
        return set(self.attentions) != {"bidirectional"}


class DataConfig(Settings):
    """Which images, and how they are split. Where their files lie is `RuntimeConfig.data_dir`."""

    name: Literal["digits", "synthetic", "cifar10", "cifar100", "image_folder"]
    """`digits`: the 1,797 handwritten digits (8x8, 10 classes) that ship inside scikit-learn. `synthetic`: noisy class templates.
    `cifar10`, `cifar100`: the published files. `image_folder`: ImageNet's layout, a folder per class under `train` and `val`."""
    val_fraction: float = Field(default=0.25, gt=0, lt=1)
    """Share of the images held out for validation, drawn once, the same for every seed. Data sets that are published with a
    validation or test part use that."""
    folder: str = "imagenet"
    """Of `image_folder`: the folder's name inside `RuntimeConfig.data_dir`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        published = self.name in ("cifar10", "cifar100", "image_folder")
        if published and self.val_fraction != DataConfig.model_fields["val_fraction"].default:
            raise ValueError(
                f"data {self.name} has a validation part of its own: leave out val_fraction"
            )
        return self


class RuntimeConfig(Settings):
    """How to run, never what to compute: nothing here belongs to a trial's identity."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when the trial was given one."""
    num_threads: PositiveInt = 1
    """CPU threads of torch, in each process."""
    processes: PositiveInt = 1
    """Processes on one node that share each batch: one for each GPU, or several on the CPU."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Seconds between two checkpoints, or more where writing one takes long (5 % of the time at most); 0 saves after every
    iteration."""
    micro_batch_size: PositiveInt | None = None
    """Images that a device computes with at once; their gradients add up to those of `train.batch_size`. None: all its share."""
    data_dir: Path | None = None
    """Directory of the data sets' files. None: the environment variable ILLAMA_DATA, or `data`."""
    data_workers: int = Field(default=0, ge=0)
    """Processes that read and augment the images of a folder, for each that trains."""
    compile: bool = False
    """Compile the network with torch.compile: worth its minutes on a GPU, not for a training of seconds."""


def _ours_or(foreign_kind: type[Settings], ours: type[Settings]) -> WrapValidator:
    """One of two groups of settings, and the errors of that one alone."""

    def validate(value: Any, both: ValidatorFunctionWrapHandler) -> Settings:
        if isinstance(value, foreign_kind | ours):
            return value
        is_foreign = isinstance(value, Mapping) and foreign_kind.model_fields.keys() <= value.keys()
        return (foreign_kind if is_foreign else ours).model_validate(value)

    return WrapValidator(validate)


def data_directory(data_dir: Path | None) -> Path:
    """Where the data sets' files are: `data_dir`, else the environment variable ILLAMA_DATA, else `data`."""
    return data_dir or Path(os.environ.get("ILLAMA_DATA", "data"))


class Config(Settings):
    """All that decides the numbers of one training."""

    model: Annotated[ModelConfig | ForeignModel, _ours_or(ForeignModel, ModelConfig)]
    data: Annotated[DataConfig | ForeignData, _ours_or(ForeignData, DataConfig)]
    train: TrainConfig
    seed: int = Field(default=0, ge=0)
    """Every random draw derives from this, the epoch and the image's index."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.train.soft_mask and not self.model.masked:
            if isinstance(self.model, ForeignModel):
                raise ValueError(
                    f"train.soft_mask needs a network with set_soft_mask_rate(alpha); {self.model.name} gives none"
                )
            raise ValueError(
                "train.soft_mask softens a causal mask, but model.attention is bidirectional"
            )
        for name in (
            ("drop_path", "dropout", "layer_decay") if isinstance(self.model, ForeignModel) else ()
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


class ForeignConfig(Settings):
    """All that decides the numbers of one training that a function of somebody else does."""

    train: ForeignTraining
    seed: int = Field(default=0, ge=0)
    """Where every random draw comes from."""

    @property
    def model(self) -> None:
        """Whatever it trains, nobody else knows."""

    @property
    def data(self) -> None:
        """Nor on what."""


AnyConfig = Config | ForeignConfig


def numerics_version(config: AnyConfig) -> int:
    """The last version that changed the numbers of such a training: part of its fingerprint and of its checkpoints.

    3 draws dropout on the device, and makes the pictures of image folders exactly as timm and torchvision do.
    """
    if isinstance(config, ForeignConfig):
        return 2
    return 3 if config.train.dropout or config.data.name == "image_folder" else 2


_DIGITS: dict[str, Any] = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10}
_DIGITS |= {"embed_dim": 64, "depth": 4, "num_heads": 4, "multiple_of": 8}
_IMAGENET: dict[str, Any] = {"img_size": 224, "patch_size": 16, "in_chans": 3, "num_classes": 1000}
_SIZES = {  # paper, Table 11
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
_ILLAMA: dict[str, Any] = {
    "norm": "rmsnorm",
    "feed_forward": "swiglu",
    "position": "learned+rope",
    "attention": "causal",
    "class_token": "last",
}

PRESETS: Mapping[str, Mapping[str, Any]] = (
    {"vit_digits": _DIGITS, "illama_digits": _DIGITS | _ILLAMA}
    | {f"vit_{size}": _IMAGENET | shape for size, shape in _SIZES.items()}
    | {f"illama_{size}": _IMAGENET | shape | _ILLAMA for size, shape in _SIZES.items()}
)
"""Model names and the settings behind them."""


def with_preset(model: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `model` laid over those of the preset that its `name` picks (unknown or missing names pick nothing)."""
    return {**PRESETS.get(str(model.get("name")), {}), **model}


def foreign_function(group: str, name: object) -> str | None:
    """The `module:function` behind a name in the group `model`, `data` or `train`; none for a name of ours, or nothing known.

    A name without a colon is looked for among what installed packages offer (entry points `illama.models`, `illama.datasets`,
    `illama.trainings`).
    """
    own = {"model": tuple(PRESETS), "data": get_args(DataConfig.model_fields["name"].annotation)}
    return foreign.function_behind(group, name, own.get(group, ()))


def schema_of(settings: Mapping[str, Any]) -> type[Settings]:
    """What may stand in `settings`: a `Config`, with the settings of other people's functions where these are named.

    Raises `ForeignError`, its `group` set, where such a function cannot be used.
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
            kinds[group] = foreign.settings_of(group, function)
    title = " and ".join(function for _, function in functions.values())
    fields: Any = {group: (kind, ...) for group, kind in kinds.items()}
    schema: type[Settings] = create_model(title, __base__=Settings, **fields, seed=(int, 0))
    return schema


def resolve(settings: Mapping[str, Any], data_dir: Path | None = None) -> AnyConfig:
    """Turn `{"model": {...}, "data": {...}, "train": {...}, "seed": 0}` into a `Config`.

    Other people's models are built and their data loaded, from `data_dir` if they ask for it, to see what they are; a training of
    their own has no other section beside `train`. Raises `pydantic.ValidationError` with the path of every setting that is
    unknown, missing or of the wrong type, and `ForeignError`.
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
            parts["data"] = foreign.described_data(
                *functions["data"], foreign.options_of(checked.data), data_directory(data_dir)
            )
    if "model" in functions:
        with _about("model"):
            options, data = foreign.options_of(checked.model), parts["data"]
            images = (
                (data.shape, data.num_classes)
                if isinstance(data, ForeignData)
                else foreign.image_shape(data.name, options)
            )
            parts["model"] = foreign.described_model(*functions["model"], options, *images)
    return Config(**parts, train=checked.train, seed=checked.seed)


def _resolve_training(
    settings: Mapping[str, Any], schema: type[Settings], name: str, function: str
) -> ForeignConfig:
    for group in ("model", "data"):
        if settings.get(group):
            with _about(group):
                raise ForeignError(
                    f"all settings of {name} are its parameters, under 'train': leave out '{group}'"
                )
    with _about("train"):
        checked: Any = schema.model_validate(
            {key: value for key, value in settings.items() if value != {}}
        )
        training = foreign.described_training(name, function, foreign.options_of(checked.train))
    return ForeignConfig(train=training, seed=checked.seed)


def _functions_in(settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Of the groups that name somebody's function: the name, and the `module:function` behind it."""
    names = {
        group: part.get("name")
        for group in ("model", "data", "train")
        if isinstance(part := settings.get(group), Mapping)
    }
    found = {
        group: (str(name), function)
        for group, name in names.items()
        if (function := foreign_function(group, name))
    }
    if isinstance(unknown := names.get("train"), str) and "train" not in found:
        with _about("train"):
            raise ForeignError(
                f"there is no training '{unknown}': name a function of your own, module:function, or no training"
            )
    return found


@contextmanager
def _about(group: str) -> Iterator[None]:
    """Say in whose name a function was called."""
    try:
        yield
    except ForeignError as error:
        error.group = group
        raise
